"""Functions of real numbers whose bits are the same on every machine, since draws follow from them."""
