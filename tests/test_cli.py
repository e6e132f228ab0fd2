"""The command `gpuaug`: what it writes and prints, and one line with status 2 for bad input."""

from __future__ import annotations

import errno
import io
import os
import re
import subprocess
import sys
import tomllib
from importlib import metadata
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

import gpuaug
from gpuaug import cli
from gpuaug.gallery import CELL, GAP

ROOT = Path(__file__).parent.parent


@pytest.fixture(scope="module", autouse=True)
def compiled_kernels() -> None:
    """Otherwise the first command to make views also says on standard error that it compiles them."""
    gpuaug.Augmenter(gpuaug.policy("mae")).prepare()


@pytest.fixture
def photo(tmp_path: Path) -> Path:
    path = tmp_path / "photo.jpg"
    Image.fromarray(np.random.default_rng(0).integers(0, 256, (60, 80, 3), dtype=np.uint8)).save(path)
    return path


def fails(capsys: pytest.CaptureFixture[str], *arguments: Any) -> str:
    """Status 2 and one line on standard error, which is returned."""
    assert cli.main([str(a) for a in arguments]) == 2
    captured = capsys.readouterr()
    assert captured.out == ""
    assert captured.err.startswith("gpuaug: ")
    assert captured.err.count("\n") == 1
    return captured.err


def test_show_writes_a_sheet(photo: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "sheet.png"
    assert cli.main(["show", "byol", str(photo), str(photo), "-o", str(out), "--size", "32", "--seed", "3"]) == 0
    assert capsys.readouterr().out == f"{out}: 2 images under byol, 2 views each\n"
    with Image.open(out) as image:
        assert image.format == "PNG"
        assert image.width == GAP + 3 * (CELL + GAP)


def test_show_is_the_contact_sheet_of_the_decoded_files(photo: Path, tmp_path: Path) -> None:
    paths = [tmp_path / "by command.png", tmp_path / "by function.png"]
    assert cli.main(["show", "mae", str(photo), "-o", str(paths[0]), "--size", "32", "--seed", "3", "--draws", "2"]) == 0
    with Image.open(photo) as image:
        gpuaug.gallery.contact_sheet(gpuaug.policy("mae", size=32), [image], paths[1], seed=3, draws=2)
    a, b = (np.asarray(Image.open(io.BytesIO(path.read_bytes()))) for path in paths)
    assert np.array_equal(a, b)


def test_show_has_its_defaults(photo: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert cli.main(["show", "simclr_cifar", str(photo), "--backend", "torchvision"]) == 0
    assert (tmp_path / "sheet.png").stat().st_size > 0


def test_an_unknown_policy_suggests_the_nearest(photo: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert "unknown policy 'simclrr'; did you mean 'simclr'" in fails(capsys, "show", "simclrr", photo)
    assert "unknown policy 'dinov9'" in fails(capsys, "policies", "dinov9")


@pytest.mark.parametrize(
    ("content", "words"),
    [(None, f"bad.jpg: {os.strerror(errno.ENOENT)}"), (b"", "the file is empty"), (b"not an image at all", "not an image")],
    ids=["missing", "empty", "text"],
)
def test_a_bad_image_is_named(content: bytes | None, words: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "bad.jpg"
    if content is not None:
        path.write_bytes(content)
    message = fails(capsys, "show", "simclr", path, "-o", tmp_path / "sheet.png")
    assert words in message
    assert "bad.jpg" in message
    assert not (tmp_path / "sheet.png").exists()


def test_a_truncated_image_and_a_folder_are_named(photo: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    photo.write_bytes(photo.read_bytes()[:400])
    assert "photo.jpg" in fails(capsys, "show", "simclr", photo)
    assert str(tmp_path) in fails(capsys, "show", "simclr", tmp_path)


def test_an_unwritable_output_is_named(photo: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "nowhere" / "sheet.png"
    assert f"cannot write the contact sheet {out}" in fails(capsys, "show", "mae", photo, "-o", out, "--size", 32)
    assert f"cannot write the contact sheet {tmp_path}" in fails(capsys, "show", "mae", photo, "-o", tmp_path, "--size", 32)


@pytest.mark.parametrize(
    ("option", "value", "words"),
    [
        ("--draws", 0, "--draws must be at least 1, got 0"),
        ("--size", 0, "--size must be at least 1, got 0"),
        ("--size", -5, "--size must be at least 1, got -5"),
        ("--size", 8, "--size 8 does not suit byol: GaussianBlur: kernel_size 23 needs images larger"),
        ("--seed", -1, "seed must be an integer in 0..2^64-1, got -1"),
        ("--seed", 2**64, "seed must be"),
    ],
)
def test_a_bad_option_is_named(option: str, value: int, words: str, photo: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert words in fails(capsys, "show", "byol", photo, f"{option}={value}")


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["play"], "play"),
        (["show"], "POLICY"),
        (["show", "simclr", "a.jpg", "--size", "large"], "--size"),
        (["show", "simclr", "a.jpg", "--sise", "32"], "--sise"),
        (["show", "simclr", "a.jpg", "--backend", "opencv"], "--backend"),
    ],
)
def test_a_wrong_command_line_has_status_2(arguments: list[str], words: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as stopped:
        cli.main(arguments)
    assert stopped.value.code == 2
    assert words in capsys.readouterr().err


def test_show_needs_an_image(capsys: pytest.CaptureFixture[str]) -> None:
    assert "name one IMAGE or more" in fails(capsys, "show", "simclr")


def test_no_arguments_print_the_help(capsys: pytest.CaptureFixture[str]) -> None:
    printed = []
    for arguments in ([], ["--help"]):
        with pytest.raises(SystemExit) as stopped:
            cli.main(arguments)
        assert stopped.value.code == 0
        printed.append(capsys.readouterr().out)
    assert printed[0] == printed[1]
    assert all(name in printed[0] for name in ("show", "policies", "pack", "doctor"))


@pytest.mark.parametrize("command", ["show", "pack", "doctor"])
def test_the_help_of_a_command_gives_each_option_its_default(command: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as stopped:
        cli.main([command, "--help"])
    assert stopped.value.code == 0
    text = " ".join(re.sub("[│╭╮╰╯─]", " ", capsys.readouterr().out).split())
    options = re.split(r" (?=-o |--[a-z])", text.partition("show this help message and exit")[2])
    assert len(options) >= 4
    assert [option for option in options if option.startswith("--") and "(default: " not in option] == (
        ["--verify DST Check this packed folder instead; exit status 1 if it is damaged."] if command == "pack" else []
    )


def test_every_backend_can_be_chosen() -> None:
    """Those of the table of backends, in a process of its own that adds one to the table before the command is read."""
    added = "from gpuaug import backends\nbackends.REQUIRES['opencv'] = {'cpu': 'cv2'}\n"
    program = f"{added}from gpuaug import cli\ncli.main(['show', '-h'])"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True, cwd=ROOT)
    text = " ".join(re.sub("[│╭╮╰╯─]", " ", done.stdout).split())
    assert re.search(r"--backend (\{.*?\})", text)[1] == f"{{{','.join(['auto', *gpuaug.backends.REQUIRES, 'opencv'])}}}"


def test_the_version_is_that_of_the_package_and_stands_once(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["--version"]) == 0
    assert capsys.readouterr().out == f"gpuaug {gpuaug.__version__}\n"
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())
    assert "version" not in project["project"]
    assert project["tool"]["setuptools"]["dynamic"]["version"] == {"attr": "gpuaug.__version__"}


def test_an_interrupt_has_status_130_and_one_line(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    def interrupt() -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(cli, "run_policies", interrupt)
    assert cli.main(["policies"]) == 130
    assert capsys.readouterr().err == "gpuaug: interrupted\n"


def test_policies_lists_every_one_with_its_views_and_source(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["policies"]) == 0
    head, *lines = capsys.readouterr().out.splitlines()
    assert head.split() == ["policy", "views", "source"]
    table = {line.split()[0]: line for line in lines[: len(gpuaug.policies)]}
    assert list(table) == list(gpuaug.policies)
    assert "2x224 + 8x96" in table["dino"]
    assert all(gpuaug.policy(name).source in line for name, line in table.items())


def test_policies_prints_some_in_full(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["policies", "byol", "mae"]) == 0
    assert capsys.readouterr().out == f"{gpuaug.policy('byol')}\n\n{gpuaug.policy('mae')}\n"


def test_doctor_shows_versions_backends_and_the_plan(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["doctor"]) == 0
    out = capsys.readouterr().out
    for name in ("torch", "torchvision", "kornia"):
        assert [name, metadata.version(name)] in [line.split() for line in out.splitlines()]
    assert "backend torchvision  installed" in out
    assert "decoder pillow       installed" in out
    assert re.search(r"decoder nvjpeg       (installed|not installed|does not run on cpu)", out)
    assert 'backend="auto" on cpu takes, op by op, the first that has it of: fused then batched.' in out
    assert "RandomResizedCrop -> RandomHorizontalFlip -> ColorJitter" in out


def test_doctor_says_what_is_missing_and_how_to_install_it(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def version(name: str) -> str:
        if name == "kornia":
            raise metadata.PackageNotFoundError(name)
        return "1.2"

    monkeypatch.setattr(metadata, "version", version)
    monkeypatch.setattr(cli.backends, "installed", lambda name, kind="cpu": name not in ("kornia", "dali"))
    assert cli.main(["doctor"]) == 0
    out = capsys.readouterr().out
    assert "kornia       not installed\n" in out
    assert "backend kornia       not installed; pip install kornia\n" in out
    assert "backend dali         not installed; pip install nvidia-dali-cuda130\n" in out


def test_doctor_names_the_gpus(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    class Card:
        name, total_memory = "Some GPU", 141 * 2**30

    monkeypatch.setattr(cli.torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(cli.torch.cuda, "device_count", lambda: 1)
    monkeypatch.setattr(cli.torch.cuda, "get_device_properties", lambda k: Card)
    monkeypatch.setattr(cli.torch.cuda, "current_device", lambda: 0)
    assert cli.main(["doctor"]) == 0
    out = capsys.readouterr().out
    assert "cuda:0       Some GPU, 141 GiB" in out
    assert "device='cuda:0'" in out


@pytest.mark.parametrize("arguments", [["policies"], ["--help"], []])
def test_a_pipe_that_is_closed_ends_it_quietly(arguments: list[str]) -> None:
    reader, writer = os.pipe()
    os.close(reader)
    command = [sys.executable, "-m", "gpuaug", *arguments]
    done = subprocess.run(command, stdout=writer, stderr=subprocess.PIPE, text=True, check=False, cwd=ROOT)
    os.close(writer)
    assert done.stderr == ""
    assert done.returncode == 141 or (done.returncode == 0 and arguments != ["policies"])  # the help may ignore it


def test_the_sheets_format_is_its_names(photo: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "sheet.jpg"
    assert cli.main(["show", "mae", str(photo), "-o", str(out), "--size", "32", "--backend", "torchvision"]) == 0
    with Image.open(out) as image:
        assert image.format == "JPEG"
    capsys.readouterr()
    for name in ("sheet", "sheet.txt"):
        assert f"{name}: it must end in .png, .jpg or" in fails(capsys, "show", "mae", photo, "-o", tmp_path / name)


@pytest.mark.parametrize("arguments", [["pack", "photos", "s3://bucket/packed"], ["pack", "--verify", "file:///packed"]])
def test_a_url_is_no_folder_to_pack_into(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert f"{arguments[-1]}: must be a folder of this machine" in fails(capsys, *arguments)


@pytest.mark.parametrize("module", ["gpuaug", "gpuaug.cli"])
def test_the_module_runs_as_a_program(module: str, tmp_path: Path) -> None:
    missing = tmp_path / "missing.jpg"
    command = [sys.executable, "-m", module, "show", "simclr", str(missing)]
    done = subprocess.run(command, capture_output=True, text=True, check=False, cwd=ROOT)
    assert done.returncode == 2
    assert done.stderr == f"gpuaug: {missing}: {os.strerror(errno.ENOENT)}\n"


def test_the_installed_command_is_this_main() -> None:
    text = (ROOT / "pyproject.toml").read_text()
    assert '[project.scripts]\ngpuaug = "gpuaug.cli:main"' in text
    assert callable(cli.main)
