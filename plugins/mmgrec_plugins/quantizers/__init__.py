"""Quantizers: representations of users and items, and semantic tokens of items made from them."""
