"""Where views come from: sources, decoding and the DataLoader."""
