"""Contact sheets: pictures beside their views under a policy, each view captioned with its draws."""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, cast

import numpy as np
import torch
from PIL import Image, ImageDraw, ImageFont

from . import ops as op
from .augmenter import Augmenter
from .images import Images
from .ops.color import ORDERS, PARTS
from .policy import Policy, View
from .sampling import Draws, sample

__all__ = ["contact_sheet"]

Row = dict[str, Any]
"""One image's draws for one step."""

Cell = tuple[Image.Image, list[str]]
"""A picture and the lines below it."""

CELL = 208  # largest edge of a picture, in pixels
GAP = 10
LINE = 15
MAX_COLUMNS = 9  # the original and eight views


def contact_sheet(
    policy: Policy, images: Sequence[Any], path: str | Path, seed: int = 0, draws: int = 1, backend: str = "auto"
) -> None:
    """Write a picture that shows each image beside its views, each captioned with its draws.

    Args:
        policy: The policy.
        images: What `Images.from_list` accepts, at least one image.
        path: Where to write the sheet; the ending sets the format, such as .png.
        seed: Seed of the draws.
        draws: How many times to draw from the policy (epochs 0, 1, ...).
        backend: Backend of the Augmenter.

    Raises:
        ValueError: There are no images, or no image format has this ending.
        OSError: The file cannot be written; the message names the path.
    """
    if not len(images):
        raise ValueError("contact_sheet: give at least one image")
    check_ending(path)
    batch = Images.from_list(images)
    augment = Augmenter(policy, backend=backend, dtype=torch.float32)
    cells: list[list[Cell]] = [[original(image)] for image in batch]
    for epoch in range(draws):
        drawn = sample(policy, range(len(batch)), seed=seed, epoch=epoch).with_shapes(batch)
        views = augment(batch, drawn)
        for k, block in enumerate(cells):
            block += cells_of(views, drawn, k, f", draw {epoch + 1}" if draws > 1 else "")
    name = policy.name or "policy"
    title = f"{name}: {len(policy)} view{'s' * (len(policy) > 1)}, seed {seed}" + (f"  ({policy.source})" * bool(policy.source))
    save(layout(title, cells), path)


def sheet_of_views(title: str, image: torch.Tensor, views: Sequence[torch.Tensor], draws: Draws, path: str | Path) -> None:
    """Write a contact sheet of views that are there already, of one image.

    Args:
        title: The headline.
        image: The image, uint8 (H, W, 3).
        views: Its views, each (1, C, H, W).
        draws: Their draws, one row, with the image's size in `shapes`.
        path: As in `contact_sheet`.

    Raises:
        ValueError: No image format has this ending.
        OSError: The file cannot be written; the message names the path.
    """
    check_ending(path)
    save(layout(title, [[original(image), *cells_of(views, draws, 0)]]), path)


def check_ending(path: str | Path) -> None:
    """Raise ValueError unless Pillow can write a picture with this ending."""
    if Image.registered_extensions().get(Path(path).suffix.lower()) not in Image.SAVE:
        raise ValueError(
            f"cannot write the contact sheet {path}: it must end in .png, .jpg or another format that Pillow writes"
        )


def save(sheet: Image.Image, path: str | Path) -> None:
    try:
        sheet.save(path)
    except OSError as error:
        raise OSError(f"cannot write the contact sheet {path}: {error.strerror or error}") from error


def cells_of(views: Sequence[torch.Tensor], draws: Draws, row: int, more: str = "") -> list[Cell]:
    """The views of one image, each captioned with its draws. more: what follows the number of a view."""
    assert draws.shapes is not None
    size = (int(draws.shapes[row, 0]), int(draws.shapes[row, 1]))
    return [
        (picture(view[row], draws.policy.views[v]), [f"view {v + 1}{more}", *caption(draws, v, row, size)])
        for v, view in enumerate(views)
    ]


def original(image: torch.Tensor) -> Cell:
    height, width, _ = image.shape
    return fit(Image.fromarray(image.numpy())), ["original", f"{height}x{width}"]


def picture(x: torch.Tensor, view: View) -> Image.Image:
    """A view as a picture: undo Normalize and clip to [0, 1]."""
    x = x.float().cpu()
    normalize = view.normalize
    if normalize is not None:
        std, mean = (torch.tensor(values, device=x.device)[:, None, None] for values in (normalize.std, normalize.mean))
        x = x * std + mean
    pixels = (x.clamp(0, 1) * 255).round().to(torch.uint8).permute(1, 2, 0).numpy()
    return fit(Image.fromarray(pixels))


def fit(image: Image.Image) -> Image.Image:
    """Scale a picture to a cell; a small one is enlarged by a whole factor, so that its pixels stay visible."""
    largest = max(image.size)
    if largest * 2 <= CELL:
        factor = CELL // largest
        return image.resize((image.width * factor, image.height * factor), Image.Resampling.NEAREST)
    image.thumbnail((CELL, CELL))
    return image


def layout(title: str, blocks: Sequence[Sequence[Cell]]) -> Image.Image:
    """Draw the sheet: one block per image, wrapped after MAX_COLUMNS cells, with captions below the pictures."""
    font, bold = ImageFont.load_default(12), ImageFont.load_default(16)
    most = max(len(block) for block in blocks)
    columns = math.ceil(most / math.ceil(most / MAX_COLUMNS))  # rows of equal length
    wrapped = [[(cell, [line for t in text for line in wrap(t, font)]) for cell, text in block] for block in blocks]
    rows = [block[k : k + columns] for block in wrapped for k in range(0, len(block), columns)]
    heights = [max(cell.height + LINE * len(text) for cell, text in row) + 2 * GAP for row in rows]
    wide = int(bold.getlength(title)) + 2 * GAP
    sheet = Image.new("RGB", (max(wide, GAP + columns * (CELL + GAP)), 40 + sum(heights)), "white")
    pen = ImageDraw.Draw(sheet)
    pen.text((GAP, GAP), title, fill="black", font=bold)
    y = 40
    for row, height in zip(rows, heights, strict=True):
        for k, (cell, text) in enumerate(row):
            x = GAP + k * (CELL + GAP)
            sheet.paste(cell, (x, y))
            for n, line in enumerate(text):
                pen.text((x, y + cell.height + 4 + n * LINE), line, fill="black" if n == 0 else "#444444", font=font)
        y += height
    return sheet


def wrap(text: str, font: Any) -> list[str]:
    """Break a text into lines no wider than a cell."""
    lines: list[str] = []
    for word in text.split(" "):
        longer = f"{lines[-1]} {word}" if lines else word
        if lines and font.getlength(longer) <= CELL:
            lines[-1] = longer
        else:
            lines.append(word)
    return lines


def caption(draws: Draws, view: int, row: int, size: op.Size) -> list[str]:
    """One line for each step that was applied to this image, in order. size: (height, width) of the image."""
    lines = []
    for o, step in zip(draws.policy.views[view].steps, draws.tables[view], strict=True):
        d = {name: column[row] for name, column in step.items()}
        if d.pop("apply", True) and not isinstance(o, (op.Normalize, op.ToDtype)):
            lines.append(WORDS.get(type(o), generic)(o, d, size))
        size = o.output_size(size) or size
    return lines


def generic(o: op.Op, d: Row, size: op.Size) -> str:
    """Caption of an op without one of its own: its name in words, then its draws."""
    name = re.sub(r"(?<!^)(?=[A-Z])", " ", type(o).__name__.removeprefix("Random")).lower()
    return ", ".join([name, *(f"{key} {float(value):.2f}" for key, value in d.items() if np.ndim(value) == 0)])


def boxed(word: str) -> Callable[[Any, Row, op.Size], str]:
    def line(o: Any, d: Row, size: op.Size) -> str:
        table = {name: np.asarray(value)[None] for name, value in d.items()}
        top, left, height, width = o.boxes(table, np.array([size[0]]), np.array([size[1]]))[0]
        return f"{word} {height}x{width} at {top},{left}"

    return line


def jitter(o: op.ColorJitter, d: Row, size: op.Size) -> str:
    parts = (PARTS[k] for k in ORDERS[d["order"]])
    return " ".join(f"{part[:3]} {d[part]:{'+z.2f' if part == 'hue' else '.2f'}}" for part in parts if part in d)


def distort(o: op.RandomPhotometricDistort, d: Row, size: op.Size) -> str:
    places = {"brightness": 0, "contrast": 1 if d["contrast_first"] else 4, "saturation": 2, "hue": 3}
    applied = [part for part, yes in zip(PARTS, d["parts"], strict=True) if yes]
    words = [f"{part[:3]} {d[part]:{'+z.2f' if part == 'hue' else '.2f'}}" for part in sorted(applied, key=places.__getitem__)]
    moved = tuple(d["channels"]) != (0, 1, 2)
    return " ".join([*words, *([channels(o, d, size)] if moved else [])]) or "no distortion"


def channels(o: op.Op, d: Row, size: op.Size) -> str:
    return "channels " + "".join("RGB"[c] for c in d["channels"])


def affine(o: op.RandomAffine, d: Row, size: op.Size) -> str:
    parts = [f"rotate {d['angle']:z.1f}"]
    parts += [f"shift {d['translate_x']:z.2f},{d['translate_y']:z.2f}"] if o.translate else []
    parts += [f"scale {d['scale']:.2f}"] if o.scale else []
    parts += [f"shear {','.join(f'{d[name]:z.1f}' for name in ('shear_x', 'shear_y') if name in d)}"] if o.shear else []
    return ", ".join(parts)


def function(code: int, magnitude: float, size: op.Size) -> str:
    """A function of an automatic op: its name and magnitude, such as "Rotate -30.0"; translations are in pixels."""
    name = op.KINDS[code]
    if name.startswith("Translate"):
        edge = size[1] if "X" in name else size[0]
        shift = np.float32(magnitude * (edge if name.endswith("Rel") else 1))
        return f"{name.removesuffix('Rel')} {int(shift)}"
    return f"{name} {MAGNITUDES[name].format(magnitude)}" if name in MAGNITUDES else name


MAGNITUDES = {
    **dict.fromkeys(("ShearX", "ShearY", "Brightness", "Color", "Contrast", "Sharpness"), "{:z.2f}"),
    "Rotate": "{:z.1f}",
    "Posterize": "to {:.0f} bits",
    "Solarize": "at {:.2f}",
    "SolarizeAdd": "{:+.2f}",
}
"""How the magnitude of a function is written; one that is not here, and is no translation, has none."""


def automatic(o: op.Op, d: Row, size: op.Size) -> str:
    """The functions in order, without Identity; of AugMix the weights of the image and of each chain, too."""
    done = [function(code, m, size) for code, m in zip(d["op"].tolist(), d["magnitude"].tolist(), strict=True)]
    if not isinstance(o, op.AugMix):
        return ", ".join(name for name in done if name != "Identity") or "Identity"
    first, *rest = d["weights"].tolist()
    chains = (done[k * o.depth : (k + 1) * o.depth] for k in range(o.mixture_width))
    kept = (", ".join(name for name in chain if name != "Identity") for chain in chains)
    return " + ".join(
        [f"{first:.2f} image", *(f"{w:.2f} ({names or 'Identity'})" for w, names in zip(rest, kept, strict=True))]
    )


WORDS: dict[type[op.Op], Callable[[Any, Row, op.Size], str]] = {
    op.RandomResizedCrop: boxed("crop"),
    op.RandomCrop: boxed("crop"),
    op.CenterCrop: boxed("centre crop"),
    op.RandomErasing: boxed("erase"),
    op.Cutout: boxed("cut out"),
    op.Resize: lambda o, d, size: "resize to {}x{}".format(*cast(op.Size, o.target(*size))),
    op.ColorJitter: jitter,
    op.RandomPhotometricDistort: distort,
    op.RandomChannelPermutation: channels,
    op.RandomHorizontalFlip: lambda o, d, size: "flip",
    op.RandomVerticalFlip: lambda o, d, size: "flip upside down",
    op.RandomGrayscale: lambda o, d, size: "gray",
    op.RandomAffine: affine,
    op.RandomRotation: lambda o, d, size: f"rotate {d['angle']:z.1f}",
    op.GaussianBlur: lambda o, d, size: f"blur, sigma {d['sigma']:.2f}",
    op.ElasticTransform: lambda o, d, size: "elastic, strength {:g}x{:g}".format(*cast(tuple[float, float], o.alpha)),
    op.JPEG: lambda o, d, size: f"JPEG of quality {d['quality']}",
    op.GaussianNoise: lambda o, d, size: f"noise, sigma {o.sigma:.2f}",
    op.RandomSolarize: lambda o, d, size: f"solarize at {o.threshold:.2f}",
    op.RandomPosterize: lambda o, d, size: f"posterize to {o.bits} bits",
    **dict.fromkeys(
        (
            op.RandAugment,
            op.TrivialAugmentWide,
            op.AutoAugment,
            op.AugMix,
            op.TimmRandAugment,
            op.FixMatchRandAugment,
        ),
        automatic,
    ),
}
