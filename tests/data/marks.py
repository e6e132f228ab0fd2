"""Marks of tests."""

import pytest

uncovered = pytest.mark.no_cover
"""For a test in which a signal's handler raises wherever the main thread is: coverage's lock, if held there, stayed locked."""
