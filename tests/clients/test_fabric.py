"""Lightning Fabric's `setup_dataloaders` takes a loader that was made before it launched its processes."""

from conftest import PROGRAMS


def test_one_process(run, plain):
    (seen,) = run(PROGRAMS / "fabric_loop.py", 1).values()
    assert seen == [plain(epoch) for epoch in range(3)]


def test_two_ranks(run, halves):
    ranks = run(PROGRAMS / "fabric_loop.py", 2)
    assert list(ranks) == ["0", "1"]
    for epoch in range(3):
        halves([ranks[rank][epoch] for rank in ranks], epoch)
