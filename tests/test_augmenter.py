"""The augmenter makes views of the size, dtype and layout asked for, again from the same draws, by a plan one can read."""

from __future__ import annotations

import copy
import pickle
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

import gpuaug
from gpuaug import augmenter, backends
from gpuaug.augmenter import Stage, traffic
from gpuaug.backends import Backend, batched, torchvision

GENERATOR = np.random.default_rng(0)
RAGGED = [GENERATOR.integers(0, 256, (h, w, 3), dtype=np.uint8) for h, w in ((40, 50), (33, 31), (64, 48))]
BATCH = torch.from_numpy(GENERATOR.integers(0, 256, (3, 3, 40, 36), dtype=np.uint8))
POLICY = gpuaug.Policy(
    gpuaug.View(
        16,
        gpuaug.RandomResizedCrop(),
        gpuaug.RandomHorizontalFlip(),
        gpuaug.ColorJitter(0.4, 0.4, 0.2, 0.1, p=0.8),
        gpuaug.OneOf(gpuaug.RandomGrayscale(1.0), gpuaug.RandomSolarize(p=1.0), gpuaug.GaussianBlur(5, p=1.0)),
        gpuaug.Normalize(),
        repeat=2,
    ),
    gpuaug.View((8, 12), gpuaug.Resize(20), gpuaug.RandomCrop(), gpuaug.GaussianNoise()),
    name="test",
)
BACKENDS = ["auto", "torchvision", "batched", "kornia"]


def draws_of(policy: gpuaug.Policy = POLICY, count: int = 3, seed: int = 3) -> gpuaug.Draws:
    return gpuaug.sample(policy, range(count), seed=seed)


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("images", [RAGGED, BATCH, gpuaug.Images.from_list(RAGGED)], ids=["list", "tensor", "Images"])
def test_views_have_the_policys_sizes(backend: str, images: Any) -> None:
    views = gpuaug.Augmenter(POLICY, backend)(images, draws_of())
    assert [tuple(view.shape) for view in views] == [(3, 3, 16, 16), (3, 3, 16, 16), (3, 3, 8, 12)]
    assert {view.dtype for view in views} == {torch.float32}
    assert all(view.is_contiguous() and torch.isfinite(view).all() for view in views)


@pytest.mark.parametrize("again", [copy.deepcopy, lambda x: pickle.loads(pickle.dumps(x))], ids=["deepcopy", "pickle"])
@pytest.mark.parametrize("backend", BACKENDS)
def test_a_copy_is_its_arguments(backend: str, again: Any) -> None:
    augment = gpuaug.Augmenter(POLICY, backend, "cpu", torch.bfloat16, torch.channels_last)
    twin = again(augment)
    assert str(twin) == str(augment)
    for one, other in zip(twin(RAGGED, draws_of()), augment(RAGGED, draws_of()), strict=True):
        assert torch.equal(one, other)
        assert one.is_contiguous(memory_format=torch.channels_last)


def test_a_copy_approximates_as_it_does() -> None:
    policy = gpuaug.Policy(gpuaug.View(16, gpuaug.RandomResizedCrop(), gpuaug.ColorJitter(hue=0.1)))
    twin = copy.deepcopy(gpuaug.Augmenter(policy, "dali", approximate=True))
    assert (twin.approximate, twin.plan[0][0].backend) == (True, "dali")


def test_every_way_to_give_a_batch_gives_the_same_views() -> None:
    augment = gpuaug.Augmenter(POLICY, "torchvision")
    hwc = BATCH.permute(0, 2, 3, 1)
    expected = augment(BATCH, draws_of())
    for images in (
        gpuaug.Images.from_tensor(BATCH),
        list(BATCH),
        [a.numpy() for a in hwc],
        [Image.fromarray(a.numpy()) for a in hwc],
        hwc.numpy(),
        BATCH.contiguous(memory_format=torch.channels_last),
    ):
        assert all(torch.equal(a, b) for a, b in zip(augment(images, draws_of()), expected, strict=True))


@pytest.mark.parametrize("dtype", [torch.float32, torch.float16, torch.bfloat16])
@pytest.mark.parametrize("memory_format", [torch.contiguous_format, torch.channels_last])
def test_dtype_and_memory_format(dtype: torch.dtype, memory_format: torch.memory_format) -> None:
    plain = gpuaug.Augmenter(POLICY)(RAGGED, draws_of())
    views = gpuaug.Augmenter(POLICY, dtype=dtype, memory_format=memory_format)(RAGGED, draws_of())
    for view, reference in zip(views, plain, strict=True):
        assert view.dtype == dtype
        assert view.is_contiguous(memory_format=memory_format)
        assert torch.equal(view, reference.to(dtype))  # only the result is rounded


def test_the_policys_dtype_holds_unless_another_is_given() -> None:
    view = gpuaug.View(8, gpuaug.CenterCrop(), gpuaug.ToDtype(torch.bfloat16))
    policy = gpuaug.Policy(view, gpuaug.View(8, gpuaug.CenterCrop()))
    assert [v.dtype for v in gpuaug.Augmenter(policy)(RAGGED, draws_of(policy))] == [torch.bfloat16, torch.float32]
    assert {v.dtype for v in gpuaug.Augmenter(policy, dtype=torch.float16)(RAGGED, draws_of(policy))} == {torch.float16}


@pytest.mark.parametrize("backend", BACKENDS)
def test_the_same_draws_give_the_same_views_again(backend: str) -> None:
    draws = draws_of()
    first = gpuaug.Augmenter(POLICY, backend)(RAGGED, draws)
    torch.manual_seed(1)
    later = gpuaug.Augmenter(pickle.loads(pickle.dumps(POLICY)), backend)(RAGGED, pickle.loads(pickle.dumps(draws)))
    assert all(torch.equal(a, b) for a, b in zip(first, later, strict=True))
    other = gpuaug.Augmenter(POLICY, backend)(RAGGED, draws_of(seed=4))
    assert not any(torch.equal(a, b) for a, b in zip(first, other, strict=True))


@pytest.mark.parametrize("backend", BACKENDS)
def test_an_images_view_does_not_depend_on_the_batch_it_is_in(backend: str) -> None:
    augment = gpuaug.Augmenter(POLICY, backend)
    together = augment(RAGGED, draws_of())
    for k in range(3):
        for view, whole in zip(augment(RAGGED[k : k + 1], draws_of().take([k])), together, strict=True):
            assert torch.equal(view[0], whole[k])


@pytest.mark.parametrize("backend", BACKENDS)
def test_images_may_lie_anywhere_in_a_buffer(backend: str) -> None:
    augment, images = gpuaug.Augmenter(POLICY, backend), gpuaug.Images.from_list(RAGGED)
    order = np.array([2, 0, 1])
    apart = gpuaug.Images(images.buffer, images.shapes[order], images.offsets[order])
    for view, other in zip(augment(apart, draws_of().take(order)), augment(images, draws_of()), strict=True):
        assert torch.equal(view, other[torch.from_numpy(order)])


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("memory_format", [torch.contiguous_format, torch.channels_last])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_views_are_written_where_they_are_wanted(backend: str, memory_format: torch.memory_format, dtype: torch.dtype) -> None:
    augment = gpuaug.Augmenter(POLICY, backend, dtype=dtype, memory_format=memory_format)
    room = [view.fill_(7) for view in augment.empty(5)]
    views = augment(RAGGED, draws_of(), [view[1:4] for view in room])
    for view, whole, expected in zip(views, room, augment(RAGGED, draws_of()), strict=True):
        assert view.data_ptr() == whole[1:].data_ptr()
        assert whole.is_contiguous(memory_format=memory_format)
        assert torch.equal(whole[1:4], expected)
        assert (whole[[0, 4]] == 7).all()


def test_room_that_does_not_fit_is_refused() -> None:
    augment = gpuaug.Augmenter(POLICY)
    room = augment.empty(3)
    with pytest.raises(ValueError, match="out has 2 tensors, the policy 3 views"):
        augment(RAGGED, draws_of(), room[:2])
    for wrong, message in (
        (augment.empty(4), r"out\[0\] must be \(3, .* got \(4, "),
        ([view.half() for view in room], r"out\[0\] must be .* torch.float32 cpu, got .* torch.float16 cpu"),
        ([view.to("meta") for view in room], r"out\[0\] must be .* cpu, got .* meta"),
        ([view[::2] for view in augment.empty(6)], "must be contiguous as torch.contiguous_format; use slices of the rows of `empty`"),
    ):
        with pytest.raises(ValueError, match=message):
            augment(RAGGED, draws_of(), wrong)


@pytest.mark.parametrize("backend", BACKENDS)
def test_inputs_are_not_changed(backend: str) -> None:
    images, draws = gpuaug.Images.from_list(RAGGED), draws_of()
    pixels, shapes = images.buffer.clone(), images.shapes.copy()
    columns = [{name: a.copy() for name, a in draws.columns(v).items()} for v in range(3)]
    for view in gpuaug.Augmenter(POLICY, backend)(images, draws):
        view.fill_(0)  # nor do views share memory with the images
    assert torch.equal(images.buffer, pixels)
    assert np.array_equal(images.shapes, shapes)
    for v, before in enumerate(columns):
        assert all(np.array_equal(a, before[name]) for name, a in draws.columns(v).items())


def test_global_generators_are_not_moved() -> None:
    augment, draws = gpuaug.Augmenter(POLICY), draws_of()
    before = torch.get_rng_state(), np.random.get_state()[1].copy()  # noqa: NPY002
    augment(RAGGED, draws)
    assert torch.equal(before[0], torch.get_rng_state())
    assert np.array_equal(before[1], np.random.get_state()[1])  # noqa: NPY002


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("images", [[], torch.empty(0, 3, 9, 9, dtype=torch.uint8)], ids=["list", "tensor"])
def test_an_empty_batch_gives_empty_views(backend: str, images: Any) -> None:
    views = gpuaug.Augmenter(POLICY, backend, dtype=torch.float16)(images, draws_of(count=0))
    assert [tuple(view.shape) for view in views] == [(0, 3, 16, 16), (0, 3, 16, 16), (0, 3, 8, 12)]
    assert {view.dtype for view in views} == {torch.float16}


def test_an_op_that_is_not_applied_leaves_the_image_as_it_was() -> None:
    never = gpuaug.Policy(gpuaug.View(16, gpuaug.CenterCrop(), gpuaug.RandomInvert(0.0), gpuaug.GaussianBlur(5, p=0.0)))
    cut = gpuaug.Policy(gpuaug.View(16, gpuaug.CenterCrop()))
    (ours,), (plain,) = (gpuaug.Augmenter(p)(RAGGED, draws_of(p)) for p in (never, cut))
    assert torch.equal(ours, plain)
    middle = torch.from_numpy(RAGGED[0][12:28, 17:33]).permute(2, 0, 1).float() / 255
    assert (plain[0] - middle).abs().max() <= 2**-23  # 1/255 is no float32: backends may differ in the last place


def test_ops_run_in_order() -> None:
    def view(*ops: gpuaug.Op) -> torch.Tensor:
        policy = gpuaug.Policy(gpuaug.View(8, gpuaug.CenterCrop(), *ops))
        return gpuaug.Augmenter(policy)(RAGGED, draws_of(policy))[0]

    invert, solarize = gpuaug.RandomInvert(1.0), gpuaug.RandomSolarize(0.25, 1.0)
    x = view()
    inverted = 1 - x
    assert torch.allclose(view(invert, solarize), torch.where(inverted >= 0.25, 1 - inverted, inverted), atol=1e-6)
    solarized = torch.where(x >= 0.25, 1 - x, x)
    assert torch.allclose(view(solarize, invert), 1 - solarized, atol=1e-6)


# Errors.


def test_draws_of_another_policy_are_refused() -> None:
    other = gpuaug.Policy(*POLICY.views[:2])
    with pytest.raises(ValueError, match="the draws were made from another policy; draw with"):
        gpuaug.Augmenter(POLICY)(RAGGED, draws_of(other))


def test_draws_of_an_equal_policy_are_accepted() -> None:
    again = gpuaug.Policy(*POLICY.views, name="another name")
    assert len(gpuaug.Augmenter(POLICY)(RAGGED, draws_of(again))) == 3


@pytest.mark.parametrize("count", [0, 2, 4])
def test_draws_for_another_batch_size_are_refused(count: int) -> None:
    with pytest.raises(ValueError, match=f"Augmenter: 3 images but draws for {count}"):
        gpuaug.Augmenter(POLICY)(RAGGED, draws_of(count=count))


def test_images_on_another_device_are_refused() -> None:
    with pytest.raises(ValueError, match=r"images are on meta, the augmenter on cpu; use images\.to"):
        gpuaug.Augmenter(POLICY, device="cpu")(gpuaug.Images.from_list(RAGGED).to("meta"), draws_of())
    with pytest.raises(ValueError, match="images are on cpu, the augmenter on meta"):
        gpuaug.Augmenter(POLICY, "batched", device="meta")(RAGGED, draws_of())


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        ({"policy": "simclr"}, TypeError, "policy must be a gpuaug.Policy, got str"),
        (
            {"backend": "cuda"},
            ValueError,
            "backend must be \"auto\" or one of 'fused', 'batched', 'kornia', 'torchvision', 'dali', got 'cuda'",
        ),
        ({"dtype": torch.uint8}, ValueError, "dtype must be float32, float16 or bfloat16, got torch.uint8"),
        ({"dtype": torch.float64}, ValueError, "dtype must be"),
        ({"memory_format": torch.preserve_format}, ValueError, "memory_format must be contiguous_format or channels_last"),
        (
            {"backend": "torchvision", "device": "meta"},
            ValueError,
            "backend 'torchvision' runs on cpu, not on meta; use 'batched' or 'kornia'",
        ),
    ],
)
def test_bad_arguments_are_refused_by_name(arguments: dict[str, Any], error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=message):
        gpuaug.Augmenter(**{"policy": POLICY, **arguments})


class Swirl(gpuaug.ops.Op):
    """An op that no backend has."""


def test_an_op_that_no_backend_has_is_named() -> None:
    policy = gpuaug.Policy(gpuaug.View(8, gpuaug.CenterCrop(), Swirl()))
    with pytest.raises(ValueError, match="no backend of torchvision has Swirl"):
        gpuaug.Augmenter(policy, "torchvision")
    with pytest.raises(ValueError, match="no backend of fused, batched has Swirl"):
        gpuaug.Augmenter(policy)


def test_a_backend_whose_package_is_missing_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(backends, "installed", lambda name, kind="cpu": name == "batched")
    with pytest.raises(ImportError, match="backend 'kornia' needs kornia; install it with: pip install kornia"):
        gpuaug.Augmenter(POLICY, "kornia")
    assert set(gpuaug.Augmenter(POLICY).backends) == {"batched"}


def test_installed_finds_packages_without_importing_them(monkeypatch: pytest.MonkeyPatch) -> None:
    assert backends.installed("torchvision")
    monkeypatch.setitem(backends.REQUIRES, "kornia", {"any": "a_package_that_nobody_has"})
    assert not backends.installed("kornia")


# The plan.


def test_print_shows_the_plan() -> None:
    lines = str(gpuaug.Augmenter(POLICY, "torchvision", dtype=torch.bfloat16)).splitlines()
    colour = "ColorJitter -> RandomGrayscale -> RandomSolarize -> GaussianBlur -> Normalize"
    assert lines == [
        "Augmenter(backend='torchvision', device='of the images')",
        "  2 x 16x16 bfloat16",
        f"    1. torchvision: RandomResizedCrop -> RandomHorizontalFlip -> {colour}",
        "       a view reads 19 kB, writes 20 kB",
        "    one perfect pass would move 2 kB, 6% of this",
        "  1 x 8x12 bfloat16",
        "    1. torchvision: Resize -> RandomCrop -> GaussianNoise",
        "       a view reads 3 kB, writes 3 kB",
        "    one perfect pass would move 1 kB, 16% of this",
    ]
    assert "device='cpu'" in str(gpuaug.Augmenter(POLICY, device="cpu"))


def test_the_plan_counts_bytes() -> None:
    """768 values a view. A fused stage reads bytes, writes the view, and goes through a float buffer at each barrier."""
    crop, jitter, blur = gpuaug.RandomResizedCrop(), gpuaug.ColorJitter(contrast=0.5, p=0.8), gpuaug.GaussianBlur(5, p=0.5)
    view = gpuaug.View(16, crop, jitter, blur)
    fused, general = backends.load("fused"), backends.load("batched")
    assert traffic(view, Stage("fused", 0, view.steps), fused, torch.float16) == (768 * (1 + 4 * 1.3), 768 * (2 + 4 * 1.3))
    assert traffic(view, Stage("batched", 0, view.steps), general, torch.float32) == (768 * (1 + 4 * 2), 768 * (4 + 4 * 2))
    assert traffic(view, Stage("batched", 1, view.steps[1:2]), general, torch.float32) == (768 * 4, 768 * 4)
    bright = gpuaug.View(16, crop, gpuaug.ColorJitter(brightness=0.5))
    assert traffic(bright, Stage("fused", 0, bright.steps), fused, torch.float32) == (768, 768 * 4)


def put(monkeypatch: pytest.MonkeyPatch, **found: Backend) -> None:
    """Make these all the backends there are, best first."""
    monkeypatch.setattr(backends, "REQUIRES", {name: {"any": "torch"} for name in found})
    monkeypatch.setattr(backends, "AUTOMATIC", tuple(found))
    monkeypatch.setattr(backends, "load", lambda name, kind: found[name])


def test_auto_splits_a_view_into_stages_and_the_views_stay_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    """Each op goes to the first backend that has it, in order; runs of one backend are one call."""
    calls: list[str] = []

    def only(name: str, ops: set[type]) -> Backend:
        def apply(batch: Any, run: Any, draws: Any) -> Any:
            calls.append(f"{name}:{len(run)}")
            return torchvision.apply(batch, run, draws)

        return Backend(ops, lambda steps, given: backends.leading(steps, ops), apply)

    few = only("batched", {gpuaug.ColorJitter, gpuaug.RandomGrayscale, gpuaug.Normalize})
    every = only("torchvision", set(torchvision.OPS))
    truth = gpuaug.Augmenter(POLICY, "torchvision")(RAGGED, draws_of())
    put(monkeypatch, batched=few, torchvision=every)
    augment = gpuaug.Augmenter(POLICY)
    assert [(stage.backend, stage.first, len(stage.ops)) for stage in augment.plan[0]] == [
        ("torchvision", 0, 2),
        ("batched", 2, 2),
        ("torchvision", 4, 2),
        ("batched", 6, 1),
    ]
    views = augment(RAGGED, draws_of())
    assert calls == ["torchvision:2", "batched:2", "torchvision:2", "batched:1"] * 2 + ["torchvision:3"]
    assert all(torch.equal(a, b) for a, b in zip(views, truth, strict=True))
    assert "    2. batched: ColorJitter -> RandomGrayscale" in str(augment).splitlines()


def test_backends_hand_over_ragged_batches(monkeypatch: pytest.MonkeyPatch) -> None:
    """After a resize of the shorter edge alone, sizes differ still: the next backend takes a list."""
    policy = gpuaug.Policy(gpuaug.View(12, gpuaug.Resize(20), gpuaug.CenterCrop(), gpuaug.Normalize()))
    truth = gpuaug.Augmenter(policy, "torchvision")(RAGGED, draws_of(policy))
    resize = Backend({gpuaug.Resize}, lambda steps, given: backends.leading(steps, {gpuaug.Resize}), torchvision.apply)
    put(monkeypatch, torchvision=resize, batched=batched.BACKEND)
    (view,) = gpuaug.Augmenter(policy)(RAGGED, draws_of(policy))
    assert torch.allclose(view, truth[0], atol=1e-5)


def stages_of(*ops: gpuaug.ops.Op, backend: str = "fused") -> list[tuple[str, int]]:
    plan = gpuaug.Augmenter(gpuaug.Policy(gpuaug.View(16, *ops)), backend).plan[0]
    return [(stage.backend, len(stage.ops)) for stage in plan]


@pytest.mark.parametrize("name", list(gpuaug.policies))
def test_every_named_policy_is_one_fused_stage_a_view(name: str) -> None:
    for view in gpuaug.Augmenter(gpuaug.policy(name), "auto").plan:
        assert [stage.backend for stage in view] == ["fused"]


def test_what_cannot_be_fused_goes_to_batched_between_fused_stages() -> None:
    crop, jitter, flip = gpuaug.RandomResizedCrop(), gpuaug.ColorJitter(0.4), gpuaug.RandomHorizontalFlip()
    noise, equalize = gpuaug.GaussianNoise(), gpuaug.RandomEqualize()
    assert stages_of(crop, jitter, equalize, flip, jitter) == [("fused", 2), ("batched", 1), ("fused", 2)]
    assert stages_of(crop, noise, flip, jitter) == [("fused", 2), ("fused", 2)]  # a flip cannot move before the noise
    assert stages_of(flip, crop, jitter) == [("batched", 2), ("fused", 1)]  # a crop reads the pixels as they were
    assert stages_of(gpuaug.Resize(20), gpuaug.CenterCrop(), jitter) == [("fused", 3)]
    assert stages_of(gpuaug.RandomResizedCrop(interpolation="nearest"), jitter) == [("batched", 1), ("fused", 1)]
    assert stages_of(gpuaug.RandomCrop(padding=2, fill=0.5), jitter) == [("batched", 1), ("fused", 1)]
    assert stages_of(equalize, jitter, gpuaug.Resize((16, 16))) == [("batched", 3)]  # sizes differ until the resize


def test_a_cuda_device_has_an_index(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "current_device", lambda: 2)
    assert augmenter.canonical("cuda") == torch.device("cuda:2")
    assert augmenter.canonical("cuda:0") == torch.device("cuda:0")
    assert augmenter.canonical("cpu") == torch.device("cpu")
    assert augmenter.canonical("mps") == torch.device("mps:0")


def test_what_is_no_device_is_named() -> None:
    with pytest.raises(ValueError, match=r"device must be one of torch's, such as .* got 'gpu'"):
        gpuaug.Augmenter(POLICY, device="gpu")


@pytest.mark.parametrize("draws", [0, None, [0], {}, "draws"])
def test_what_is_no_draws_is_refused(draws: Any) -> None:
    policy = gpuaug.policy("mae", size=32)
    with pytest.raises(TypeError, match=r"Augmenter: draws must be gpuaug.Draws, got .*; make them with gpuaug.sample"):
        gpuaug.Augmenter(policy)([np.zeros((20, 30, 3), np.uint8)], draws)


@pytest.mark.parametrize("images", [0, None, 1.5])
def test_what_is_no_batch_of_images_is_refused(images: Any) -> None:
    policy = gpuaug.policy("mae", size=32)
    with pytest.raises(TypeError, match=r"Augmenter: images must be gpuaug.Images, .*, got (int|NoneType|float)"):
        gpuaug.Augmenter(policy)(images, gpuaug.sample(policy, [0]))
