"""Lightning's Trainer takes a loader that was made before `fit`."""

from conftest import PROGRAMS


def test_one_process(run, plain):
    """Every epoch has its own order and draws; validation, test and prediction go through all samples in order."""
    (seen,) = run(PROGRAMS / "lightning_fit.py", 1).values()
    assert seen["train 0"] == plain(0)
    assert seen["train 1"] == plain(1)
    order = list(range(40))
    assert [i for i, _ in seen["sanity"]] == order[:10]
    assert [i for i, _ in seen["validated while fitting"]] == order + order
    for stage in ("validate", "test", "predict"):
        assert [i for i, _ in seen[stage]] == order, stage


def test_two_ranks(run, halves):
    """The loader is made before there is a process group, and each rank trains on its half."""
    ranks = run(PROGRAMS / "lightning_fit.py", 2)
    assert list(ranks) == ["0", "1"]
    for epoch in range(2):
        halves([ranks[rank][f"train {epoch}"] for rank in ranks], epoch)
    for stage in ("validate", "test", "predict"):
        assert [[i for i, _ in ranks[rank][stage]] for rank in ranks] == [list(range(0, 40, 2)), list(range(1, 40, 2))], stage


def test_a_run_goes_on_in_the_middle_of_an_epoch(run, plain):
    """The checkpoint holds the loader's state: the second run has the rest of the epoch, then the next."""
    seen = run(PROGRAMS / "lightning_resume.py")
    assert seen["first"] == {"train 0": plain(0), "train 1": plain(1)[:15]}
    assert seen["second"] == {"train 1": plain(1)[15:], "train 2": plain(2)}
