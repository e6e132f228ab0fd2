"""The public names and their arguments are those that api_surface.json lists.

python tests/test_api_surface.py      # rewrites the file, after an intended change
"""

import importlib
import inspect
import json
from pathlib import Path
from types import GenericAlias

FILE = Path(__file__).with_name("api_surface.json")
MODULES = ("gpuaug", "gpuaug.cli", "gpuaug.data", "gpuaug.data.atomic", "gpuaug.gallery", "gpuaug.ops")


def arguments(thing):
    """Names of the arguments, with a star before keyword-only ones; None for an exception, a type's alias or no callable."""
    if isinstance(thing, GenericAlias) or not callable(thing) or (isinstance(thing, type) and issubclass(thing, Exception)):
        return None
    found = inspect.signature(thing).parameters.values()
    return ["*" * (p.kind is p.KEYWORD_ONLY) + p.name for p in found]


def surface():
    modules = {name: importlib.import_module(name) for name in MODULES}
    return {name: {one: arguments(getattr(module, one)) for one in sorted(module.__all__)} for name, module in modules.items()}


def test_the_public_surface_is_the_one_that_is_written_down():
    assert surface() == json.loads(FILE.read_text(encoding="utf-8")), (
        "if this is intended, rewrite the file: see the head of this test"
    )


def test_the_citation_has_the_version_of_the_package():
    text = (FILE.parents[1] / "CITATION.cff").read_text(encoding="utf-8")
    assert f"\nversion: {importlib.import_module('gpuaug').__version__}\n" in text


if __name__ == "__main__":
    FILE.write_text(json.dumps(surface(), indent=1) + "\n", encoding="utf-8")
