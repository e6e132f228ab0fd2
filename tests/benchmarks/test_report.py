"""The page of results is well formed, complete and self-contained."""

from __future__ import annotations

import re
from dataclasses import replace
from html.parser import HTMLParser

from benchmarks.__main__ import main
from benchmarks.measure.result import save
from benchmarks.report import charts, html


class Tags(HTMLParser):
    """Checks that tags are closed in the order in which they were opened, and gathers ids and addresses."""

    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []
        self.ids: list[str] = []
        self.addresses: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.handle_startendtag(tag, attrs)
        if tag not in ("meta", "link", "br"):
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        for name, value in attrs:
            self.ids += [value or ""] if name == "id" else []
            self.addresses += [value or ""] if name in ("src", "href", "xlink:href") else []

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag


def test_the_page_is_well_formed_and_needs_nothing_else(results):
    tags = Tags()
    text = html.page([("r.json", results), ("other.json", results)])
    tags.feed(text)
    assert tags.open == []
    assert len(set(tags.ids)) == len(tags.ids)
    assert all(address.startswith(("#", "data:")) for address in tags.addresses)
    assert {address[1:] for address in tags.addresses if address.startswith("#")} <= set(tags.ids)
    assert "<script" not in text
    assert not re.search(r"url\((?!#)", text)


def test_the_page_shows_charts_figures_targets_and_losses(results):
    text = html.page([("r.json", results)])
    for part in (
        "8,000",
        "50.0x",
        "MISSED",
        "not measured",
        "&lt;peer &amp; co&gt;",
        "pip install peer",
        "0.95 to 1.05",
        "150*",
    ):
        assert part in text
    assert "<small>=" not in text  # gpuaug-fused is not compared with itself
    assert text.count("<svg") == 6
    assert "var(--ink)" in text
    assert charts.INK not in text.partition("</style>")[2]


def test_a_suite_gets_the_charts_that_it_has_something_for(results):
    assert [list(charts.charts(r)) for r in results] == [
        ["speeds", "limit", "strong-cheap"],
        ["curves"],
        ["speeds", "data-wait"],
    ]
    nothing = replace(results[0], cells=(), workloads=())
    assert charts.charts(nothing) == {}
    html.page([("r.json", [nothing])])


def test_the_command_writes_page_and_pictures(results, tmp_path):
    save(results, tmp_path / "r.json")
    out, pictures = tmp_path / "new" / "report.html", tmp_path / "pictures"
    assert main(["report", str(tmp_path / "r.json"), "-o", str(out), "--png", str(pictures)]) == 0
    assert out.read_text().startswith("<!doctype html>")
    names = {path.name for path in pictures.iterdir()}
    assert names == {
        *(f"augment-{kind}.png" for kind in ("speeds", "limit", "strong-cheap")),
        "scaling-curves.png",
        "train-speeds.png",
        "train-data-wait.png",
    }
