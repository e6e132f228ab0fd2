"""Rows of the source: `across` filters them horizontally, `yuv` first makes them from planes at half resolution."""
