"""What will be sold, as pages."""
