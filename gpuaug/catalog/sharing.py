"""Policies whose views share draws: DINOv3, and the three ways to augment that Moutakanni et al. compare with DINOv2."""

from __future__ import annotations

from ..ops import (
    ColorJitter,
    GaussianBlur,
    Nested,
    Normalize,
    Op,
    RandomCrop,
    RandomGrayscale,
    RandomResizedCrop,
    RandomSolarize,
    Shared,
)
from ..ops.base import Size
from ..policy import Policy, View, as_pair
from .multi_crop import dinov2, local

SPLIT, SMALLEST, LOCALS = 0.32, 0.05, 8
"""Area between global and local crops, and that of the smallest, as shares of the image; number of local views."""


def dinov3(
    size: int | Size = 256,
    local_size: int | Size | None = None,
    gram_size: int | Size | None = None,
    share_color_jitter: bool = False,
    nested: bool = False,
) -> Policy:
    """DINOv3 as intended (Siméoni et al. 2025, arXiv 2508.10104; facebookresearch/dinov3 `dinov3_vit7b16_pretrain.yaml`).

    Two global views, eight local ones, and with `gram_size` the two of the Gram teacher: the global crops without distortions.

    Args:
        size: Of the global views.
        local_size: Of the local views; None is 112 where `size` is 256, and in proportion elsewhere.
        gram_size: Of the Gram teacher's views, which are the last two; None leaves them out. Published is 512.
        share_color_jitter: Whether all views of an image get the same jitter and gray. The source then changes the whole image
            before it crops; here each view is changed after its crop, so that contrast is about the mean of the view.
        nested: Whether the local crops lie in the global ones, the first four in the first. The source then cuts them out of
            the finished global crop at multiples of 16 pixels. Here they have the same share of its area, but any place and
            the usual range of aspects, and are resized from the image.
    """
    blur = (1.0, 0.1, 0.5)
    return dinov3_policy("dinov3", "", blur, size, local_size, gram_size, share_color_jitter, nested)


def dinov3_as_trained(
    size: int | Size = 256,
    local_size: int | Size | None = None,
    gram_size: int | Size | None = None,
    share_color_jitter: bool = False,
    nested: bool = False,
) -> Policy:
    """DINOv3 as its code runs, with the probability of blur inverted (arXiv 2508.10104; facebookresearch/dinov3 #286).

    The arguments are those of `dinov3`.
    """
    blur, found = (0.0, 0.9, 0.5), "; facebookresearch/dinov3 #286"
    return dinov3_policy("dinov3_as_trained", found, blur, size, local_size, gram_size, share_color_jitter, nested)


def dinov3_policy(
    name: str,
    found: str,
    blur: tuple[float, float, float],
    size: int | Size,
    local_size: int | Size | None,
    gram_size: int | Size | None,
    share_color_jitter: bool,
    nested: bool,
) -> Policy:
    """DINOv3 with these probabilities of blur, for the first, the second and the local views."""
    size, small = as_pair(size), local(local_size, size, 98)
    jitter, gray = ColorJitter(0.4, 0.4, 0.2, 0.1, p=0.8), RandomGrayscale(0.2)
    colors: list[Op] = [Shared(jitter, "jitter"), Shared(gray, "gray")] if share_color_jitter else [jitter, gray]

    def view(size: Size, crop: Op, blur: float, solarize: float = 0.0, repeat: int = 1) -> View:
        filters = [*([GaussianBlur(9, p=blur)] if blur else []), *([RandomSolarize(p=solarize)] if solarize else [])]
        return View(size, crop, *colors, *filters, Normalize(), repeat=repeat)

    crop = RandomResizedCrop(scale=(SPLIT, 1.0), interpolation="bicubic")
    crops: list[Op] = [crop, crop] if gram_size is None else [Shared(crop, "global 1"), Shared(crop, "global 2")]
    views = [view(size, crops[0], blur[0]), view(size, crops[1], blur[1], solarize=0.2)]
    if nested:
        share = small[0] * small[1] / (size[0] * size[1])
        inside = RandomResizedCrop(scale=(share, share), interpolation="bicubic")
        views += [view(small, Nested(inside, within), blur[2], repeat=LOCALS // 2) for within in (0, 1)]
    else:
        views.append(view(small, RandomResizedCrop(scale=(SMALLEST, SPLIT), interpolation="bicubic"), blur[2], repeat=LOCALS))
    if gram_size is not None:
        views += [View(gram_size, crop, Normalize()) for crop in crops]
    return Policy(*views, name=name, source="arXiv 2508.10104; facebookresearch/dinov3 augmentations.py" + found)


ARMS = "arXiv 2406.09294, figure 1"


def original(size: int | Size = 224, local_size: int | Size | None = None) -> Policy:
    """The arm "Original" (Moutakanni et al. 2024, arXiv 2406.09294, figure 1): DINOv2's augmentations, drawn for each view."""
    return Policy(*dinov2(size, local_size).views, name="original", source=ARMS)


def shared(size: int | Size = 224, local_size: int | Size | None = None) -> Policy:
    """The arm "Shared" (Moutakanni et al. 2024, arXiv 2406.09294, figure 1): as "Original", but one draw for all views.

    Only crops are drawn for each view. Where DINOv2 gives views different probabilities (of blur and solarize), they keep them
    here, and one number decides for all views of an image; the figure does not say how its authors did it.
    """
    views = [
        View(
            view.size,
            *(op if k == 0 or isinstance(op, Normalize) else Shared(op, type(op).__name__) for k, op in enumerate(view.ops)),
        )
        for view in dinov2(size, local_size).views
    ]
    return Policy(*views, name="shared", source=ARMS)


def crop_only(size: int | Size = 224, local_size: int | Size | None = None, resize: bool = True) -> Policy:
    """The arms "Crop + Resize" and "Crop" (Moutakanni et al. 2024, arXiv 2406.09294, figure 1): DINOv2's views, crops alone.

    Args:
        size: Of the two global views.
        local_size: Of the eight local ones.
        resize: Whether crops are of random area and aspect, and resized. Otherwise they are cut from the image as it is, at
            random places; an image that is too small is padded with black, of which the source says nothing.
    """

    cut = RandomCrop(pad_if_needed=True)
    views = [View(view.size, view.ops[0] if resize else cut, Normalize()) for view in dinov2(size, local_size).views]
    return Policy(*views, name="crop_only", source=ARMS)
