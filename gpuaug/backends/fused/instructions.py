"""The instructions that a program is made of, for the kernels on the CPU and on CUDA."""

# Codes of instructions. CONTRAST needs the mean of the whole view, BLUR its neighbouring rows: these two end a pass.
NOTHING, BRIGHTNESS, CONTRAST, SATURATION, HUE, GRAY, BLUR, SOLARIZE, POSTERIZE, INVERT, AFFINE = range(11)
NOISE, CLIPPED_NOISE, ERASE, ERASE_WITH_NOISE, HUE_OF_ANY = range(11, 16)

ARGUMENTS = 8
"""Numbers of an instruction: see the functions of INSTRUCTIONS for what they mean."""

BLUR_CUT = 1e-4
"""Share of the Gaussian's mass that may be cut off with its tails; the error in the view is at most this."""
