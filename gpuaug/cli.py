"""The command `gpuaug`: show, policies, pack, doctor."""

from __future__ import annotations

import argparse
import os
import platform
import sys
from collections.abc import Sequence
from functools import partial
from importlib import metadata
from pathlib import Path

import torch
from PIL import Image

from . import __version__, backends
from .augmenter import Augmenter
from .catalog import policies, policy
from .data.decoders.pillow import MAX_PIXELS, decode
from .data.doctor import diagnose
from .data.packing.pack import ON_ERROR, Packing, pack
from .data.packing.verify import verify
from .data.sources.remote import is_remote
from .gallery import contact_sheet
from .policy import Policy

__all__ = ["main"]


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line; returns the exit status.

    0, 1 for damaged data, 2 for bad input, 130 when interrupted, 141 when what it prints to was closed, as by `head`.
    """
    try:
        try:
            options = parser().parse_args(argv)
            status = options.run(options) or 0
        finally:  # also of --help, which ends by SystemExit
            sys.stdout.flush()
        return int(status)
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # or the flush at the end would complain
        return 141
    except (ValueError, TypeError, OSError, ImportError) as error:
        print(f"gpuaug: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("gpuaug: interrupted", file=sys.stderr)
        return 130


def parser() -> argparse.ArgumentParser:
    top = argparse.ArgumentParser(prog="gpuaug", description="Image augmentation for self-supervised learning.")
    top.add_argument("--version", action="version", version=f"gpuaug {__version__}")
    top.set_defaults(run=lambda options: top.print_help())
    commands = top.add_subparsers(metavar="COMMAND")

    show = commands.add_parser("show", help="write a contact sheet: each image and its views, captioned with their draws")
    show.add_argument("policy", metavar="POLICY", help="a name that `gpuaug policies` lists")
    show.add_argument("images", metavar="IMAGE", nargs="+", type=Path, help="image files")
    show.add_argument("-o", "--out", type=Path, default=Path("sheet.png"), help="the picture to write (default: %(default)s)")
    show.add_argument("--size", type=int, help="size of the views in pixels (default: the policy's)")
    show.add_argument("--seed", type=int, default=0, help="0 to 2^64-1 (default: %(default)s)")
    show.add_argument("--draws", type=int, default=1, help="how often to draw from the policy (default: %(default)s)")
    show.add_argument("--backend", default="auto", choices=["auto", *backends.REQUIRES], help="default: %(default)s")
    show.set_defaults(run=run_show)

    table = commands.add_parser("policies", help="list the named policies, or print some in full")
    table.add_argument("names", metavar="POLICY", nargs="*", help="print these in full")
    table.set_defaults(run=run_policies)

    pack = commands.add_parser("pack", help="decode and resize a data set once, into tar shards of JPEG or raw pixels")
    pack.add_argument("src", metavar="SRC", nargs="?", help="an image folder, or tar shards")
    pack.add_argument("dst", metavar="DST", nargs="?", type=local, help="a new folder, or one to go on with")
    pack.add_argument("--verify", metavar="DST", type=local, help="check a packed folder instead; status 1 if it is damaged")
    pack.add_argument("--size", type=int, default=Packing.size, help="shorter edge in pixels (default: %(default)s)")
    pack.add_argument("--format", default=Packing.format, choices=["jpeg", "raw"], help="default: %(default)s")
    pack.add_argument("--quality", type=int, default=Packing.quality, help="of JPEG, 1 to 100 (default: %(default)s)")
    pack.add_argument("--shard-size", type=int, default=Packing.shard_size, help="images a shard (default: %(default)s)")
    pack.add_argument("--workers", type=int, default=cores(), help="threads (default: %(default)s, the cores at hand)")
    pack.add_argument(
        "--on-error", default="raise", choices=ON_ERROR, help="what an image that cannot be packed does (default: %(default)s)"
    )
    pack.add_argument("--max-pixels", type=int, default=MAX_PIXELS, help="of one picture, at most (default: %(default)s)")
    pack.set_defaults(run=run_pack)

    doctor = commands.add_parser(
        "doctor", help="devices, versions and backends; with a folder and a policy, what limits its DataLoader"
    )
    doctor.add_argument("path", metavar="PATH", nargs="?", help="an image folder, tar shards, or a packed folder")
    doctor.add_argument("policy", metavar="POLICY", nargs="?", help="a name that `gpuaug policies` lists")
    doctor.add_argument("--batch-size", type=int, default=64, help="default: %(default)s")
    doctor.add_argument(
        "--workers", type=int, default=os.cpu_count() or 1, help="num_workers (default: the cores, %(default)s)"
    )
    doctor.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu", help="default: %(default)s")
    doctor.add_argument("--seconds", type=float, default=10.0, help="how long to measure (default: %(default)s)")
    doctor.set_defaults(run=run_doctor)
    return top


def local(path: str) -> Path:
    """A path of this machine. Raises ArgumentTypeError for a URL."""
    if is_remote(path):
        raise argparse.ArgumentTypeError(f"{path}: must be a folder of this machine, not a URL; copy it there, or from there")
    return Path(path)


def run_show(options: argparse.Namespace) -> None:
    for name in ("size", "draws"):
        value = getattr(options, name)
        if value is not None and value < 1:
            raise ValueError(f"--{name} must be at least 1, got {value}")
    chosen = sized(options.policy, options.size)
    images = [decode(path.read_bytes(), str(path)) for path in options.images]
    contact_sheet(chosen, images, options.out, seed=options.seed, draws=options.draws, backend=options.backend)
    print(f"{options.out}: {len(images)} image{'s' * (len(images) > 1)} under {chosen.name}, {len(chosen)} views each")


def sized(name: str, size: int | None) -> Policy:
    """A named policy; where a size does not suit it, the error names the option."""
    made = policy(name)
    try:
        return made if size is None else policy(name, size=size)
    except ValueError as error:
        raise ValueError(f"--size {size} does not suit {name}: {error}") from error


def run_policies(options: argparse.Namespace) -> None:
    if options.names:
        print("\n\n".join(str(policy(name)) for name in options.names))
        return
    print(f"{'policy':<18} {'views':<14} source")
    for name, make in policies.items():
        made = make()
        sizes = [view.size[0] for view in made.views]
        views = " + ".join(f"{sizes.count(size)}x{size}" for size in dict.fromkeys(sizes))
        print(f"{name:<18} {views:<14} {made.source}")
    print("\nPrint one in full: gpuaug policies NAME. Look at one: gpuaug show NAME photo.jpg")


def run_pack(options: argparse.Namespace) -> int:
    if (options.dst is None) == (options.verify is None) or (options.verify and options.src):
        raise ValueError("pack takes SRC and DST, or --verify DST alone")
    if options.max_pixels > MAX_PIXELS:  # which is Pillow's own limit, of twice this
        Image.MAX_IMAGE_PIXELS = -(-options.max_pixels // 2)
    if options.verify is None:
        packing = Packing(options.format, options.size, options.quality, options.shard_size)
        say = partial(print, flush=True)
        pack(options.src, options.dst, packing, options.workers, say, options.on_error, options.max_pixels)
        return 0
    problems = verify(options.verify, options.workers, options.max_pixels)
    print("\n".join(problems) if problems else f"{options.verify}: all is as it was written")
    return 1 if problems else 0


def cores() -> int:
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


PACKAGES = ("torch", "torchvision", "kornia", "numpy", "pillow")


def run_doctor(options: argparse.Namespace) -> None:
    if options.path is None:
        print_machine()
        return
    if options.policy is None:
        raise ValueError(f"doctor: name a policy after {options.path}, such as simclr; `gpuaug policies` lists them")
    o = options
    print(diagnose(o.path, o.policy, o.batch_size, o.workers, o.device, o.seconds))


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
    for words in backends.lacking(device).values():
        print(f"\nslow: {words}")
    order = " then ".join(name for name in backends.AUTOMATIC if backends.installed(name, device))
    print(f'\nbackend="auto" on {device} takes, op by op, the first that has it of: {order}. For SimCLR:\n')
    print(Augmenter(policy("simclr"), device=device))


if __name__ == "__main__":
    sys.exit(main())
