"""Boxes, masks and keypoints move with the views: as torchvision moves them, and to where the pixels go."""

from __future__ import annotations

from collections import namedtuple
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torchvision import tv_tensors
from torchvision.transforms import v2
from torchvision.transforms.v2 import functional as F  # noqa: N812 - torchvision's own convention

import gpuaug
from gpuaug import Augmenter, Policy, View, sample, transform_targets
from gpuaug.backends.annotations import MOVES, STAYS
from gpuaug.backends.torchvision import displacement
from gpuaug.ops.automatic.kinds import WARPING

SIZE = HEIGHT, WIDTH = 60, 80
BOXES = [[10.0, 8.0, 40.0, 30.0], [45.0, 20.0, 70.0, 50.0], [0.0, 0.0, 6.0, 5.0]]
FORMATS = ["XYXY", "XYWH", "CXCYWH"]
COUNT = 6

CASES: dict[str, tuple[gpuaug.Op, ...]] = {
    "RandomResizedCrop": (gpuaug.RandomResizedCrop((48, 48), scale=(0.3, 1.0)),),
    "RandomResizedCrop bicubic": (gpuaug.RandomResizedCrop((48, 48), scale=(0.3, 1.0), interpolation="bicubic"),),
    "Resize": (gpuaug.Resize((48, 48)),),
    "Resize, CenterCrop": (gpuaug.Resize(56), gpuaug.CenterCrop((48, 48))),
    "CenterCrop that pads": (gpuaug.Resize((40, 44)), gpuaug.CenterCrop((48, 48))),
    "RandomCrop": (gpuaug.RandomCrop((48, 48), padding=4),),
    "RandomCrop, padded if needed": (gpuaug.Resize((40, 50)), gpuaug.RandomCrop((48, 48), pad_if_needed=True)),
    "RandomHorizontalFlip": (gpuaug.RandomHorizontalFlip(), gpuaug.Resize((48, 48))),
    "RandomVerticalFlip": (gpuaug.RandomVerticalFlip(), gpuaug.Resize((48, 48))),
    "RandomAffine": (gpuaug.RandomAffine(30, (0.1, 0.1), (0.7, 1.2), (-10, 10, -5, 5)), gpuaug.Resize((48, 48))),
    "RandomRotation": (gpuaug.RandomRotation(40, center=(20, 30)), gpuaug.Resize((48, 48))),
    "RandomPerspective": (gpuaug.RandomPerspective(0.4, 0.8), gpuaug.Resize((48, 48))),
    "ElasticTransform": (gpuaug.ElasticTransform(30, 4), gpuaug.Resize((48, 48))),
}
AUTOMATIC: dict[str, tuple[gpuaug.Op, ...]] = {
    "RandAugment": (gpuaug.RandAugment(3, 9), gpuaug.Resize((48, 48))),
    "TrivialAugmentWide": (gpuaug.TrivialAugmentWide(), gpuaug.Resize((48, 48))),
    "AutoAugment": (gpuaug.AutoAugment("svhn"), gpuaug.Resize((48, 48))),
    "TimmRandAugment": (gpuaug.TimmRandAugment(), gpuaug.Resize((48, 48))),
    "FixMatchRandAugment": (gpuaug.FixMatchRandAugment(), gpuaug.Resize((48, 48))),
}
"""Ops that warp some images and change the colours of others."""
every_case = pytest.mark.parametrize("name", CASES)


def boxes(form: str = "XYXY", rows: Any = BOXES) -> tv_tensors.BoundingBoxes:
    made = tv_tensors.BoundingBoxes(torch.tensor(rows).view(-1, 4), format="XYXY", canvas_size=SIZE)
    return F.convert_bounding_box_format(made, new_format=tv_tensors.BoundingBoxFormat[form])


def masks() -> tv_tensors.Mask:
    """The boxes as masks (3, HEIGHT, WIDTH)."""
    out = torch.zeros(len(BOXES), *SIZE, dtype=torch.uint8)
    for mask, (left, top, right, bottom) in zip(out, np.array(BOXES, int).tolist(), strict=True):
        mask[top:bottom, left:right] = 1
    return tv_tensors.Mask(out)


def target(form: str = "XYXY") -> dict[str, Any]:
    return {"boxes": boxes(form), "masks": masks(), "labels": torch.tensor([7, 8, 9]), "image_id": 5}


def policy_of(name: str) -> Policy:
    """Two views of a case, of which the second has colour ops too."""
    first, *rest = CASES[name]
    color = (gpuaug.ColorJitter(0.4), gpuaug.RandomErasing(1.0), gpuaug.Normalize())
    return Policy(View((48, 48), first, *rest), View((48, 48), first, *rest, *color))


@every_case
def test_masks_and_boxes_are_where_the_pixels_are(name: str) -> None:
    """A picture of a box: its view, the mask of the box and the box itself agree up to a pixel at the edges."""
    policy = policy_of(name)
    draws = sample(policy, range(COUNT), seed=4)
    for k in range(len(BOXES)):
        picture = masks()[k : k + 1].float().expand(COUNT, 3, *SIZE)
        targets = [{"boxes": boxes(rows=BOXES[k]), "masks": tv_tensors.Mask(masks()[k])} for _ in range(COUNT)]
        views, moved = Augmenter(policy)(picture, draws, targets=targets)
        for view, one in zip(views[0][:, 0] > 0.5, moved[0], strict=True):
            mask, (left, top, right, bottom) = one["masks"].bool(), one["boxes"][0].tolist()
            rim = F.gaussian_blur(mask[None].float(), [3, 3])[0]
            assert torch.equal(view[rim == 1], mask[rim == 1])
            assert torch.equal(view[rim == 0], mask[rim == 0])
            y, x = torch.nonzero(mask, as_tuple=True)
            if len(y):
                mask_box = np.array([int(x.min()), int(y.min()), int(x.max()) + 1, int(y.max()) + 1])
                beyond = (np.array([left, top, right, bottom]) - mask_box) * [-1, -1, 1, 1]
                warped = name in ("RandomAffine", "RandomRotation", "RandomPerspective", "ElasticTransform")
                assert beyond.min() >= (-2 if warped else -1.5)
                assert warped or beyond.max() <= 1.5  # a turned box has corners where the mask has none


def moved_by_torchvision(x: Any, step: gpuaug.Op, d: dict[str, Any]) -> Any:
    """One step with torchvision's functional, its arguments read from the draws."""
    if not d.get("apply", True):
        return x
    height, width = F.get_size(x)
    draws = {key: np.asarray(value)[None] for key, value in d.items()}
    if isinstance(step, gpuaug.RandomResizedCrop):
        return F.resized_crop(x, *step.boxes(draws, np.array([height]), np.array([width]))[0].tolist(), [48, 48])
    if isinstance(step, gpuaug.Resize):
        return F.resize(x, [step.size] if isinstance(step.size, int) else list(step.size))
    if isinstance(step, gpuaug.CenterCrop):
        return F.center_crop(x, list(step.size))
    if isinstance(step, gpuaug.RandomCrop):
        pads = step.pads(np.array([height]), np.array([width]))[0].tolist()
        top, left, high, wide = step.boxes(draws, np.array([height]), np.array([width]))[0].tolist()
        return F.crop(F.pad(x, pads), top + pads[1], left + pads[0], high, wide)
    if isinstance(step, gpuaug.RandomHorizontalFlip):
        return F.horizontal_flip(x)
    if isinstance(step, gpuaug.RandomVerticalFlip):
        return F.vertical_flip(x)
    if isinstance(step, gpuaug.RandomAffine):
        shift = [round(float(d["translate_x"]) * width), round(float(d["translate_y"]) * height)]
        return F.affine(x, float(d["angle"]), shift, float(d["scale"]), [float(d["shear_x"]), float(d["shear_y"])])
    if isinstance(step, gpuaug.RandomRotation):
        return F.rotate(x, float(d["angle"]), center=list(step.center))
    if isinstance(step, gpuaug.ElasticTransform):
        return F.elastic(x, displacement(step, d, height, width))
    coefficients = step.coefficients(draws, height, width)[0].tolist()
    return F.perspective(x, None, None, coefficients=coefficients)


@every_case
@pytest.mark.parametrize("form", FORMATS)
def test_every_op_moves_tv_tensors_as_torchvision_does(name: str, form: str) -> None:
    policy = policy_of(name)
    draws = sample(policy, range(COUNT), seed=5)
    out = transform_targets([target(form) for _ in range(COUNT)], draws)
    assert [len(view) for view in out] == [COUNT, COUNT]
    for v, view in enumerate(out):
        for row, made in enumerate(view):
            want = {"boxes": boxes(form), "masks": masks()}
            for step, table in zip(policy.views[v].steps, draws.tables[v], strict=True):
                if type(step) in MOVES:
                    d = {key: column[row] for key, column in table.items()}
                    want = {key: moved_by_torchvision(x, step, d) for key, x in want.items()}
            assert made["boxes"].format == tv_tensors.BoundingBoxFormat[form]
            assert made["boxes"].canvas_size == (48, 48)
            assert (made["boxes"] - F.clamp_bounding_boxes(want["boxes"])).abs().max() <= 1e-4
            assert type(made["masks"]) is tv_tensors.Mask
            assert torch.equal(made["masks"], want["masks"])
            assert made["labels"].tolist() == [7, 8, 9]
            assert made["image_id"] == 5


@pytest.mark.parametrize("name", AUTOMATIC)
def test_the_warps_of_automatic_ops_move_targets(name: str) -> None:
    """The bright part of a picture, whatever its colours become, stays the part that the mask shows, up to its rim."""
    first, *rest = AUTOMATIC[name]
    policy = Policy(View((48, 48), first, *rest))
    draws = sample(policy, range(100), seed=4)
    codes = draws.tables[0][0]["op"]
    picture = (0.3 + 0.4 * masks()[:1].float()).expand(100, 3, *SIZE)
    targets = [{"boxes": boxes(rows=BOXES[0]), "masks": tv_tensors.Mask(masks()[0])} for _ in range(100)]
    (view,), (moved,) = Augmenter(policy, "torchvision")(picture, draws, targets=targets)
    warped = 0
    for k in range(100):
        if np.isin(codes[k], [0, *WARPING]).all():  # no colour changes: compare pixels
            mask = moved[k]["masks"].bool()
            rim = F.gaussian_blur(mask[None].float(), [3, 3])[0]
            assert (view[k, 0][rim == 1] > 0.5).all()
            assert (view[k, 0][rim == 0] < 0.5).all()
            warped += bool((codes[k] > 0).any())
        if not np.isin(codes[k], WARPING).any():
            plain = F.resize(boxes(rows=BOXES[0]), [48, 48])
            assert torch.equal(moved[k]["boxes"], plain)
    assert warped > 3


def test_ops_that_mix_moved_copies_are_refused() -> None:
    policy = Policy(View(8, gpuaug.CenterCrop(), gpuaug.AugMix()))
    with pytest.raises(ValueError, match="whether AugMix moves pixels is not known, or it mixes an image with moved copies"):
        transform_targets([{}], sample(policy, [0]))


def test_every_op_is_known_to_move_pixels_or_to_leave_them() -> None:
    cases = {type(op) for ops in CASES.values() for op in ops}
    assert cases | {type(ops[0]) for ops in AUTOMATIC.values()} == MOVES
    own = {one for name in gpuaug.ops.__all__ if isinstance(one := getattr(gpuaug.ops, name), type)}
    assert not MOVES & STAYS
    assert own >= MOVES | STAYS


def test_ops_that_leave_pixels_in_place_leave_targets_as_they_are() -> None:
    jitter, noise = gpuaug.ColorJitter(0.4, 0.4, 0.4, 0.1), gpuaug.GaussianNoise()
    ops = (jitter, gpuaug.RandomGrayscale(1.0), gpuaug.GaussianBlur(5), noise, gpuaug.RandomErasing(1.0), gpuaug.Normalize())
    policy = Policy(View(SIZE, gpuaug.CenterCrop(), *ops))
    (out,) = transform_targets([target()], sample(policy, [0]))
    assert torch.equal(out[0]["boxes"], boxes())
    assert torch.equal(out[0]["masks"], masks())


@pytest.mark.parametrize("mode", ["edge", "reflect", "symmetric"])
def test_other_padding_of_a_crop_moves_masks_and_refuses_boxes(mode: str) -> None:
    """As torchvision: what the padding shows again has no box."""
    policy = Policy(View((70, 90), gpuaug.RandomCrop(padding=20, padding_mode=mode)))
    draws = sample(policy, range(COUNT), seed=2)
    picture = masks()[:1].float().expand(COUNT, 3, *SIZE)
    views, (moved,) = Augmenter(policy)(picture, draws, targets=[tv_tensors.Mask(masks()[0])] * COUNT)
    assert torch.equal(views[0][:, 0].to(torch.uint8), torch.stack(moved))
    with pytest.raises(ValueError, match="RandomCrop: boxes and keypoints need padding_mode='constant', got"):
        transform_targets([boxes()] * COUNT, draws)


def test_a_mask_for_the_batch_gives_a_mask_per_view() -> None:
    policy = Policy(View((24, 32), gpuaug.RandomResizedCrop()), View(16, gpuaug.Resize(20), gpuaug.RandomCrop()))
    draws = sample(policy, range(COUNT), seed=1)
    labels = torch.randint(0, 20, (COUNT, *SIZE), generator=torch.Generator().manual_seed(0))
    views, moved = Augmenter(policy)(torch.zeros(COUNT, 3, *SIZE), draws, targets=tv_tensors.Mask(labels))
    one_by_one = transform_targets([tv_tensors.Mask(row) for row in labels], draws)
    for view, mask, rows in zip(views, moved, one_by_one, strict=True):
        assert type(mask) is tv_tensors.Mask
        assert mask.dtype == torch.int64
        assert mask.shape == (COUNT, *view.shape[-2:])
        assert torch.equal(mask, torch.stack(rows))
    none = sample(policy, [])
    assert [mask.shape for mask in transform_targets(tv_tensors.Mask(labels[:0]), none)] == [(0, 24, 32), (0, 16, 16)]


@every_case
def test_mask_fill_is_where_the_view_shows_nothing_of_the_image(name: str) -> None:
    policy = policy_of(name)
    draws = sample(policy, range(COUNT), seed=3)
    whole = [tv_tensors.Mask(torch.ones(SIZE, dtype=torch.uint8)) for _ in range(COUNT)]
    filled, plain = (transform_targets(whole, draws, mask_fill=fill)[0] for fill in (255, 0))
    for a, b in zip(filled, plain, strict=True):
        assert torch.equal(a, torch.where(b == 0, 255, b))
    if "pad" in name or name in ("RandomAffine", "RandomRotation"):
        assert any((mask == 255).any() for mask in filled)


def test_small_boxes_are_dropped_on_request_as_torchvision_does() -> None:
    """With their labels and masks; `v2.SanitizeBoundingBoxes` decides which."""
    policy = policy_of("RandomResizedCrop")
    draws = sample(policy, range(20), seed=6)
    targets = [{**target(), "area": [1.0, 2.0, 3.0], "note": ["x", "y", "z"]} for _ in range(20)]
    everything = transform_targets(targets, draws)[0]
    assert all(len(one["boxes"]) == 3 for one in everything)
    dropped = 0
    for limits in ({"min_size": 5.0}, {"min_size": 1.0, "min_area": 60.0}, {"min_size": 8.0, "min_area": 100.0}):
        sane = v2.SanitizeBoundingBoxes(
            **{"min_size": 1.0, "min_area": 1.0, **limits}, labels_getter=lambda one: (one["labels"], one["masks"])
        )
        for made, whole in zip(transform_targets(targets, draws, **limits)[0], everything, strict=True):
            want = sane({key: whole[key] for key in ("boxes", "labels", "masks")})
            for key in want:
                assert torch.equal(made[key], want[key])
                assert type(made[key]) is type(whole[key])
            assert made["area"] == [float(label) - 6 for label in want["labels"]]
            assert (made["note"], made["image_id"]) == (["x", "y", "z"], 5)
            dropped += 3 - len(made["boxes"])
    assert dropped > 10


def test_other_entries_with_a_row_per_box_are_named() -> None:
    policy = Policy(View(8, gpuaug.Resize((8, 8))))
    one = {"boxes": boxes(), "score": np.array([0.1, 0.2, 0.3]), "labels": (1, 2, 3)}
    ((made,),) = transform_targets([one], sample(policy, [0]), min_size=2, with_boxes=("score",))
    assert made["score"].tolist() == [0.1, 0.2]
    assert made["labels"] == (1, 2, 3)


Pair = namedtuple("Pair", ["boxes", "rest"])


def test_targets_keep_their_structure() -> None:
    policy = Policy(View(SIZE, gpuaug.RandomHorizontalFlip(1.0), gpuaug.CenterCrop()))
    nested = Pair(boxes(), [("a", {"mask": tv_tensors.Mask(masks()[0])}), None, torch.ones(2)])
    ((made,),) = transform_targets([nested], sample(policy, [0]))
    assert type(made) is Pair
    assert made.boxes[0].tolist() == [WIDTH - 40, 8, WIDTH - 10, 30]
    assert torch.equal(made.rest[0][1]["mask"], masks()[0].flip(-1))
    assert made.rest[0][0] == "a"
    assert made.rest[1] is None
    assert made.rest[2] is nested.rest[2]


def test_images_without_boxes_and_targets_without_places_pass() -> None:
    policy = policy_of("RandomAffine")
    draws = sample(policy, range(2))
    out = transform_targets([{"boxes": boxes(rows=[]), "labels": torch.zeros(0)}, 3], draws, min_size=1)
    assert out[0][0]["boxes"].shape == (0, 4)
    assert out[1][1] == 3


def test_the_caller_keeps_its_targets() -> None:
    policy = policy_of("RandomPerspective")
    given_target = target()
    transform_targets([given_target], sample(policy, [3]), min_size=5, mask_fill=9)
    assert torch.equal(given_target["boxes"], boxes())
    assert torch.equal(given_target["masks"], masks())


class Swirl(gpuaug.Op):
    """An op whose effect on places is not known."""


@pytest.mark.parametrize(
    ("targets", "error", "message"),
    [
        ([{}], ValueError, "transform_targets: 1 targets but draws for 2"),
        ([tv_tensors.Image(torch.zeros(3, 4, 4))] * 2, TypeError, r"targets\[0\] is an image; give images to the Augmenter"),
        ([{}, {"boxes": torch.zeros(1, 4)}], TypeError, r"targets\[1\]\['boxes'\] must be a tv_tensors.BoundingBoxes, got a"),
        ([{"masks": np.zeros((4, 4))}, {}], TypeError, r"targets\[0\]\['masks'\] must be a tv_tensors.Mask, got a plain"),
        (
            [{"boxes": boxes(), "masks": tv_tensors.Mask(torch.zeros(4, 5))}, {}],
            ValueError,
            r"one image has one size, but these differ: targets\[0\]\['boxes'\] 60x80, targets\[0\]\['masks'\] 4x5",
        ),
        (tv_tensors.Mask(torch.zeros(4, 5)), ValueError, r"a Mask for the batch must have shape \(B, H, W\), got \(4, 5\)"),
    ],
)
def test_wrong_targets_are_refused_by_name(targets: Any, error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=message):
        transform_targets(targets, sample(policy_of("Resize"), range(2)))


def test_other_wrong_arguments_are_refused_by_name() -> None:
    policy = policy_of("Resize")
    draws = sample(policy, [0])
    with pytest.raises(TypeError, match=r"draws must be gpuaug.Draws, got Policy"):
        transform_targets([{}], policy)  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="min_size must be a number >= 0, got -1"):
        transform_targets([{}], draws, min_size=-1)
    with pytest.raises(ValueError, match=r"targets\[0\] is for 60x80, but its image is 60x81"):
        Augmenter(policy)(torch.zeros(1, 3, 60, 81), draws, targets=[target()])
    with pytest.raises(ValueError, match=r"targets\[0\] is for 60x80, but its image is 80x60"):
        Augmenter(policy)([np.zeros((80, 60, 3), np.uint8)], draws, targets=tv_tensors.Mask(masks()[:1]))
    unknown = Policy(View(8, gpuaug.CenterCrop(), Swirl()))
    with pytest.raises(ValueError, match="whether Swirl moves pixels is not known"):
        transform_targets([{}], sample(unknown, [0]))


@given(
    st.lists(
        st.tuples(*[st.floats(-20, 100, width=32)] * 2, *[st.floats(0, 100, width=32)] * 2).map(
            lambda b: [b[0], b[1], b[0] + b[2], b[1] + b[3]]
        ),
        max_size=4,
    ),
    st.sampled_from(sorted(CASES)),
    st.integers(0, 50),
)
@settings(max_examples=80, deadline=None)
def test_boxes_come_out_inside_the_view(rows: list[list[float]], name: str, seed: int) -> None:
    policy = policy_of(name)
    for view in transform_targets([boxes(rows=rows)], sample(policy, [seed], seed=1)):
        moved = view[0]
        assert moved.shape == (len(rows), 4)
        assert torch.isfinite(moved).all()
        assert ((moved >= 0) & (moved <= 48)).all()
        assert (moved[:, 2:] >= moved[:, :2]).all()
