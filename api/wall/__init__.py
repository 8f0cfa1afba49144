"""The pages: one wall for all shops, and one page a shop."""
