"""The Numba kernels: `views` is the one that is called; the others are what it is made of."""
