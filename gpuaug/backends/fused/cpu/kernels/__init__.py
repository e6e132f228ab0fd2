"""The Numba kernels. `views` holds the entry point, which the other modules are inlined into or called from."""
