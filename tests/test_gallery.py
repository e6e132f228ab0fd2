"""A contact sheet shows each picture, then its views as the Augmenter makes them, each captioned with its draws."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image, ImageFont

import gpuaug
from gpuaug.gallery import CELL, GAP, LINE, MAX_COLUMNS, caption, contact_sheet, fit, layout, picture, wrap

GENERATOR = np.random.default_rng(0)
SMOOTH = np.stack([*np.meshgrid(np.linspace(0, 255, 300), np.linspace(0, 255, 200)), np.full((200, 300), 90.0)], axis=2)
PHOTO = SMOOTH.astype(np.uint8)
NOISE = GENERATOR.integers(0, 256, (40, 40, 3), dtype=np.uint8)
POLICY = gpuaug.Policy(
    gpuaug.View(32, gpuaug.RandomResizedCrop(), gpuaug.RandomHorizontalFlip(), gpuaug.Normalize(), repeat=2),
    gpuaug.View((24, 48), gpuaug.RandomResizedCrop(), gpuaug.RandomGrayscale(1.0)),
    name="mine",
    source="a page",
)


def sheet(tmp_path: Path, *arguments: Any, **named: Any) -> np.ndarray:
    path = tmp_path / "sheet.png"
    contact_sheet(*arguments, path, **named)
    with Image.open(path) as image:
        assert image.format == "PNG"
        assert image.mode == "RGB"
        return np.asarray(image)


def cell(pixels: np.ndarray, column: int, top: int, shape: tuple[int, int]) -> np.ndarray:
    left = GAP + column * (CELL + GAP)
    return pixels[top : top + shape[0], left : left + shape[1]]


def test_the_pictures_are_the_original_and_the_views(tmp_path: Path) -> None:
    pixels = sheet(tmp_path, POLICY, [PHOTO, NOISE], seed=5, backend="torchvision")
    assert pixels.shape[1] == GAP + 4 * (CELL + GAP)
    views = gpuaug.Augmenter(POLICY, "torchvision")([PHOTO, NOISE], gpuaug.sample(POLICY, [0, 1], seed=5))
    second = next(
        y for y in range(200, len(pixels)) if np.array_equal(cell(pixels, 0, y, (1, 200))[0], np.repeat(NOISE[0], 5, 0))
    )
    for k, (original, top) in enumerate(((PHOTO, 40), (NOISE, second))):
        expected = [fit(Image.fromarray(original)), *(picture(view[k], POLICY.views[v]) for v, view in enumerate(views))]
        for column, image in enumerate(expected):
            assert np.array_equal(cell(pixels, column, top, (image.height, image.width)), np.asarray(image))


def test_height_is_the_sum_of_the_rows(tmp_path: Path) -> None:
    """The sheet is the title and one row per image: its tallest cell (picture and caption) and two gaps."""
    plain = gpuaug.Policy(gpuaug.View(CELL, gpuaug.CenterCrop()))
    one = sheet(tmp_path, plain, [NOISE])
    assert len(one) == 40 + CELL + 2 * LINE + 2 * GAP
    row = CELL + 2 * LINE + 2 * GAP
    three = sheet(tmp_path, plain, [NOISE, NOISE, NOISE])
    assert len(three) == 40 + 3 * row
    large = NOISE.repeat(5, axis=0).repeat(5, axis=1)
    assert all(np.array_equal(cell(three, 0, 40 + k * row, (200, 200)), large) for k in range(3))


def test_draws_are_the_epochs(tmp_path: Path) -> None:
    two = sheet(tmp_path, POLICY, [PHOTO], seed=5, draws=2, backend="torchvision")
    (view, *_) = gpuaug.Augmenter(POLICY, "torchvision")([PHOTO], gpuaug.sample(POLICY, [0], seed=5, epoch=1))
    image = np.asarray(picture(view[0], POLICY.views[0]))
    assert np.array_equal(cell(two, 4, 40, image.shape[:2]), image)


def test_a_picture_undoes_normalize_and_clips() -> None:
    view = gpuaug.View(4, gpuaug.CenterCrop(), gpuaug.Normalize((0.1, 0.2, 0.3), (0.5, 0.25, 2.0)))
    x = torch.stack([torch.full((4, 4), v) for v in (0.5, 99.0, -99.0)])
    assert np.asarray(picture(x, view))[0, 0].tolist() == [round((0.5 * 0.5 + 0.1) * 255), 255, 0]
    plain = gpuaug.View(4, gpuaug.CenterCrop())
    assert np.asarray(picture(torch.full((3, 4, 4), 0.5), plain))[0, 0].tolist() == [128, 128, 128]


@pytest.mark.parametrize(
    ("size", "fitted"),
    [
        ((CELL, CELL), (CELL, CELL)),
        ((2 * CELL, CELL), (CELL, CELL // 2)),
        ((CELL // 2, 10), (2 * (CELL // 2), 20)),
        ((CELL // 2 + 1, 10), (CELL // 2 + 1, 10)),
        ((1, 1), (CELL, CELL)),
        ((3000, 1), (CELL, 1)),
    ],
)
def test_pictures_fit_their_cell(size: tuple[int, int], fitted: tuple[int, int]) -> None:
    assert fit(Image.new("RGB", size)).size == fitted


def test_small_pictures_keep_their_pixels() -> None:
    large = np.asarray(fit(Image.fromarray(NOISE)))
    assert np.array_equal(large, NOISE.repeat(5, axis=0).repeat(5, axis=1))


@pytest.mark.parametrize(("cells", "columns"), [(1, 1), (MAX_COLUMNS, MAX_COLUMNS), (MAX_COLUMNS + 1, 5), (11, 6), (19, 7)])
def test_rows_are_of_equal_length(cells: int, columns: int) -> None:
    block = [(Image.new("RGB", (CELL, CELL), "red"), ["a line"])] * cells
    pixels = np.asarray(layout("", [block]))
    red = (pixels == [255, 0, 0]).all(axis=2)
    assert pixels.shape[1] == GAP + columns * (CELL + GAP)
    assert red.sum() == cells * CELL**2
    assert red[40].sum() == columns * CELL


def test_a_long_title_widens_the_sheet() -> None:
    block = [(Image.new("RGB", (10, 10)), ["a"])]
    assert layout("long " * 40, [block]).width > 2 * CELL


def test_captions_stay_within_their_cell() -> None:
    font = ImageFont.load_default(12)
    text = "rotate 28.3, shift -0.03,0.08, scale 0.81, shear -9.6,-1.8 and a good many words more"
    lines = wrap(text, font)
    assert len(lines) > 1
    assert " ".join(lines) == text
    assert all(font.getlength(line) <= CELL for line in lines)
    assert wrap("short", font) == ["short"]
    assert wrap("unbreakable" * 9, font) == ["unbreakable" * 9]


CAPTIONS = [
    (gpuaug.RandomVerticalFlip(1.0), {}, "flip upside down"),
    (gpuaug.RandomHorizontalFlip(1.0), {}, "flip"),
    (gpuaug.RandomGrayscale(1.0), {}, "gray"),
    (gpuaug.RandomSolarize(0.25, 1.0), {}, "solarize at 0.25"),
    (gpuaug.RandomPosterize(3, 1.0), {}, "posterize to 3 bits"),
    (gpuaug.RandomEqualize(1.0), {}, "equalize"),
    (gpuaug.RandomAdjustSharpness(2, 1.0), {}, "adjust sharpness"),
    (gpuaug.RandomPerspective(p=1.0), {}, "perspective"),
    (gpuaug.GaussianBlur(3, p=1.0), {"sigma": 1.256}, "blur, sigma 1.26"),
    (gpuaug.GaussianNoise(sigma=0.2), {}, "noise, sigma 0.20"),
    (gpuaug.RandomRotation(30), {"angle": -0.01}, "rotate 0.0"),
    (gpuaug.RandomAffine(30), {"angle": 12.34}, "rotate 12.3"),
    (
        gpuaug.RandomAffine(30, (0.5, 0.5), (0.5, 2), 10),
        {"angle": 12.34, "translate_x": 0.125, "translate_y": -0.001, "scale": 1.5, "shear_x": -3.0},
        "rotate 12.3, shift 0.12,0.00, scale 1.50, shear -3.0",
    ),
    (
        gpuaug.RandomAffine(30, shear=(1, 2, 3, 4)),
        {"angle": 1.0, "shear_x": 1.5, "shear_y": 3.5},
        "rotate 1.0, shear 1.5,3.5",
    ),
    (
        gpuaug.ColorJitter(0.4, 0.4, 0.4, 0.1),
        {"order": 23, "brightness": 1.234, "contrast": 0.9, "saturation": 0.7, "hue": -0.001},
        "hue +0.00 sat 0.70 con 0.90 bri 1.23",
    ),
    (gpuaug.ColorJitter(hue=0.1), {"order": 0, "hue": 0.05}, "hue +0.05"),
    (
        gpuaug.RandomPhotometricDistort(),
        {
            "parts": [True, True, False, True],
            "contrast_first": False,
            "brightness": 1.1,
            "contrast": 0.9,
            "hue": -0.04,
            "channels": [2, 0, 1],
        },
        "bri 1.10 hue -0.04 con 0.90 channels BRG",
    ),
    (gpuaug.RandomPhotometricDistort(), {"parts": [False] * 4, "channels": [0, 1, 2]}, "no distortion"),
    (gpuaug.RandomChannelPermutation(), {"channels": [0, 2, 1]}, "channels RBG"),
    (gpuaug.JPEG((5, 95)), {"quality": 30}, "JPEG of quality 30"),
    (gpuaug.ElasticTransform((40, 2.5), 1), {}, "elastic, strength 40x2.5"),
    (gpuaug.RandomErasing(1.0), {"area": [0.25] * 10, "log_ratio": [0.0] * 10, "top": 0.0, "left": 0.5}, "erase 10x10 at 0,5"),
]


@pytest.mark.parametrize(("op", "values", "words"), CAPTIONS, ids=[words for _, _, words in CAPTIONS])
def test_captions_say_what_was_drawn(op: gpuaug.Op, values: dict[str, Any], words: str) -> None:
    policy = gpuaug.Policy(gpuaug.View(20, gpuaug.CenterCrop(), op, gpuaug.Normalize(), gpuaug.ToDtype()))
    draws = gpuaug.sample(policy, [0])
    for name, value in values.items():
        draws.tables[0][1][name][0] = value
    assert caption(draws, 0, 0, (40, 60)) == ["centre crop 20x20 at 10,20", words]


def test_captions_leave_out_what_was_not_applied() -> None:
    policy = gpuaug.Policy(gpuaug.View(20, gpuaug.Resize(30), gpuaug.RandomCrop(), gpuaug.RandomInvert(0.0), gpuaug.OneOf(())))
    draws = gpuaug.sample(policy, [0])
    draws.tables[0][1]["top"][0], draws.tables[0][1]["left"][0] = 0.5, 0.99
    assert caption(draws, 0, 0, (40, 60)) == ["resize to 30x45", "crop 20x20 at 5,25"]


def test_a_crops_caption_is_the_box_that_is_cut() -> None:
    policy = gpuaug.Policy(gpuaug.View(20, gpuaug.RandomResizedCrop()))
    draws = gpuaug.sample(policy, range(5), seed=1)
    op = policy.views[0].ops[0]
    table = draws.tables[0][0]
    for k, (top, left, h, w) in enumerate(op.boxes(table, np.full(5, 40), np.full(5, 60))):  # type: ignore[attr-defined]
        assert caption(draws, 0, k, (40, 60)) == [f"crop {h}x{w} at {top},{left}"]


def test_no_images_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="contact_sheet: give at least one image"):
        contact_sheet(POLICY, [], tmp_path / "sheet.png")


def test_an_unwritable_path_is_named(tmp_path: Path) -> None:
    path = tmp_path / "no such folder" / "sheet.png"
    with pytest.raises(OSError, match=r"cannot write the contact sheet .*no such folder.*sheet\.png: No such file"):
        contact_sheet(POLICY, [PHOTO], path)
