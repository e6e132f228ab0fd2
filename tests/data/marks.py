"""Marks for tests."""

import pytest

uncovered = pytest.mark.no_cover
"""For tests whose signal handler raises anywhere in the main thread; if coverage holds its lock there, it is never released."""
