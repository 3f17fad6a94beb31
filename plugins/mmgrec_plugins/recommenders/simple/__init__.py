"""Recommenders without a network of their own: counts, neighbours, closed forms, the representations as they are."""
