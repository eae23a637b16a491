"""What the nodes know of their cluster together, and who writes the next map."""
