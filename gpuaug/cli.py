"""The command `gpuaug`: show, replay, policies, pack, doctor."""

from __future__ import annotations

import os
import platform
import sys
from collections.abc import Callable, Sequence
from functools import partial
from importlib import metadata
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, TypeAlias

import torch
import tyro
from PIL import Image
from tyro.conf import Positional, arg

from . import __version__, backends
from .augmenter import Augmenter
from .catalog import policies, policy
from .data.decoders.pillow import MAX_PIXELS, decode
from .data.decoding import available
from .data.doctor import diagnose
from .data.packing.pack import Format, ImageErrors, Packing, pack
from .data.packing.verify import verify
from .data.process import cores
from .data.sources.remote import is_remote
from .gallery import contact_sheet
from .policy import Policy
from .record.command import run_replay

__all__ = ["main"]

if TYPE_CHECKING:
    BackendName: TypeAlias = str
else:  # read from the table of backends, so that one that is added there can be chosen here
    BackendName = tyro.extras.literal_type_from_choices(["auto", *backends.REQUIRES])


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line.

    Args:
        argv: The words after `gpuaug`; those of this process by default.

    Returns:
        The exit status: 0; 1 for damaged data; 2 for bad input; 130 after Ctrl-C; 141 when the reader of the output closed
        its end, as `head` does.

    Raises:
        SystemExit: With status 0 after `--help` and `--version`, with status 2 for a command line that does not parse.
    """
    try:
        try:
            return run_command(sys.argv[1:] if argv is None else argv)
        finally:  # also after --help, which ends by SystemExit
            sys.stdout.flush()
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # otherwise the flush at exit would complain
        return 141
    except (ValueError, TypeError, OSError, ImportError) as error:
        print(f"gpuaug: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("gpuaug: interrupted", file=sys.stderr)
        return 130


def run_command(words: Sequence[str]) -> int:
    """Run the command that the words name; without words, print the help."""
    if list(words) == ["--version"]:
        print(f"gpuaug {__version__}")
        return 0
    commands: dict[str, Callable[..., int | None]] = {
        "show": run_show,
        "replay": run_replay,
        "policies": run_policies,
        "pack": run_pack,
        "doctor": run_doctor,
    }
    status = tyro.extras.subcommand_cli_from_dict(
        commands,
        prog="gpuaug",
        description="Image augmentation for self-supervised learning. `gpuaug --version` prints the version.",
        args=words or ["--help"],
        config=(tyro.conf.FlagCreatePairsOff,),
    )
    return status or 0


def run_show(
    policy: Annotated[Positional[str], arg(metavar="POLICY")],
    images: Annotated[Positional[tuple[Path, ...]], arg(metavar="IMAGE...", help_behavior_hint="(required)")],
    *,
    out: Annotated[Path, arg(aliases=["-o"])] = Path("sheet.png"),
    size: Annotated[int | None, arg(metavar="INT", help_behavior_hint="(default: the policy's)")] = None,
    seed: int = 0,
    draws: int = 1,
    backend: BackendName = "auto",
) -> None:
    """Write a contact sheet: each image and its views, captioned with their draws.

    Args:
        policy: Name of a policy, as `gpuaug policies` lists them.
        images: Image files.
        out: Picture to write, in the format that its name ends in.
        size: Side of the views in pixels, 1 or more.
        seed: Seed of the draws, 0 to 2^64-1.
        draws: How often to draw from the policy, 1 or more.
        backend: Backend that makes the views; auto takes the fastest that is installed.
    """
    if not images:
        raise ValueError("show: name one IMAGE or more after the policy")
    for name, value in (("size", size), ("draws", draws)):
        if value is not None and value < 1:
            raise ValueError(f"--{name} must be at least 1, got {value}")
    chosen = sized(policy, size)
    pixels = [decode(contents(path), str(path)) for path in images]
    contact_sheet(chosen, pixels, out, seed=seed, draws=draws, backend=backend)
    each = f"{len(chosen)} view{'s' * (len(chosen) > 1)}"
    print(f"{out}: {len(images)} image{'s' * (len(images) > 1)} under {chosen.name}, {each} each")


def contents(path: Path) -> bytes:
    """The bytes of a file. Raises OSError in the form `PATH: reason`."""
    try:
        return path.read_bytes()
    except OSError as error:
        raise OSError(f"{path}: {error.strerror or error}") from error


def sized(name: str, size: int | None) -> Policy:
    """A named policy with views of this size. Raises ValueError naming --size where the size does not suit the policy."""
    made = policy(name)
    try:
        return made if size is None else policy(name, size=size)
    except ValueError as error:
        raise ValueError(f"--size {size} does not suit {name}: {error}") from error


def run_policies(names: Annotated[Positional[tuple[str, ...]], arg(metavar="[POLICY...]", help_behavior_hint="")] = ()) -> None:
    """List the named policies, or print some in full.

    Args:
        names: Policies to print in full.
    """
    if names:
        print("\n\n".join(str(policy(name)) for name in names))
        return
    wide = max(map(len, policies))
    print(f"{'policy':<{wide}} {'views':<14} source")
    for name, make in policies.items():
        made = make()
        sizes = [view.size[0] for view in made.views]
        views = " + ".join(f"{sizes.count(size)}x{size}" for size in dict.fromkeys(sizes))
        print(f"{name:<{wide}} {views:<14} {made.source}")
    print("\nPrint one in full: gpuaug policies NAME. Look at one: gpuaug show NAME photo.jpg")


def run_pack(
    src: Annotated[Positional[str | None], arg(metavar="[SRC]", help_behavior_hint="")] = None,
    dst: Annotated[Positional[str | None], arg(metavar="[DST]", help_behavior_hint="")] = None,
    *,
    packed: Annotated[str | None, arg(name="verify", metavar="DST", help_behavior_hint="")] = None,
    size: int = Packing.size,
    format: Format = Packing.format,
    quality: int = Packing.quality,
    shard_size: int = Packing.shard_size,
    workers: Annotated[int, arg(help_behavior_hint=f"(default: {cores()}, the cores at hand)")] = cores(),
    on_error: ImageErrors = "raise",
    max_pixels: int = MAX_PIXELS,
    labels: Annotated[bool, arg(help_behavior_hint="(default: store them)")] = True,
) -> int:
    """Decode and resize a data set once, into tar shards of JPEG, or an array of raw pixels or of YUV planes.

    Args:
        src: Image folder or tar shards to pack.
        dst: Folder to write, new or left by a packing that was interrupted, which then goes on.
        packed: Check this packed folder instead; exit status 1 if it is damaged.
        size: Shorter edge of a packed JPEG, or side of a raw or yuv square, in pixels.
        format: JPEG in tar shards; or one array of raw pixels, or of planes (yuv): half the bytes, colours at half resolution.
        quality: JPEG quality, 1 to 100.
        shard_size: Images in a tar shard, or in a range of an array's rows that has a checksum of its own.
        workers: Threads that decode and encode.
        on_error: Whether an image that cannot be packed ends the packing, or is left out and listed.
        max_pixels: Pixels above which a picture is refused as a decompression bomb.
        labels: Leave out classes, and pack all images of a folder, inside and outside of class folders.
    """
    if max_pixels > MAX_PIXELS:  # Pillow refuses a picture at twice its own limit
        Image.MAX_IMAGE_PIXELS = -(-max_pixels // 2)
    if src and dst and not packed:
        packing = Packing(format, size, quality, shard_size)
        pack(src, local(dst), packing, workers, partial(print, flush=True), on_error, max_pixels, labels)
        return 0
    if not packed or src or dst:
        raise ValueError("pack takes SRC and DST, or --verify DST alone")
    problems = verify(local(packed), workers, max_pixels)
    print("\n".join(problems) if problems else f"{packed}: all is as it was written")
    return 1 if problems else 0


def local(path: str) -> Path:
    """A path of this machine. Raises ValueError for a URL."""
    if is_remote(path):
        raise ValueError(f"{path}: must be a folder of this machine, not a URL; copy it there, or from there")
    return Path(path)


PACKAGES = ("torch", "torchvision", "kornia", "numpy", "pillow")


def run_doctor(
    path: Annotated[Positional[str | None], arg(metavar="[SOURCE]", help_behavior_hint="")] = None,
    name: Annotated[Positional[str | None], arg(metavar="[POLICY]", help_behavior_hint="")] = None,
    *,
    batch_size: int = 64,
    workers: Annotated[int, arg(help_behavior_hint=f"(default: {cores()}, the cores at hand)")] = cores(),
    device: str = "cuda" if torch.cuda.is_available() else "cpu",
    seconds: float = 10.0,
    scaled: bool = False,
) -> None:
    """Show devices, versions and backends; with a folder and a policy, what limits their DataLoader.

    Args:
        path: Image folder, tar shards or packed folder to measure.
        name: Name of a policy, as `gpuaug policies` lists them.
        batch_size: Images in a batch.
        workers: `num_workers` of the loader.
        device: Device that the views are made on, such as cpu or cuda:1.
        seconds: How long to measure, in seconds.
        scaled: Decode JPEGs much larger than the views at a smaller scale, as DataLoader does with scaled="auto".
    """
    if path is None:
        print_machine()
        return
    if name is None:
        raise ValueError(f"doctor: name a policy after {path}, such as simclr; `gpuaug policies` lists them")
    print(diagnose(path, name, batch_size, workers, device, seconds, "auto" if scaled else False))


def print_machine() -> None:
    print(f"python       {platform.python_version()} on {platform.system()} {platform.machine()}")
    for name in PACKAGES:
        try:
            print(f"{name:<12} {metadata.version(name)}")
        except metadata.PackageNotFoundError:
            print(f"{name:<12} not installed")
    print(f"CPU          {torch.get_num_threads()} threads in use")
    if torch.cuda.is_available():
        for k in range(torch.cuda.device_count()):
            found = torch.cuda.get_device_properties(k)
            print(f"cuda:{k}       {found.name}, {found.total_memory / 2**30:.0f} GiB, CUDA {torch.version.cuda}")
    else:
        print("CUDA         no device")
    print()
    device = "cuda" if torch.cuda.is_available() else "cpu"
    for name in backends.REQUIRES:
        package = backends.requirement(name, device)
        if package is None:
            state = f"does not run on {device}"
        else:
            package = backends.DISTRIBUTIONS.get(package, package)
            state = "installed" if backends.installed(name, device) else f"not installed; pip install {package}"
        print(f"backend {name:<12} {state}")
    for name, state in available().items():
        print(f"decoder {name:<12} {state}")
    for words in backends.lacking(device).values():
        print(f"\nslow: {words}")
    order = " then ".join(name for name in backends.AUTOMATIC if backends.installed(name, device))
    print(f'\nbackend="auto" on {device} takes, op by op, the first that has it of: {order}. For SimCLR:\n')
    print(Augmenter(policy("simclr"), device=device))


if __name__ == "__main__":
    sys.exit(main())
