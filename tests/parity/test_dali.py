"""The backend "dali": which ops it refuses, how its graphs are cached, and that views keep their pixels."""

import os
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
import torch

import gpuaug
from gpuaug import Augmenter, Images, Policy, View, backends
from gpuaug.backends import dali
from gpuaug.backends.dali import graph
from gpuaug.backends.stages import select, stages

from .cases import CROPS, MAPS, TOLERANCE, compare, map_tables, photos, ragged, refuses, tables, uniform

SIMCLR = gpuaug.policy("simclr", size=32)


def steps_of(name):
    """The steps of a case, of either kind."""
    return tables(CROPS[name], 1, 64)[0] if name in CROPS else map_tables(MAPS[name], 1)[0]


def views(policy=SIMCLR, images=None, count=None, **options):
    images = photos() if images is None else images
    return Augmenter(policy, "dali", **options)(images, gpuaug.sample(policy, range(count or len(images)), seed=5))


@pytest.mark.parametrize("name", [*CROPS, *MAPS])
def test_what_is_refused_is_refused_whatever_comes_with_it(name):
    steps = steps_of(name)
    taken = dali.count_supported(steps, "images")
    assert (taken < len(steps)) == refuses("dali", name)
    if taken < len(steps):
        with pytest.raises(ValueError, match=rf"no backend of dali has {type(steps[taken]).__name__}\("):
            stages(steps, select("dali", "cpu"))


def test_it_has_the_ops_that_it_is_said_to_have():
    """What it has besides is compared with the truth all the same; what it has lost would be taken for refused."""
    kinds = {kind.__name__ for kind in backends.load("dali").ops}
    assert kinds >= {
        *("RandomResizedCrop", "Resize", "CenterCrop", "RandomCrop", "RandomHorizontalFlip", "RandomVerticalFlip"),
        *("RandomAffine", "RandomRotation", "ColorJitter", "RandomGrayscale", "RandomSolarize", "RandomPosterize"),
        *("RandomAutocontrast", "RandomInvert", "GaussianBlur", "RandomErasing", "Normalize", "ToDtype"),
    }


def test_a_refusal_names_the_op_and_what_to_do():
    policy = Policy(View(8, gpuaug.RandomResizedCrop(interpolation="nearest")))
    with pytest.raises(ValueError, match=r"no backend of dali has RandomResizedCrop\(.*'nearest'\); use .*approximate=True"):
        Augmenter(policy, "dali")
    with pytest.raises(ValueError, match="no backend of dali has GaussianNoise"):
        Augmenter(gpuaug.policy("gaussian_noise", size=8), "dali")
    with pytest.raises(ValueError, match="no backend of dali has GaussianNoise"):
        Augmenter(gpuaug.policy("gaussian_noise", size=8), "dali", approximate=True)


def test_approximate_takes_the_nearest_pixel_by_dalis_rule():
    """When doubling a picture both rules select the same pixels; when shrinking one, they may select neighbours."""
    policy = Policy(View((32, 48), gpuaug.Resize((32, 48), "nearest")))
    images = Images.from_list([np.random.default_rng(0).integers(0, 256, (16, 24, 3), dtype=np.uint8)])
    draws = gpuaug.sample(policy, [0])
    ours = Augmenter(policy, "dali", approximate=True)(images, draws)[0]
    truth = Augmenter(policy, "torchvision")(images, draws)[0]
    assert torch.allclose(ours, truth, atol=1e-6)
    smooth = np.linspace(0, 255, 90).astype(np.uint8)[None, :, None].repeat(60, 0).repeat(3, 2)
    near, exact = (
        Augmenter(policy, name, approximate=True)([smooth], gpuaug.sample(policy, [0]))[0] for name in ("dali", "torchvision")
    )
    assert 0 < (near - exact).abs().max() < 0.03


def test_auto_never_takes_it():
    assert "dali" in backends.REQUIRES
    assert "dali" not in Augmenter(SIMCLR).backends


def test_it_runs_on_the_cpu_and_on_cuda_alone():
    with pytest.raises(ValueError, match="backend 'dali' runs on cpu, cuda, not on meta"):
        Augmenter(SIMCLR, "dali", device="meta")


def test_missing_says_what_to_install(monkeypatch):
    monkeypatch.setattr(backends, "findable", lambda module: False)
    with pytest.raises(ImportError, match="backend 'dali' needs nvidia-dali-cuda130; install it with: pip install nvidia-dali"):
        Augmenter(SIMCLR, "dali")


def test_a_module_below_a_missing_one_is_not_found():
    assert backends.findable("nvidia.dali")
    assert not backends.findable("no_such_package.dali")


def test_the_plan_is_one_graph():
    augment = Augmenter(gpuaug.policy("byol", size=32), "dali")
    assert [len(plan) for plan in augment.plan] == [1, 1]
    assert "1. dali: RandomResizedCrop -> " in str(augment)


def test_a_graph_is_built_once():
    views()
    before = list(graph.GRAPHS.found.values())
    for count in (8, 3, 1):
        views(images=Images.from_list(list(photos())[:count]))
    assert list(graph.GRAPHS.found.values()) == before  # SimCLR's two views have the same steps


def test_few_graphs_are_kept():
    for bits in range(9):
        for p in (0.5, 1.0):
            op = gpuaug.RandomPosterize(bits, p)
            views(Policy(View(8, gpuaug.CenterCrop(), op)), Images.from_list(list(photos())[:2]))
    assert len(graph.GRAPHS.found) == graph.KEPT


def test_a_batch_larger_than_a_graph_has_room_for():
    images = Images.from_list(list(photos()) * 9)
    assert len(images) > graph.CAPACITY
    large = views(images=images)[0]
    draws = gpuaug.sample(SIMCLR, range(len(images)), seed=5)
    small = Augmenter(SIMCLR, "dali")(Images.from_list(list(photos())), draws.take(range(8)))[0]
    assert torch.equal(large[:8], small)


def test_earlier_views_keep_their_pixels():
    first = views()
    copies = [view.clone() for view in first]
    for _ in range(4):
        views(images=Images.from_list([image.flip(0) for image in photos()]))
    assert all(torch.equal(a, b) for a, b in zip(first, copies, strict=True))


@pytest.mark.parametrize("dtype", [torch.float32, torch.float16, torch.bfloat16])
@pytest.mark.parametrize("memory_format", [torch.contiguous_format, torch.channels_last])
def test_dtype_and_memory_format(dtype, memory_format):
    view = views(dtype=dtype, memory_format=memory_format)[0]
    assert view.dtype == dtype
    assert view.is_contiguous(memory_format=memory_format)
    assert torch.equal(view, views()[0].to(dtype))


def test_the_number_of_threads_changes_no_bit(set_threads):
    made = []
    for threads in (1, 2):
        set_threads(threads)
        made.append(views()[0])
    assert torch.equal(*made)


def test_threads_may_share_a_graph():
    expected = views()
    with ThreadPoolExecutor(4) as pool:
        for found in pool.map(lambda _: views(), range(8)):
            assert all(torch.equal(a, b) for a, b in zip(found, expected, strict=True))


def test_sizes_that_never_agree_come_out_as_a_list():
    op = gpuaug.RandomHorizontalFlip(1.0)
    out = dali.apply(photos(), [op], [{"apply": np.ones(len(photos()), bool)}])
    assert isinstance(out, list)
    for image, original in zip(out, photos(), strict=True):
        assert torch.allclose(image, original.permute(2, 0, 1).flip(-1).float() / 255, atol=1e-7)


def test_normalize_may_stand_anywhere():
    """At the end of a view, the graph treats it separately."""
    ops, draws = tables([gpuaug.CenterCrop(), gpuaug.Normalize(), gpuaug.RandomErasing(1.0), gpuaug.ToDtype()], 8, 40)
    assert compare("dali", photos(), ops, draws).largest < 1e-5
    choice = gpuaug.OneOf(gpuaug.Normalize(), gpuaug.RandomInvert(1.0))
    ops, draws = tables([gpuaug.CenterCrop(), choice], 8, 40)
    assert compare("dali", photos(), ops, draws).largest < 1e-5


BICUBIC = [name for name, ops in CROPS.items() if any(getattr(op, "interpolation", "") == "bicubic" for op in ops)]


@pytest.mark.parametrize("name", [name for name in [*CROPS, *MAPS] if not refuses("dali", name) and name not in BICUBIC])
def test_without_the_cubic_filters_table_it_is_nearer(name):
    if name in CROPS:
        result = compare("dali", ragged(), *tables(CROPS[name], len(ragged()), 64), 2e-4)
    else:
        result = compare("dali", uniform(), *map_tables(MAPS[name], 16), 2e-4)
    assert result.within(2e-4), result
    assert TOLERANCE["dali"] > 2e-4


@pytest.mark.filterwarnings("ignore:.*fork:DeprecationWarning")
def test_a_forked_process_has_graphs_of_its_own():
    """This holds even if it needs so many graphs that the oldest are dropped."""
    test_few_graphs_are_kept()
    expected = views()[0]
    read, write = os.pipe()
    child = os.fork()
    if not child:
        os.write(write, b"same" if torch.equal(views()[0], expected) else b"other")
        os._exit(0)
    os.close(write)
    with os.fdopen(read, "rb") as pipe:
        assert pipe.read() == b"same"
    os.waitpid(child, 0)
