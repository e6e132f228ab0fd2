"""Packing: a data set is decoded and resized once, for `gpuaug pack`."""
