"""Targets of any structure move to the device as a whole."""

from collections import namedtuple

import torch

from gpuaug.data.targets import tensors, to_device

Pair = namedtuple("Pair", "box label")


def test_every_tensor_moves_and_the_rest_stays():
    box, label, mask = torch.zeros(2, 4), torch.tensor([1, 2]), torch.ones(2)
    tree = {"pair": Pair(box, [label]), "names": ["a", "b"], "both": (mask, 3)}
    assert [t.data_ptr() for t in tensors(tree)] == [t.data_ptr() for t in (box, label, mask)]
    moved = to_device(tree, torch.device("meta"))
    assert isinstance(moved["pair"], Pair)
    assert all(t.is_meta for t in (moved["pair"].box, moved["pair"].label[0], moved["both"][0]))
    assert (moved["names"], moved["both"][1]) == (["a", "b"], 3)
