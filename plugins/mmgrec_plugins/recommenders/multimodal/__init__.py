"""Recommenders that read the features of items beside the interactions."""
