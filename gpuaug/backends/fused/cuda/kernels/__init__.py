"""The Triton kernels and their functions; `launch` and `drawn` import the modules when kernels are first launched."""
