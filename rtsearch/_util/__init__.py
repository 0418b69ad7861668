"""Provide small pieces that every package uses: threads, signals, metrics, files, kernels' compilation."""
