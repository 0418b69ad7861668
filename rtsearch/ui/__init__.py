"""Show pictures in a window, and check the display."""
