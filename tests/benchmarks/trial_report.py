"""The report of results, as a browser shows it. By hand, since a browser is no Python package:

    apt-get install chromium
    PYTHONPATH=. python tests/benchmarks/trial_report.py FILE.json... -o FOLDER

FOLDER gets the page and two pictures of it, light.png and dark.png, to be looked at. Status 1 where the console says anything.
"""

from __future__ import annotations

import shutil
import subprocess
import tempfile
from pathlib import Path
from typing import Annotated

import tyro

from benchmarks.__main__ import main as benchmarks

NAMES = ("chromium", "chromium-browser", "google-chrome")

QUIET = (
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
)
"""Without these it asks the network for things of its own, and says so on the console."""

SCHEMES = {
    "light": ("--blink-settings=preferredColorScheme=1",),
    "dark": ("--force-dark-mode", "--blink-settings=preferredColorScheme=0"),
}


def said(browser: str, page: Path, scheme: str, height: int) -> list[str]:
    """Take a picture of the page, beside it; returns the lines of its console."""
    picture = page.with_name(f"{scheme}.png")
    with tempfile.TemporaryDirectory() as profile:
        command = [
            browser,
            "--headless",
            "--no-sandbox",
            "--disable-gpu",
            *QUIET,
            *SCHEMES[scheme],
            f"--user-data-dir={profile}",
        ]
        command += ["--enable-logging=stderr", f"--window-size=1200,{height}", f"--screenshot={picture}", page.as_uri()]
        done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=True)
    print(picture)
    return [line for line in done.stderr.splitlines() if "CONSOLE" in line]


def main(
    files: tyro.conf.Positional[tuple[Path, ...]],
    /,
    *,
    out: Annotated[Path, tyro.conf.arg(aliases=["-o"])],
    height: int = 3600,
) -> int:
    """Take pictures of the report of results in a browser, light and dark.

    Args:
        files: Result files.
        out: Folder of the page and the pictures.
        height: Height of the pictures, in pixels.
    """
    browser = next(filter(None, map(shutil.which, NAMES)), None)
    if browser is None:
        raise SystemExit(f"none of {', '.join(NAMES)} is installed; apt-get install chromium")
    page = out.resolve() / "report.html"
    if status := benchmarks(["report", *map(str, files), "-o", str(page)]):
        return status
    lines = [line for scheme in SCHEMES for line in said(browser, page, scheme, height)]
    print("\n".join(lines) or "the console is empty")
    return int(bool(lines))


if __name__ == "__main__":
    raise SystemExit(tyro.cli(main))
