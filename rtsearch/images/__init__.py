"""Hold the modules of images."""
