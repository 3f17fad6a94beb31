"""Recommenders: the rivals of MMGRec, by what they read."""
