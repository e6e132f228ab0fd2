"""Run the tests that depend on versions under every supported torch, and write the table of docs/versions.md.

    python tests/version_matrix.py [ROW ...]      # all rows, or some, such as 2.11

Each row has an environment of its own in `.matrix/`. While the tests of a row run, the next environment is installed, and each
is removed after its tests; so there are at most two on the disk, of about 6 GB each. Other rows keep their results, which are
stored in docs/versions.json. The exit status is 1 if a test fails.
"""

from __future__ import annotations

import datetime
import json
import os
import re
import shutil
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
PLACE = ROOT / ".matrix"
RESULTS, PAGE = ROOT / "docs/versions.json", ROOT / "docs/versions.md"


@dataclass(frozen=True)
class Row:
    """An environment: its Python, and pip's constraints. A package without a constraint gets its newest version."""

    python: str
    constraints: tuple[str, ...]


ROWS = {
    "2.11": Row("3.12", ("torch==2.11.*", "kornia==0.8.1", "numpy==2.0.*", "pillow==11.0.*", "numba==0.61.*")),
    "2.12": Row("3.11", ("torch==2.12.*",)),
    "2.13": Row("3.13", ("torch==2.13.*",)),
    "2.14": Row("3.11", ("torch==2.14.*",)),
    "2.15": Row("3.11", ("torch==2.15.*",)),
}
"""torch -> its environment. torchvision and Triton follow from torch. The first row also has the oldest of everything else."""

NEEDS = [
    "hypothesis",
    "pytest",
    "pytest-xdist",
    "scikit-image",
    "scipy",
    "fsspec",
    "matplotlib",
    "kornia",
    "nvidia-dali-cuda130",
]

AUGMENTER = [f"tests/test_augmenter{part}.py" for part in ("", "_plan", "_errors")]

PARTS = {
    "parity": ["tests/parity", *(f"--ignore=tests/parity/test_triton{part}.py" for part in ("", "_compile", "_code"))],
    "Triton, interpreted": ["tests/parity/test_triton.py"],
    "Triton, compiled": ["tests/parity/test_triton_compile.py", "tests/parity/test_triton_code.py"],
    "DataLoader": [
        *(f"tests/data/test_{name}.py" for name in ("determinism", "epochs", "loader", "loader_arguments", "loader_workers")),
        *(f"tests/data/test_{name}.py" for name in ("ranks", "torch_surface", "torchvision_datasets")),
    ],
    "converter": ["tests/test_convert.py"],
    "draws": ["tests/test_sampling.py", "tests/test_distributions.py", "tests/test_images.py", *AUGMENTER],
}
"""Part -> arguments of pytest. Compiling covers sm_75 to sm_100."""

SHOWN = ("torch", "torchvision", "triton", "kornia", "numpy", "pillow", "numba")


def interpreter(version: str) -> str:
    """A Python of this version, from the path or else from pyenv."""
    if sys.version.startswith(f"{version}."):
        return sys.executable
    found = [shutil.which(f"python{version}"), *Path.home().glob(f".pyenv/versions/{version}.*/bin/python")]
    for python in filter(None, found):  # pyenv's shim of that name may report that it is not active
        if subprocess.run([python, "-c", ""], capture_output=True, check=False).returncode == 0:
            return str(python)
    raise SystemExit(f"Python {version} is needed for this row, and neither the path nor pyenv has it")


def environment(name: str) -> Path:
    """Make the environment of a row; returns its Python."""
    row, place = ROWS[name], PLACE / name
    subprocess.run([interpreter(row.python), "-m", "venv", place], check=True)
    constraints = place / "constraints.txt"
    constraints.write_text("\n".join(row.constraints) + "\n", encoding="utf-8")
    made = place / "bin/python"
    install = [made, "-m", "pip", "install", "--quiet", "--disable-pip-version-check", "--editable", ROOT, *NEEDS]
    # The variable also overrides constraints of the machine's own configuration.
    subprocess.run(install, env={**os.environ, "PIP_CONSTRAINT": str(constraints)}, check=True)
    return made


def versions(python: Path) -> dict[str, str]:
    code = (
        "import json, platform; from importlib.metadata import version; "
        f"print(json.dumps({{'python': platform.python_version(), **{{n: version(n) for n in {SHOWN}}}}}))"
    )
    done = subprocess.run([python, "-c", code], capture_output=True, text=True, check=True)
    found: dict[str, str] = json.loads(done.stdout)
    return found


def run(python: Path, selection: list[str]) -> dict[str, int]:
    """Run a part: how many tests passed, failed, had errors and were skipped."""
    command = [python, "-m", "pytest", "-n", "2", "--dist", "loadfile", "-p", "no:cacheprovider", *selection]
    done = subprocess.run(
        command, cwd=ROOT, env={**os.environ, "OMP_NUM_THREADS": "1"}, capture_output=True, text=True, check=False
    )
    last = done.stdout.strip().splitlines()[-1:] or ["nothing printed"]
    counts = {word.rstrip("s"): int(number) for number, word in re.findall(r"(\d+) (passed|failed|errors?|skipped)", last[0])}
    if done.returncode:
        print(done.stdout[-6000:], done.stderr[-2000:], sep="\n", flush=True)
        counts.setdefault("failed", 0)
        if not counts["failed"] and not counts.get("error"):
            counts["error"] = 1
    return counts


def cell(counts: dict[str, int] | None) -> str:
    if counts is None:
        return ""
    bad = counts.get("failed", 0) + counts.get("error", 0)
    return f"{counts.get('passed', 0)} / {bad}"


def page(results: dict[str, dict[str, object]]) -> str:
    lines = [
        "# Versions that are tested",
        "",
        "Each row is an environment of its own. Each cell says how many tests of a part passed / failed; tests that need a GPU",
        "are not run. An empty cell, or a version without a row, has not been tested yet. Written by `make test-matrix`.",
        "",
        "| torch | " + " | ".join(n for n in ("python", *SHOWN[1:])) + " | " + " | ".join(PARTS) + " | date |",
        "|---|" + "---|" * (len(SHOWN) + len(PARTS) + 1),
    ]
    for name in ROWS:
        if name in results:
            row = results[name]
            found, parts = row["versions"], row["parts"]
            assert isinstance(found, dict)
            assert isinstance(parts, dict)
            cells = [found[n] for n in ("torch", "python", *SHOWN[1:])]
            lines.append(f"| {' | '.join([*cells, *(cell(parts.get(p)) for p in PARTS), str(row['date'])])} |")
    return "\n".join(lines) + "\n"


def write(results: dict[str, dict[str, object]]) -> None:
    RESULTS.write_text(json.dumps(results, indent=1) + "\n", encoding="utf-8")
    PAGE.write_text(page(results), encoding="utf-8")


def run_row(name: str, python: Path, results: dict[str, dict[str, object]]) -> int:
    """Run the parts of a row, and write each into the table when it ends; returns the number of failures."""
    found, bad, parts = versions(python), 0, {}
    print(name, found, flush=True)
    for part, selection in PARTS.items():
        parts[part] = run(python, selection)
        bad += parts[part].get("failed", 0) + parts[part].get("error", 0)
        print(f"  {part}: {parts[part]}", flush=True)
        date = datetime.datetime.now(datetime.UTC).date().isoformat()
        results[name] = {"versions": found, "parts": parts, "date": date, "constraints": asdict(ROWS[name])["constraints"]}
        write(results)
    return bad


def main() -> None:
    results = json.loads(RESULTS.read_text(encoding="utf-8")) if RESULTS.exists() else {}
    names = sys.argv[1:] or list(ROWS)
    shutil.rmtree(PLACE, ignore_errors=True)
    bad = 0
    with ThreadPoolExecutor(1) as installer:
        following = installer.submit(environment, names[0])
        for i, name in enumerate(names):
            python = following.result()
            if i + 1 < len(names):
                following = installer.submit(environment, names[i + 1])
            bad += run_row(name, python, results)
            shutil.rmtree(PLACE / name)
    shutil.rmtree(PLACE)
    sys.exit(bool(bad))


if __name__ == "__main__":
    main()
