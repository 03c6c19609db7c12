"""Committed tables of the opponent-modelling benchmark are those that their CSVs make."""

import re
import shutil
import sys
from pathlib import Path

import pytest
from omarl.analysis.statistics import Interval

NUMBER = re.compile(r"(\d+\.\d+)")
BENCHMARKS = Path(__file__).parents[2] / "benchmarks"


@pytest.fixture
def tables(monkeypatch):
    monkeypatch.setattr(sys, "path", [str(BENCHMARKS), *sys.path])
    import omg_tables

    return omg_tables


@pytest.mark.parametrize("file", sorted((BENCHMARKS / "omg").glob("*.csv")), ids=lambda file: file.stem)
def test_tables_say_what_their_numbers_do(tables, file, tmp_path, monkeypatch):
    from omg_tasks import TASKS

    name, _, length = file.stem.rpartition("_") if file.stem.endswith("M") else (file.stem, "", "")
    if length:
        monkeypatch.setitem(TASKS, name, TASKS[name]._replace(steps=int(float(length[:-1]) * 1e6)))
    shutil.copy(file, tmp_path)
    monkeypatch.setattr(tables, "OUT", tmp_path)
    monkeypatch.setattr(tables, "draw_comparison", lambda *args: None)
    tables.tables(name, None)
    assert (tmp_path / file.name).read_text() == file.read_text()
    for written in tmp_path.glob("*.md"):
        made, committed = (NUMBER.split(each.read_text()) for each in (written, file.parent / written.name))
        assert made[::2] == committed[::2], written.name
        # to the last digit but one, which may differ from machine to machine
        assert [float(x) for x in made[1::2]] == pytest.approx([float(x) for x in committed[1::2]], rel=2e-3)


def test_the_last_test_with_the_most_episodes_counts(tables):
    found = [
        tables.Result("a", seed, steps, episodes, "return", value)
        for seed, steps, episodes, value in [(1, 0, 480, 9), (1, 5, 480, 1), (1, 5, 4800, 2), (2, 5, 480, 3)]
    ]
    assert tables.ends(found, "a", "return") == [2, 3] and tables.ends(found, "b", "return") == []
    assert [curve.value.tolist() for curve in tables.curves(found, "a")] == [[9, 1], [3]]
    whole = tables.row_of(tables.Group("task", "a", tuple(tables.curves(found, "a")))).area
    assert whole.point == pytest.approx((5.0 + 3.0) / 2)  # 9 to 1 in a straight line, and 3 throughout


def test_what_intervals_say(tables):
    rows = {"history": (2, 1, 3), "liam": (7, 6, 8), "bayes": (6, 5, 7), "oracle": (3, 2, 4), "omg": (4, 3.5, 4.4)}
    said = tables.beside("omg", "At the end", {arm: Interval(*row) for arm, row in rows.items()})
    assert said == (
        "At the end, by intervals, OMG is above history, below liam, below bayes, level with oracle. It makes 50% of "
        "the way from history to bayes. Oracle is, by intervals, no better than history."
    )
    fewer = tables.beside("omg", "In steps", {arm: Interval(*row) for arm, row in rows.items()}, good=-1)
    assert fewer.endswith(
        "Bayes is, by intervals, no better than history. Oracle is, by intervals, no better than history."
    )
