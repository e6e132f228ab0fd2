"""Accelerate's `prepare` takes a loader that was made before the Accelerator; its helpers that take one apart refuse it."""

from conftest import PROGRAMS, TORCHRUN


def check(seen):
    assert seen["same"], "prepare gives the loader itself"
    assert len(seen["helpers"]) == 2
    for message in seen["helpers"]:
        assert "Give the loader itself to the loop" in message
        assert "loader.load_state_dict(state), instead of skipping batches" in message


def test_one_process(run, plain):
    (seen,) = run(PROGRAMS / "accelerate_loop.py").values()
    assert seen["epochs"] == [plain(epoch) for epoch in range(3)]
    check(seen)


def test_two_ranks(run, halves):
    ranks = run(*TORCHRUN, PROGRAMS / "accelerate_loop.py")
    assert list(ranks) == ["0", "1"]
    for epoch in range(3):
        halves([ranks[rank]["epochs"][epoch] for rank in ranks], epoch)
    for seen in ranks.values():
        check(seen)
