"""The table of instructions, and the programs that ops become."""

import numpy as np
import pytest
import torch

import gpuaug
from gpuaug import Images
from gpuaug.backends.fused import passes_over_view
from gpuaug.backends.fused.instructions import ARGUMENTS, GRAY_WEIGHTS, HUE, HUE_OF_ANY, IS_BARRIER, KEY, NOTHING, TABLE
from gpuaug.backends.fused.lowering import codes_of
from gpuaug.backends.fused.plan import count_supported, tables
from gpuaug.ops import color


def test_the_kernels_have_the_gray_of_the_other_backends():
    """The kernels' file repeats the weights, since it imports nothing of gpuaug."""
    assert GRAY_WEIGHTS == color.GRAY


def test_an_instruction_stands_at_the_place_of_its_code():
    assert [instruction.code for instruction in TABLE] == list(range(len(TABLE)))


def test_arguments_leave_room_for_the_key_of_noise():
    assert all(len(instruction.arguments) <= ARGUMENTS for instruction in TABLE)
    assert KEY == ARGUMENTS - 2
    noisy = [i for i in TABLE if i.positional and "red" not in i.arguments]
    assert len(noisy) == 3
    assert all(len(instruction.arguments) <= KEY for instruction in noisy)


@pytest.mark.parametrize("name", gpuaug.policies)
def test_a_program_holds_what_its_ops_may_need(name):
    for view in gpuaug.policy(name).views[:2]:
        if count_supported(view.steps, "images") < len(view.steps):
            continue  # its crop is made by another backend
        policy = gpuaug.Policy(view)
        count = 4000
        images = Images(torch.zeros(count * 12, dtype=torch.uint8), np.full((count, 2), 2, np.int32))
        codes = tables(images, policy.views[0].steps, gpuaug.sample(policy, range(count), seed=1).tables[0]).codes
        possible = {code for step in view.steps for code in codes_of(step)}
        assert set(np.unique(codes)) <= possible | {NOTHING} | ({HUE_OF_ANY} if HUE in possible else set())
        # The mean of 4,000 draws is within five standard deviations; a choice runs each of its branches less often.
        mean, stated = IS_BARRIER[codes].sum(axis=1).mean(), passes_over_view(view.steps)
        slack = 0.15 if any(isinstance(step, gpuaug.AugMix) for step in view.ops) else 0.05
        assert mean <= stated + slack
        if not any(isinstance(step, gpuaug.OneOf) for step in view.ops):
            assert mean == pytest.approx(stated, abs=slack)
