"""The Numba kernels; `views` holds the entry point, which calls the others."""
