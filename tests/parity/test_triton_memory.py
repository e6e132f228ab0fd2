"""Every read and write of the Triton kernels is in its memory, in the interpreter: see `guarded` and `beyond_32_bits`."""

import signal

import pytest

from .guarded import CASES, TOUCHED
from .interpret import interpret


@pytest.fixture(scope="module")
def ended():
    """The exit status of every case; one process starts them all, since importing takes seconds."""
    rows, errors = interpret("guarded")
    return {row["case"]: row["status"] for row in rows}, errors


@pytest.mark.parametrize("case", TOUCHED)
def test_memory_beside_a_tensor_cannot_be_touched(case, ended):
    assert ended[0][case] == -signal.SIGSEGV


@pytest.mark.parametrize("case", CASES)
def test_a_view_is_made_without_touching_memory_beside_a_tensor(case, ended):
    statuses, errors = ended
    assert statuses[case] == 0, errors


def test_an_image_beyond_what_32_bits_count_is_right():
    """As `test_device` shows on a GPU with a batch that large."""
    ((found,), _) = interpret("beyond_32_bits")
    assert found["values"] > 2**31
    assert found["barriers"] == 3
    assert found["equal"]
