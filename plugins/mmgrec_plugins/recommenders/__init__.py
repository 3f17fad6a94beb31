"""Shipped plugins of one kind; one module per implementation."""
