"""Hold the modules of ui."""
