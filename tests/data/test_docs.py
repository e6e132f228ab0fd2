"""The code and the commands of docs/data.md run, from the first block to the last."""

import re
import shlex
from importlib.util import find_spec
from pathlib import Path

import pytest

from gpuaug import cli

PAGE = Path(__file__).parents[2] / "docs" / "data.md"


def test_the_code_in_the_page_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    blocks = re.findall(r"```(python|sh)\n(.*?)```", PAGE.read_text(encoding="utf-8"), flags=re.DOTALL)
    assert {language for language, _ in blocks} == {"python", "sh"}
    names: dict[str, object] = {"__name__": "page"}
    for language, code in blocks:
        if language == "sh":
            for line in code.splitlines():
                program, *arguments = shlex.split(line)
                assert program == "gpuaug"
                assert cli.main(arguments) == 0
        elif find_spec("datasets") or "from datasets import" not in code:  # gpuaug does not require datasets
            exec(compile(code, str(PAGE), "exec"), names)
