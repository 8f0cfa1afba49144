"""Answers about one store, read from the derived tables."""
