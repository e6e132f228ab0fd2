"""Draws as tensors: the parameters of a view as numbers, what takes one view to another, and how strong each op was.

boxes.py     the part of the image that a view shows   columns.py   what a column is, and how two values of it compare
quantities.py  the columns of each op                  automatic.py those of automatic ops
table.py     all columns of a view, with their values  relative.py  from one view to another
strength.py  how strongly each op changed an image
"""

from .boxes import overlap
from .relative import compose, relative, relative_names
from .strength import strength
from .table import vector, vector_names

__all__ = ["compose", "overlap", "relative", "relative_names", "strength", "vector", "vector_names"]
