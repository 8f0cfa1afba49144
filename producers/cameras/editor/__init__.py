"""The layout editor: a page on which a person draws zones and entrance lines over a camera's picture."""
