"""Hold the modules of _util."""
