"""Provide threads, signals, metrics, files and the compilation of kernels to all packages."""
