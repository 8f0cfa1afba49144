"""Whether the parts work and how fresh each store is."""
