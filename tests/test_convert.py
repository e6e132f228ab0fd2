"""A torchvision transform becomes a policy with the same distribution, or an error that names what cannot be converted."""

from __future__ import annotations

from contextlib import nullcontext
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from torch import nn
from torchvision import transforms as v1
from torchvision import tv_tensors
from torchvision.transforms import v2

import gpuaug
from gpuaug import from_torchvision

COUNT = 20_000
CROP = v2.RandomResizedCrop(32)
FLOAT = v2.ToDtype(torch.float32, scale=True)
MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)


def ops_of(*steps: Any) -> tuple[gpuaug.Op, ...]:
    """The converted ops, without the crop that every view needs."""
    return from_torchvision(v2.Compose([CROP, *steps])).views[0].ops[1:]


def rates(*steps: Any) -> dict[str, float]:
    """The share of images that each op is applied to, measured on draws."""
    draws = gpuaug.sample(from_torchvision(v2.Compose([CROP, *steps])), range(COUNT), seed=5)
    return {name.removesuffix(".apply"): a.mean() for name, a in draws.columns(0).items() if name.endswith(".apply")}


@pytest.mark.parametrize("t", [v1, v2], ids=["v1", "v2"])
def test_simclrs_usual_transform(t: Any) -> None:
    converted = from_torchvision(
        t.Compose(
            [
                t.RandomResizedCrop(32, scale=(0.2, 1.0), interpolation=v2.InterpolationMode.BICUBIC),
                t.RandomHorizontalFlip(),
                t.RandomApply([t.ColorJitter(0.4, 0.4, 0.2, 0.1)], p=0.8),
                t.RandomGrayscale(p=0.2),
                t.RandomApply([t.GaussianBlur(9, (0.1, 2.0))], p=0.5),
                t.RandomSolarize(128, p=0.2),
                t.ToTensor() if t is v1 else v2.Compose([v2.ToImage(), FLOAT]),
                t.Normalize(MEAN, STD),
            ]
        ),
        repeat=2,
    )
    assert converted == gpuaug.Policy(
        gpuaug.View(
            32,
            gpuaug.RandomResizedCrop(scale=(0.2, 1.0), interpolation="bicubic"),
            gpuaug.RandomHorizontalFlip(0.5),
            gpuaug.ColorJitter((0.6, 1.4), (0.6, 1.4), (0.8, 1.2), (-0.1, 0.1), p=0.8),
            gpuaug.RandomGrayscale(0.2),
            gpuaug.GaussianBlur(9, (0.1, 2.0), p=0.5),
            gpuaug.RandomSolarize(128 / 255, 0.2),
            gpuaug.Normalize(MEAN, STD),
            repeat=2,
        )
    )


@pytest.mark.parametrize("t", [v1, v2], ids=["v1", "v2"])
@pytest.mark.parametrize(
    ("make", "expected"),
    [
        (lambda t: t.RandomVerticalFlip(0.3), gpuaug.RandomVerticalFlip(0.3)),
        (
            lambda t: t.RandomAffine(10, (0.1, 0.2), (0.8, 1.2), (1, 2, 3, 4), fill=51, center=(3, 4)),
            gpuaug.RandomAffine((-10, 10), (0.1, 0.2), (0.8, 1.2), (1, 2, 3, 4), "nearest", 0.2, (3, 4)),
        ),
        (lambda t: t.RandomAffine((0, 5), shear=3), gpuaug.RandomAffine((0, 5), shear=(-3, 3))),
        (lambda t: t.RandomRotation(15, fill=(0, 51, 255)), gpuaug.RandomRotation(15, fill=(0, 0.2, 1))),
        (lambda t: t.RandomRotation(15, center=(1, 2)), gpuaug.RandomRotation(15, center=(1, 2))),
        (lambda t: t.RandomPerspective(0.3, 0.4), gpuaug.RandomPerspective(0.3, 0.4)),
        (lambda t: t.ElasticTransform(40.0, [4.0, 5.0], fill=51), gpuaug.ElasticTransform(40, (4, 5), fill=0.2)),
        (lambda t: t.ColorJitter(brightness=0.5), gpuaug.ColorJitter(brightness=(0.5, 1.5))),
        (lambda t: t.ColorJitter(hue=(0.0, 0.2)), gpuaug.ColorJitter(hue=(0.0, 0.2))),
        (lambda t: t.Grayscale(3), gpuaug.RandomGrayscale(1.0)),
        (lambda t: t.GaussianBlur((5, 9), 1.0), gpuaug.GaussianBlur((5, 9), (1.0, 1.0), p=1.0)),
        (lambda t: t.RandomPosterize(3, 0.4), gpuaug.RandomPosterize(3, 0.4)),
        (lambda t: t.RandomEqualize(0.4), gpuaug.RandomEqualize(0.4)),
        (lambda t: t.RandomAutocontrast(0.4), gpuaug.RandomAutocontrast(0.4)),
        (lambda t: t.RandomAdjustSharpness(2, 0.4), gpuaug.RandomAdjustSharpness(2, 0.4)),
        (lambda t: t.RandomInvert(0.4), gpuaug.RandomInvert(0.4)),
        (lambda t: t.CenterCrop(32), gpuaug.CenterCrop(32)),
        (lambda t: t.Resize((32, 32)), gpuaug.Resize((32, 32))),
        (lambda t: t.RandomCrop(32, padding=4, fill=51), gpuaug.RandomCrop(32, 4, fill=0.2)),
        (lambda t: t.RandomCrop(32, padding=(1, 2)), gpuaug.RandomCrop(32, (1, 2, 1, 2))),
        (
            lambda t: t.RandomCrop(32, padding=[1, 2, 3, 4], pad_if_needed=True, padding_mode="reflect"),
            gpuaug.RandomCrop(32, (1, 2, 3, 4), True, padding_mode="reflect"),
        ),
    ],
    ids=lambda x: type(x).__name__ if isinstance(x, gpuaug.Op) else "",
)
def test_each_transform_becomes_the_op_of_its_name(t: Any, make: Any, expected: gpuaug.Op) -> None:
    assert ops_of(make(t)) == (expected,)


def test_v2_alone() -> None:
    assert ops_of(v2.Identity(), v2.RGB(), v2.ToPureTensor()) == ()
    assert ops_of(v2.GaussianNoise(0.1, 0.2, clip=False)) == (gpuaug.GaussianNoise(0.1, 0.2, clip=False),)
    assert ops_of(v2.JPEG(50), v2.JPEG((5, 95))) == (gpuaug.JPEG(50), gpuaug.JPEG((5, 95)))
    assert ops_of(v2.RandomChannelPermutation()) == (gpuaug.RandomChannelPermutation(),)
    assert ops_of(v2.RandomPhotometricDistort(hue=(0, 0.1), p=0.4)) == (gpuaug.RandomPhotometricDistort(hue=(0, 0.1), p=0.4),)


def test_the_probability_of_parts_is_left_alone() -> None:
    """A photometric distortion's p is that of each part, so RandomApply's is another one."""
    inner, outer = gpuaug.RandomPhotometricDistort(p=0.4), v2.RandomApply([v2.RandomPhotometricDistort(p=0.4)], p=0.3)
    assert ops_of(outer) == (gpuaug.OneOf([inner], p=0.3),)


def test_the_views_size_is_the_one_that_the_steps_reach() -> None:
    assert from_torchvision([v2.RandomResizedCrop(64), v2.Resize(32)]).views[0].size == (32, 32)
    assert from_torchvision([v2.RandomResizedCrop((40, 60)), v2.Resize(20)]).views[0].size == (20, 30)
    assert from_torchvision([v2.Resize(256), v2.CenterCrop(224)]).views[0].size == (224, 224)


def test_one_value_of_normalize_is_every_channels() -> None:
    for t in (v1, v2):
        assert ops_of(FLOAT, t.Normalize((0.5,), [0.25])) == (gpuaug.Normalize((0.5,) * 3, (0.25,) * 3),)
        assert ops_of(FLOAT, t.Normalize((0.5,), STD)) == (gpuaug.Normalize((0.5,) * 3, STD),)


def test_the_images_size_is_the_views_where_no_step_sets_another() -> None:
    (view,) = from_torchvision([v1.RandomHorizontalFlip(), v1.ToTensor()], size=(30, 40)).views
    assert (view.size, view.ops) == ((30, 40), (gpuaug.CenterCrop((30, 40)), gpuaug.RandomHorizontalFlip()))
    assert from_torchvision(v2.Resize(15), size=(30, 40)).views[0].size == (15, 20)
    assert from_torchvision(CROP, size=(30, 40)) == from_torchvision(CROP)


def test_crop_arguments() -> None:
    made = from_torchvision(v2.RandomResizedCrop((24, 32), (0.1, 0.5), (0.5, 1.5), v2.InterpolationMode.BICUBIC))
    assert made.views[0].ops == (gpuaug.RandomResizedCrop((24, 32), (0.1, 0.5), (0.5, 1.5), "bicubic"),)
    assert made.views[0].size == (24, 32)


@pytest.mark.parametrize(("number", "name"), [(Image.Resampling.BICUBIC, "bicubic"), (2, "bilinear"), (0, "nearest")])
def test_pillows_numbers_of_interpolation_modes(number: int, name: str) -> None:
    assert from_torchvision(v2.RandomResizedCrop(32, interpolation=number)).views[0].ops[0].interpolation == name  # type: ignore[attr-defined]
    assert ops_of(v2.Resize((32, 32), interpolation=number)) == (gpuaug.Resize((32, 32), name),)


@pytest.mark.parametrize(
    "nest",
    [
        lambda steps: v2.Compose(steps),
        lambda steps: v1.Compose(steps),
        lambda steps: steps,
        lambda steps: tuple(steps),
        lambda steps: nn.Sequential(*steps),
        lambda steps: v2.Compose([v1.Compose(steps[:1]), nn.Sequential(*steps[1:])]),
    ],
    ids=["v2", "v1", "list", "tuple", "Sequential", "nested"],
)
def test_sequences_of_every_kind_are_flattened(nest: Any) -> None:
    steps = [CROP, v2.RandomInvert(), v2.RandomGrayscale()]
    assert from_torchvision(nest(steps)) == from_torchvision(v2.Compose(steps))


# Effective probabilities, measured on draws.


def test_a_probability_within_a_probability_is_their_product() -> None:
    """LeJEPA's script solarizes with p=.5 (torchvision's default) inside p=.2, which is a tenth."""
    assert rates(v2.RandomApply([v2.RandomSolarize(128)], p=0.2)) == pytest.approx({"RandomSolarize": 0.1}, abs=0.01)
    nested = v2.RandomApply([v2.RandomApply([v2.RandomInvert(0.8)], p=0.5)], p=0.5)
    assert rates(nested) == pytest.approx({"RandomInvert": 0.2}, abs=0.01)


def test_ops_in_one_random_apply_are_applied_together() -> None:
    apply = v2.RandomApply([v2.RandomGrayscale(0.5), v2.GaussianBlur(3)], p=0.4)
    assert rates(apply) == pytest.approx({"RandomGrayscale": 0.2, "GaussianBlur": 0.4}, abs=0.012)
    columns = gpuaug.sample(from_torchvision([CROP, apply]), range(COUNT)).columns(0)
    assert not (columns["RandomGrayscale.apply"] & ~columns["GaussianBlur.apply"]).any()


def test_random_choice_takes_one_by_its_weights() -> None:
    choice = v2.RandomChoice([v2.RandomInvert(1.0), v2.RandomGrayscale(1.0), v2.Identity()], p=[1, 2, 2])
    assert rates(choice) == pytest.approx({"RandomInvert": 0.2, "RandomGrayscale": 0.4}, abs=0.012)
    equal = v1.RandomChoice([v1.RandomInvert(1.0), v1.Compose([v1.RandomGrayscale(1.0), v1.GaussianBlur(3)])])
    assert rates(equal) == pytest.approx({"RandomInvert": 0.5, "RandomGrayscale": 0.5, "GaussianBlur": 0.5}, abs=0.012)


def test_a_choice_within_an_apply() -> None:
    apply = v2.RandomApply([v2.RandomChoice([v2.RandomInvert(1.0), v2.RandomGrayscale(0.5)])], p=0.6)
    assert rates(apply) == pytest.approx({"RandomInvert": 0.3, "RandomGrayscale": 0.15}, abs=0.012)


def test_rates_are_those_that_torchvision_shows_in_pixels() -> None:
    transform = v2.RandomApply([v2.RandomChoice([v2.RandomInvert(0.9), v2.Compose([v2.RandomInvert(0.5)])], p=[3, 1])], p=0.7)
    image = torch.zeros(3, 2, 2, dtype=torch.uint8)
    with torch.random.fork_rng():
        torch.manual_seed(0)
        seen = np.mean([bool(transform(image).any()) for _ in range(4000)])
    draws = gpuaug.sample(from_torchvision([CROP, transform]), range(COUNT)).columns(0)
    ours = (draws["RandomInvert.apply"] | draws["RandomInvert#2.apply"]).mean()
    assert ours == pytest.approx(seen, abs=0.03)


# The scale of pixels: 0..255 before ToTensor, 0..1 after it.

BEFORE_AND_AFTER = [
    ([v2.RandomSolarize(128, 1.0)], [v2.RandomSolarize(128 / 255, 1.0)]),
    ([v2.RandomRotation(5, fill=51)], [v2.RandomRotation(5, fill=0.2)]),
    ([v2.RandomErasing(1.0, value=51)], [v2.RandomErasing(1.0, value=0.2)]),
    ([v2.RandomErasing(1.0, value=(0, 51, 255))], [v2.RandomErasing(1.0, value=(0, 0.2, 1))]),
]


@pytest.mark.parametrize(("before", "after"), BEFORE_AND_AFTER, ids=["solarize", "fill", "value", "values"])
@pytest.mark.parametrize(
    "to_float", [v2.ToTensor, v1.ToTensor, lambda: FLOAT, v2.ConvertImageDtype], ids=["v2", "v1", "dtype", "convert"]
)
def test_thresholds_and_fills_mean_the_same_before_and_after(before: list[Any], after: list[Any], to_float: Any) -> None:
    with pytest.warns(UserWarning, match="deprecated") if to_float is v2.ToTensor else nullcontext():
        convert = to_float()
    assert ops_of(*before, convert) == ops_of(convert, *after)


def test_the_scale_follows_the_pixels_through_uint8_and_pil() -> None:
    """torchvision's recommended pipeline: ToImage, ToDtype(uint8), ..., ToDtype(float32), Normalize."""
    steps = [v2.ToImage(), v2.ToDtype(torch.uint8, scale=True), v2.RandomSolarize(51), FLOAT, v2.Normalize(MEAN, STD)]
    assert ops_of(*steps) == (gpuaug.RandomSolarize(0.2), gpuaug.Normalize(MEAN, STD))
    back = [v2.ToImage(), FLOAT, v2.RandomSolarize(0.2), v2.ToPILImage(), v2.RandomSolarize(51)]
    assert ops_of(*back) == (gpuaug.RandomSolarize(0.2), gpuaug.RandomSolarize(0.2))
    again = [FLOAT, v2.ToDtype(torch.uint8, scale=True), v2.RandomSolarize(51), FLOAT]
    assert ops_of(*again) == (gpuaug.RandomSolarize(0.2),)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_half_precision_is_the_views_dtype(dtype: torch.dtype) -> None:
    assert ops_of(v2.ToDtype(dtype, scale=True)) == (gpuaug.ToDtype(dtype),)
    assert ops_of(FLOAT, v2.ToDtype(dtype)) == (gpuaug.ToDtype(dtype),)


# What cannot be converted.

REFUSED = [
    (v2.RandomZoomOut(), "cannot convert RandomZoomOut .step 2.; do it in the Dataset"),
    (v2.AutoAugment(), "cannot convert AutoAugment"),
    (v2.Lambda(lambda x: x), "cannot convert Lambda"),
    (v1.FiveCrop(8), "cannot convert FiveCrop"),
    (v2.RandomApply([v2.RandomZoomOut()], p=0.5), "RandomApply .step 2.: cannot convert RandomZoomOut .step 1.; do it"),
    (v2.RandomChoice([v2.Identity(), v2.RandomZoomOut()]), "cannot convert RandomZoomOut"),
    (v2.RandomApply([v2.CenterCrop(8)]), "RandomApply .step 2.: OneOf: branches must be ops that keep the size"),
    (v2.RandomRotation(5, expand=True), "RandomRotation .step 2.: expand=True"),
    (v2.Resize(32, max_size=64), "Resize .step 2.: max_size"),
    (v2.Resize((32, 32), antialias=False), "Resize .step 2.: antialias=False"),
    (v2.Resize((32, 32), interpolation=v2.InterpolationMode.LANCZOS), "Resize .step 2.: Resize: interpolation must be one of"),
    (v2.RandomRotation(5, v2.InterpolationMode.NEAREST_EXACT), "RandomRotation: interpolation must be one of"),
    (v2.Grayscale(1), "Grayscale .step 2.: num_output_channels must be 3"),
    (v2.Normalize(MEAN, STD), "Normalize .step 2.: it comes before ToTensor"),
    (v2.Compose([FLOAT, v2.Normalize(MEAN[:2], STD)]), "Normalize .step 3.: Normalize: mean must be three numbers"),
    (v2.ToDtype(torch.float32), "ToDtype .step 2.: scale=False"),
    (v2.Compose([FLOAT, v2.ToDtype(torch.uint8)]), "ToDtype .step 3.: scale=False"),
    (v2.ToDtype(torch.float64, scale=True), "ToDtype .step 2.: ToDtype: dtype must be"),
    (v2.ToDtype(torch.int32, scale=True), "ToDtype .step 2.: torch.int32 is not supported"),
    (v2.ToDtype({tv_tensors.Image: torch.float32}, scale=True), "ToDtype .step 2.: a dictionary of dtypes"),
    (v2.RandomRotation(5, fill={tv_tensors.Image: 1}), "RandomRotation .step 2.: a dictionary of fills"),
    (v2.RandomErasing(value="random"), "RandomErasing .step 2.: normal noise needs pixels in 0..1"),
    (v1.RandomErasing(value="random"), "RandomErasing .step 2.: normal noise needs pixels in 0..1"),
    (v2.Compose([FLOAT, v2.RandomSolarize(128)]), "RandomSolarize .step 3.: RandomSolarize: threshold must be a number in"),
]


@pytest.mark.parametrize(("transform", "message"), REFUSED, ids=[message[:30] for _, message in REFUSED])
def test_what_cannot_be_converted_is_an_error_that_names_it(transform: Any, message: str) -> None:
    with pytest.raises(ValueError, match=f"^from_torchvision: {message}" if " .step" in message else message) as error:
        from_torchvision(v2.Compose([CROP, transform]))
    assert str(error.value).startswith("from_torchvision: ")


@pytest.mark.parametrize(
    ("steps", "last"),
    [
        ([v1.PILToTensor()], "PILToTensor"),
        ([v2.ToImage(), v2.RandomInvert()], "ToImage"),
        ([v2.ToImage(), FLOAT, v2.Compose([v2.ToDtype(torch.uint8, scale=True)])], "ToDtype"),
        ([v1.ToTensor(), v1.ConvertImageDtype(torch.uint8)], "ConvertImageDtype"),
    ],
    ids=lambda x: x if isinstance(x, str) else "",
)
def test_a_transform_that_ends_in_8_bit_tensors_is_refused(steps: list[Any], last: str) -> None:
    """There torch returns uint8 in 0..255, and the user's loop divides by 255."""
    message = rf"ends in 8-bit pixels, after {last}, and gpuaug gives floats in 0\.\.1; append ToDtype\(torch.float32"
    with pytest.raises(ValueError, match=f"^from_torchvision: the transform {message}"):
        from_torchvision([CROP, *steps])
    assert from_torchvision([CROP, *steps, FLOAT]).views[0].size == (32, 32)


class RandomInvert:
    """The user's class has the same name as one of torchvision's."""

    def __call__(self, x: Any) -> Any:
        return x


def test_a_users_class_is_not_taken_for_torchvisions() -> None:
    with pytest.raises(ValueError, match=r"cannot convert \w*\.?test_convert\.RandomInvert"):
        from_torchvision(v2.Compose([CROP, RandomInvert()]))
    with pytest.raises(ValueError, match=r"cannot convert builtins\.function"):
        from_torchvision(v2.Compose([CROP, lambda x: x]))


@pytest.mark.parametrize("steps", [[v2.RandomInvert()], [v2.Resize(32)], []])
def test_without_one_size_there_is_no_policy(steps: list[Any]) -> None:
    with pytest.raises(ValueError, match=r"from_torchvision: no step brings the images to one size; .*with CenterCrop"):
        from_torchvision(steps)


def test_erasing_with_noise_after_to_tensor() -> None:
    for t in (v1, v2):
        erase = t.RandomErasing(0.3, (0.1, 0.2), (0.5, 2.0), "random")
        assert ops_of(FLOAT, erase) == (gpuaug.RandomErasing(0.3, (0.1, 0.2), (0.5, 2.0), "random"),)


# Pixels.

PHOTO = Image.fromarray(np.random.default_rng(0).integers(0, 256, (90, 130, 3), dtype=np.uint8))


def ours(transform: Any, images: list[Any]) -> torch.Tensor:
    made = from_torchvision(transform)
    (view,) = gpuaug.Augmenter(made, backend="torchvision")(images, gpuaug.sample(made, range(len(images))))
    return view


@pytest.mark.parametrize("interpolation", [v2.InterpolationMode.BILINEAR, v2.InterpolationMode.BICUBIC])
@pytest.mark.parametrize("t", [v1, v2], ids=["v1", "v2"])
def test_evaluation_pipelines_give_torchvisions_pixels(t: Any, interpolation: v2.InterpolationMode) -> None:
    to_float = v1.ToTensor() if t is v1 else v2.Compose([v2.ToImage(), FLOAT])
    steps = [t.Resize(64, interpolation, antialias=True), t.CenterCrop(48), t.Normalize(MEAN, STD)]
    transform = t.Compose([to_float, *steps])
    portrait = PHOTO.rotate(90, expand=True)
    found = ours(transform, [PHOTO, portrait])
    assert found.shape == (2, 3, 48, 48)
    for view, image in zip(found, (PHOTO, portrait), strict=True):
        assert torch.allclose(view, transform(image), atol=1e-6)


@pytest.mark.parametrize("first", [v1.RandomHorizontalFlip(1.0), v1.Resize(120, antialias=True), v1.Compose([])])
def test_a_pipeline_without_a_crop_gives_torchvisions_pixels(first: Any) -> None:
    transform = v1.Compose([v1.ToTensor(), first, v1.Normalize((0.5,), (0.5,))])
    made = from_torchvision(transform, size=(90, 130))
    (view,) = gpuaug.Augmenter(made, backend="torchvision")([PHOTO], gpuaug.sample(made, [0]))
    assert torch.allclose(view[0], transform(PHOTO), atol=1e-6)


def test_resizing_before_to_tensor_differs_by_the_rounding_to_8_bits_alone() -> None:
    transform = v1.Compose([v1.Resize(64), v1.CenterCrop(48), v1.ToTensor()])
    assert (ours(transform, [PHOTO])[0] - transform(PHOTO)).abs().max() < 1.01 / 255


def test_a_deterministic_pipeline_of_colour_gives_torchvisions_pixels() -> None:
    transform = v2.Compose(
        [
            v2.ToImage(),
            FLOAT,
            v2.CenterCrop(40),
            v2.RandomHorizontalFlip(1.0),
            v2.ColorJitter(brightness=(1.3, 1.3)),
            v2.ColorJitter(hue=(0.2, 0.2)),
            v2.GaussianBlur(5, (1.5, 1.5)),
            v2.RandomSolarize(0.4, 1.0),
            v2.Normalize(MEAN, STD),
        ]
    )
    assert torch.allclose(ours(transform, [PHOTO])[0], transform(PHOTO), atol=2e-5)
