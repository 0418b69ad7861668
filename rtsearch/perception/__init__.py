"""Hold the modules of perception."""
