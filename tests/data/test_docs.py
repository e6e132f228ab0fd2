"""The code and the commands of docs/data.md, docs/inputs.md and docs/draws.md run, from the first block to the last."""

import gc
import re
import shlex
from importlib.util import find_spec
from pathlib import Path

import pytest

from gpuaug import cli

DOCS = Path(__file__).parents[2] / "docs"


PAGES = [("data.md", {"python", "sh"}), ("inputs.md", {"python"}), ("draws.md", {"python", "sh"})]


@pytest.fixture
def _collected():
    yield
    gc.collect()


@pytest.mark.usefixtures("_collected")
@pytest.mark.filterwarnings("ignore:unclosed file:ResourceWarning")  # WebDataset leaves its tars to the garbage collector
@pytest.mark.filterwarnings("ignore:Exception ignored in. <_io.FileIO:pytest.PytestUnraisableExceptionWarning")
@pytest.mark.parametrize(("name", "languages"), PAGES)
def test_the_code_in_the_page_runs(name: str, languages: set[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    page = DOCS / name
    blocks = re.findall(r"```(python|sh)\n(.*?)```", page.read_text(encoding="utf-8"), flags=re.DOTALL)
    assert {language for language, _ in blocks} == languages
    names: dict[str, object] = {"__name__": "page"}
    for language, code in blocks:
        if language == "sh":
            for line in code.splitlines():
                program, *arguments = shlex.split(line)
                assert program == "gpuaug"
                assert cli.main(arguments) == 0
        elif find_spec("datasets") or "from datasets import" not in code:  # gpuaug does not require datasets
            exec(compile(code, str(page), "exec"), names)
