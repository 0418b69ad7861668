"""Draw scenes: compute the layout, then the pixels."""
