"""Draw scenes: layout (arithmetic), then pixels."""
