"""DALI notes where in the program each node of a graph was made, for its messages: under pytest that takes most of the time."""

import pytest


@pytest.fixture(scope="session", autouse=True)
def _no_origin_traces():
    try:
        from nvidia.dali._utils import dali_trace
    except ImportError:  # DALI is for Linux
        return
    dali_trace.set_tracing(enabled=False)
