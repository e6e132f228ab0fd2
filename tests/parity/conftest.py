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
    """Keep DALI from recording where each node of a graph is created, which takes most of the time under pytest."""
    try:
        from nvidia.dali._utils import dali_trace
    except ImportError:  # DALI exists for Linux only
        return
    dali_trace.set_tracing(enabled=False)
