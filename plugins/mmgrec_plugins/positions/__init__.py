"""Positional schemes: what attention over a history knows of order and of relations."""
