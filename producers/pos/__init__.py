"""Tills: their exported files, and what they become."""
