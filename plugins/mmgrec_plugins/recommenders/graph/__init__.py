"""Recommenders that read interactions alone: factors, and convolutions over the graph of users and items."""
