"""What a view costs on a GPU, predicted without one, from the compiled kernels and the device's published rates."""
