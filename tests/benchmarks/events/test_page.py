from __future__ import annotations

from pathlib import Path

import pytest

from benchmarks.events.page import Section, Variant, overview, terminal, variants_grid, write_page
from model.behaviours import Kind
from model.events import Alarm, Event, EventReport, WatchedClip, judge

PROVENANCE = {
    "left_out": [],
    "command": "python -m benchmarks.events --data DIR",
    "pose_weights": "yolov8n-pose.onnx",
    "pose_runtime": "OpenVINO, bf16",
    "versions": {"torch": "2.0"},
}


def report(known: float | None) -> EventReport:
    """A clip with a fall, told at some moment or not, and one with a false alarm."""
    alarms = () if known is None else (Alarm(Kind.LYING, 4.0, 9.0, known, "hips fell 0.6 | fast"),)
    return judge(
        [
            WatchedClip("hall", 60.0, 60.0, (Event(Kind.FALL, 4.0, 9.0, reached=5.0),), alarms),
            WatchedClip("stairs", 60.0, 30.0, (), (Alarm(Kind.RUNNING, 1.0, 2.0, 1.5),)),
        ],
        replicates=50,
    )


def section(known: float | None) -> Section:
    return Section("falls", "Falls", "Two clips.", report(known), ("A note.",))


def test_the_page_has_every_figure_and_every_clip(tmp_path: Path) -> None:
    variants = [Variant("as filmed", report(6.0)), Variant("half resolution", report(None))]
    (tmp_path / "docs").mkdir()
    page = tmp_path / "docs" / "events.md"
    write_page(page, [section(6.0)], variants, PROVENANCE, tmp_path / "benchmarks" / "results.json")
    text = page.read_text(encoding="utf-8")
    assert "| Falls | 2 | 0.03 | 0.03 | 1 | 1 | 0.00 [0.00, 0.00] | 1 |" in text
    assert "| fall, found as fall or lying | 1 | 1 | 1.00 [1.00, 1.00] |" in text
    assert "fall: median 1.0 s, 90 % at most 1.0 s" in text
    assert "| hall | fall 4.0 to 9.0 s | lying | 2.0 | - | hips fell 0.6 / fast |" in text
    assert "| stairs | - | - | - | running 1.0 to 2.0 s | - |" in text
    assert "| half resolution | 0 of 1 | 0.00 [0.00, 0.00] | -1.00 | - | - |" in text
    assert "A note." in text
    assert "[results.json](../benchmarks/results.json)" in text
    assert text.count("\n## ") == 5


def test_the_page_says_what_was_not_measured(tmp_path: Path) -> None:
    page = tmp_path / "events.md"
    write_page(
        page, [section(6.0)], [], PROVENANCE | {"left_out": ["The small world", "The level"]}, tmp_path / "r.json"
    )
    text = page.read_text(encoding="utf-8")
    assert "Not measured here: The small world; The level." in text
    assert "## Falls under other conditions" not in text


def test_lines_of_markdown_tables_have_as_many_cells_as_headers(tmp_path: Path) -> None:
    page = tmp_path / "events.md"
    write_page(page, [section(6.0)], [Variant("as filmed", report(6.0))], PROVENANCE, tmp_path / "r.json")
    tables = page.read_text(encoding="utf-8").split("\n\n")
    for table in (block.splitlines() for block in tables if block.startswith("|")):
        assert len({line.count("|") for line in table}) == 1, table


@pytest.mark.parametrize(("known", "grids"), [(6.0, 3), (None, 3)])
def test_the_terminal_shows_figures_names_and_flaws(known: float | None, grids: int) -> None:
    assert len(terminal(section(known))) == grids
    assert len(overview([section(known)]).rows) == 1


def test_a_change_is_measured_against_the_first_condition() -> None:
    grid = variants_grid([Variant("as filmed", report(6.0)), Variant("dark", report(None))])
    assert [row[3] for row in grid.rows] == ["+0.00", "-1.00"]
