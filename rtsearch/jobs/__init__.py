"""Hold the modules of jobs."""
