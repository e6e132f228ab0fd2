"""Brightness and colours: the planes of a JPEG with colours at half resolution (4:2:0), as libjpeg makes and reads them.

The conversions are those of JFIF 1.02 in libjpeg's fixed point with 16 bits behind the point; colours are enlarged by libjpeg's
triangle filter ("fancy upsampling"). All results are libjpeg's to the bit. Numbers here are integers, int32 unless said
otherwise, on any device.

The planes of an image of H x W pixels lie one behind the other: Y of H x W, then Cb and Cr of ceil(H / 2) x ceil(W / 2).
"""

from __future__ import annotations

import torch

Planes = tuple[torch.Tensor, torch.Tensor, torch.Tensor]

OFFSET = (128 << 16) + 32767
"""128, and almost a half to round."""


def halves(height: int, width: int) -> tuple[int, int]:
    """Height and width of the planes of colour."""
    return -(-height // 2), -(-width // 2)


def from_rgb(rgb: torch.Tensor) -> torch.Tensor:
    """The planes of 8-bit images (B, H, W, 3): uint8 (B, bytes of an image)."""
    r, g, b = rgb.to(torch.int32).unbind(3)
    y, blue, red = split(r, g, b)
    return torch.cat([plane.flatten(1) for plane in (y, halved(blue), halved(red))], dim=1).to(torch.uint8)


def to_rgb(planes: torch.Tensor, height: int, width: int) -> torch.Tensor:
    """The images of planes, uint8 (B, bytes of an image), as uint8 (B, height, width, 3)."""
    down, across = halves(height, width)
    y, blue, red = torch.split(planes.to(torch.int32), [height * width, down * across, down * across], dim=1)
    y = y.view(-1, height, width)
    blue, red = (enlarged(c.view(-1, down, across), height, width) for c in (blue, red))
    return torch.stack(joined(y, blue, red), dim=-1).to(torch.uint8)


def split(r: torch.Tensor, g: torch.Tensor, b: torch.Tensor) -> Planes:
    """Brightness and the two colours, 0..255, of red, green and blue."""
    y = (19595 * r + 38470 * g + 7471 * b + 32768) >> 16
    blue = (-11059 * r - 21709 * g + 32768 * b + OFFSET) >> 16
    red = (32768 * r - 27439 * g - 5329 * b + OFFSET) >> 16
    return y, blue, red


def joined(y: torch.Tensor, blue: torch.Tensor, red: torch.Tensor) -> Planes:
    """Red, green and blue, 0..255, of brightness and the two colours."""
    blue, red = blue - 128, red - 128
    r = y + ((91881 * red + 32768) >> 16)
    g = y + ((-22554 * blue - 46802 * red + 32768) >> 16)
    b = y + ((116130 * blue + 32768) >> 16)
    return r.clamp(0, 255), g.clamp(0, 255), b.clamp(0, 255)


def extended(x: torch.Tensor, rows: int, columns: int) -> torch.Tensor:
    """Planes (B, H, W) extended to a multiple of so many rows and columns by repeating the last ones."""
    height, width = x.shape[-2:]
    down, across = (torch.arange(-(-n // m) * m, device=x.device) for n, m in ((height, rows), (width, columns)))
    return x.index_select(1, down.clamp(max=height - 1)).index_select(2, across.clamp(max=width - 1))


def halved(x: torch.Tensor) -> torch.Tensor:
    """Means of 2 x 2 pixels of planes (B, H, W), rounded down and up from column to column."""
    x = extended(x, 2, 2)
    total = x[:, ::2, ::2] + x[:, ::2, 1::2] + x[:, 1::2, ::2] + x[:, 1::2, 1::2]
    return (total + 1 + torch.arange(total.shape[2], device=x.device) % 2) >> 2


def enlarged(x: torch.Tensor, height: int, width: int) -> torch.Tensor:
    """Planes of half the resolution, enlarged by a triangle filter; by repeating pixels if at most two columns are meant."""
    down, across = halves(height, width)
    x = x[:, :down, :across]
    if across <= 2:
        return x.repeat_interleave(2, dim=1).repeat_interleave(2, dim=2)[:, :height, :width]
    above, below = torch.cat([x[:, :1], x[:, :-1]], dim=1), torch.cat([x[:, 1:], x[:, -1:]], dim=1)
    x = torch.stack([3 * x + above, 3 * x + below], dim=2).flatten(1, 2)
    left, right = torch.cat([x[:, :, :1], x[:, :, :-1]], dim=2), torch.cat([x[:, :, 1:], x[:, :, -1:]], dim=2)
    x = torch.stack([(3 * x + left + 8) >> 4, (3 * x + right + 7) >> 4], dim=3).flatten(2, 3)
    return x[:, :height, :width]
