"""The backend "dali" on CUDA, as far as it goes without a GPU: DALI defines and serialises its graphs, and these are read here.

Building a graph needs a GPU. `test_device` then compares the views with the truth.
"""

from dataclasses import dataclass

import numpy as np
import pytest
import torch
from nvidia.dali import backend as dali_backend

import gpuaug
from gpuaug import backends
from gpuaug.backends import dali
from gpuaug.backends.dali import graph

from .cases import CROPS, MAPS, VARIANTS, map_tables, tables

SIDE = 5000
"""Size of the picture whose inputs are made: large enough for any crop without padding."""


@dataclass
class Node:
    """An operator of a serialised graph. inputs and outputs: (name, device); parameters: names of its argument inputs."""

    kind: str
    inputs: list[tuple[str, str]]
    outputs: list[tuple[str, str]]
    parameters: list[str]


def fields(data):
    """The fields of a protobuf message, as (number, value)."""
    at = 0
    while at < len(data):
        key, at = varint(data, at)
        if key & 7 == 0:
            value, at = varint(data, at)
        else:
            size, at = varint(data, at) if key & 7 == 2 else (4, at)
            value, at = data[at : at + size], at + size
        yield key >> 3, value


def varint(data, at):
    value = shift = 0
    while True:
        byte, at = data[at], at + 1
        value |= (byte & 127) << shift
        shift += 7
        if byte < 128:
            return value, at


def nodes_of(pipe):
    """The operators of a pipeline in their order.

    In DALI's dali.proto a pipeline's field 5 is an operator, whose fields 1 to 3 are its name, inputs and outputs. Of an input
    or output, 1 is the name, 2 the device, and 3 says whether it is an argument.
    """
    out = []
    for number, data in fields(pipe.serialize()):
        if number == 5:
            node = Node("", [], [], [])
            for part, value in fields(data):
                if part == 1:
                    node.kind = value.decode()
                elif part in (2, 3):
                    found = dict(fields(value))
                    edge = (found[1].decode(), found[2].decode())
                    if part == 3:
                        node.outputs.append(edge)
                    elif found[3]:
                        node.parameters.append(edge[0])
                        assert edge[1] == "cpu"  # DALI takes the arguments of an operator from the host alone
                    else:
                        node.inputs.append(edge)
            out.append(node)
    return out


def nodes(steps, draws, as_bytes, device):
    sizes = np.full((1, 2), SIDE)
    feeds, _ = graph.feeds_of(steps, draws, sizes)
    key = graph.Key(tuple(steps), graph.marked_in(feeds, steps), as_bytes, 8, torch.device(device), threads=1)
    return nodes_of(graph.pipeline(key))


def case(name):
    """Steps, draws of one image, and whether its pixels are bytes."""
    if name in CROPS:
        return *tables(CROPS[name], 1, 64), True
    if name in MAPS:
        return *map_tables(MAPS[name], 1), False
    policy, number = (VARIANTS[name], 1) if name in VARIANTS else (gpuaug.policy(name), 0)
    return policy.views[number].steps, gpuaug.sample(policy, [0]).tables[number], True


def supported(name):
    steps, _, as_bytes = case(name)
    return dali.count_approximate(steps, "images" if as_bytes else "floats") == len(steps)


NAMES = [name for name in (*CROPS, *MAPS, *gpuaug.policies, "shared and nested") if supported(name)]


@pytest.mark.parametrize("name", NAMES)
def test_the_graph_for_the_gpu_is_the_one_for_the_cpu_with_operators_of_the_gpu(name):
    """What comes from the pixels is on the GPU; what comes from draws alone, such as the condition of a branch, on the CPU."""
    on_cpu, on_gpu = (nodes(*case(name), device) for device in ("cpu", "cuda"))
    assert [node.kind for node in on_gpu] == [node.kind for node in on_cpu]
    assert {device for node in on_cpu for _, device in node.outputs} == {"cpu"}
    has_gpu, pixels = set(dali_backend.RegisteredGPUOps()), {"pixels"}
    for node in on_gpu:
        devices = {device for _, device in node.outputs}
        if pixels & {source for source, _ in node.inputs} or node.outputs[0][0] == "pixels":
            assert devices == {"gpu"}, node
            assert node.kind in has_gpu, node
            pixels |= {made for made, _ in node.outputs}
        else:
            assert devices == {"cpu"}, node
    assert on_gpu[-1].kind == "CropMirrorNormalize"
    assert on_gpu[-1].outputs[0][1] == "gpu"


def test_every_op_of_the_backend_is_among_these_graphs():
    seen = {type(op) for name in NAMES for op in case(name)[0]}
    assert seen == set(backends.load("dali", "cuda").ops)


def test_an_augmenter_for_cuda_takes_the_policies_that_one_for_the_cpu_takes():
    policy = gpuaug.policy("simclr", size=32)
    assert gpuaug.Augmenter(policy, "dali", device="cuda:0").plan == gpuaug.Augmenter(policy, "dali", device="cpu").plan
