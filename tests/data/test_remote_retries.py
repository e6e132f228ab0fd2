"""Which failures pass, how long a request is tried, and how ranges are joined."""

import random

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from gpuaug.data import RemoteError
from gpuaug.data.sources.remote import retries
from gpuaug.data.sources.remote.ahead import GAP, LONGEST, Range, runs
from gpuaug.data.sources.remote.retries import Patience, ShortenedError, Tries


class ToldError(Exception):
    """An error that tells a status as one of the clients does."""

    def __init__(self, status, how):
        super().__init__("told")
        if how == "response":
            self.response = {"ResponseMetadata": {"HTTPStatusCode": status}, "Error": {"Code": "x"}}
        else:
            setattr(self, how, str(status) if how == "code" else status)


@given(st.integers(400, 599), st.sampled_from(["response", "status", "code", "status_code"]), st.booleans())
def test_what_the_server_said_decides(status, how, wrapped):
    error = ToldError(status, how)
    if wrapped:  # fsspec's HTTP file system calls any failure to describe a file a file that is not there
        error, cause = FileNotFoundError("x"), error
        error.__cause__ = cause
    assert retries.passes(error) == (status in (408, 425, 429) or (status >= 500 and status not in (501, 505)))
    assert retries.is_missing(error) == (status in (404, 410, 416))


@pytest.mark.parametrize("error", [TimeoutError(), ConnectionResetError(104, "reset"), OSError(5, "x")])
def test_errors_of_the_way_there_pass(error):
    assert retries.passes(error)
    assert not retries.is_missing(error)


@pytest.mark.parametrize("kind", [FileNotFoundError, ShortenedError, PermissionError, ImportError, ValueError, KeyError])
def test_errors_of_the_file_or_the_settings_do_not_pass(kind):
    assert not retries.passes(kind())


def test_missing_credentials_do_not_pass():
    from botocore.exceptions import NoCredentialsError

    assert not retries.passes(NoCredentialsError())


@given(st.floats(0.0, 10.0), st.floats(0.01, 1.0), st.floats(1.0, 100.0), st.integers(0, 10**8))
@example(240.0, 0.2, 10.0, 0)
def test_waits_double_up_to_a_limit_and_end(seconds, first, longest, size):
    patience = Patience(seconds, 15.0, 2.0**18, first, longest)
    now = [100.0]
    tries = Tries(patience)
    original, retries.monotonic = retries.monotonic, lambda: now[0]
    limits, waits = [], []

    def fail():
        while True:
            limits.append(tries.limit(size))
            now[0] += 0.001
            waits.append(tries.failed(TimeoutError("late"), "s3://a/b"))
            now[0] += waits[-1]

    try:
        with pytest.raises(
            RemoteError, match=r"^no answer after \d+ tr(y|ies) in \d+ s; the last: TimeoutError: late$"
        ) as caught:
            fail()
        assert f"after {len(limits)} tr" in str(caught.value)
    finally:
        retries.monotonic = original
    assert now[0] - 100.0 <= seconds + 0.01
    for k, wait in enumerate(waits):
        full = min(first * 2.0**k, longest)
        assert full / 2 <= wait <= full
    single = 15.0 + size / 2.0**18
    assert limits == [single * 2.0 ** min(k, 2) for k in range(len(limits))]


def test_the_users_random_numbers_are_left_alone():
    random.seed(0)
    before = random.getstate()
    tries = Tries(Patience())
    tries.limit(0)
    tries.failed(TimeoutError(), "s3://a/b")
    assert random.getstate() == before


@given(st.lists(st.tuples(st.integers(0, 3), st.integers(0, 10**7), st.integers(0, 2 * LONGEST)), max_size=60))
def test_runs_hold_every_range_once_and_no_long_gap(given_):
    ranges = [Range(*one) for one in given_]
    found = runs(ranges)
    assert sorted(one for run in found for one in run) == sorted(ranges)
    for run in found:
        assert len({one.shard for one in run}) == 1
        end = run[0].start
        for one in run:
            assert one.start <= end + GAP
            end = max(end, one.start + one.size)
        assert len(run) == 1 or end - run[0].start <= LONGEST
