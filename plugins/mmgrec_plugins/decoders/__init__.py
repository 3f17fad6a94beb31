"""Decoders: search for the best Rec-IDs among those that exist."""
