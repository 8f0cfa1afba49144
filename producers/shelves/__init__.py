"""Shelf photos: products, the rows they stand in, and the places where some are missing. No photo is stored or sent."""


class ShelfError(Exception):
    """Something the person who scans a shelf can put right; the message says what and how."""
