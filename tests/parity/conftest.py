import pytest
import torch


@pytest.fixture
def set_threads():
    """torch.set_num_threads, until the test ends."""
    before = torch.get_num_threads()
    yield torch.set_num_threads
    torch.set_num_threads(before)


@pytest.fixture(scope="session", autouse=True)
def _no_origin_traces():
    """DALI notes where each node of a graph was made, for its messages: under pytest that takes most of the time."""
    try:
        from nvidia.dali._utils import dali_trace
    except ImportError:  # DALI is for Linux
        return
    dali_trace.set_tracing(enabled=False)
