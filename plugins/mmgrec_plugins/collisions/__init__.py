"""Collision resolvers: a last token that tells apart items with equal semantic tokens."""
