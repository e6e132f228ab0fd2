"""Ray Train's `prepare_data_loader` takes the loader. Run by `make test-clients`, which installs Ray."""

from conftest import PROGRAMS


def test_two_workers(run, halves):
    ranks = run(PROGRAMS / "ray_fit.py")
    assert list(ranks) == ["0", "1"]
    for epoch in range(2):
        halves([ranks[rank][epoch] for rank in ranks], epoch)
