"""Hold the modules of render."""
