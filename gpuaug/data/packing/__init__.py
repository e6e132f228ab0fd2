"""Packing: decoding and resizing a dataset once, for `gpuaug pack`."""
