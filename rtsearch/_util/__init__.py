"""Provide small pieces that every room uses: threads, signals, metrics, files, kernels' compilation."""
