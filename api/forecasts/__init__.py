"""Demand to come: asked for any product, published for those of the shops."""
