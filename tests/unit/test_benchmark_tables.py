"""The committed tables of the opponent-modelling benchmark agree with their CSVs."""

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
def test_committed_tables_are_reproduced_from_their_csv(tables, file, tmp_path, monkeypatch):
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
        # last digits may differ between machines
        assert [float(x) for x in made[1::2]] == pytest.approx([float(x) for x in committed[1::2]], rel=2e-3)


def test_end_of_a_run_is_its_last_test_with_the_most_episodes(tables):
    found = [
        tables.Result("a", seed, steps, episodes, "return", value)
        for seed, steps, episodes, value in [(1, 0, 480, 9), (1, 5, 480, 1), (1, 5, 4800, 2), (2, 5, 480, 3)]
    ]
    assert tables.ends(found, "a", "return") == [2, 3] and tables.ends(found, "b", "return") == []
    assert [curve.value.tolist() for curve in tables.curves(found, "a")] == [[9, 1], [3]]
    whole = tables.row_of(tables.Group("task", "a", tuple(tables.curves(found, "a")))).area
    assert whole.point == pytest.approx((5.0 + 3.0) / 2)  # a line from 9 to 1, and a constant 3


def test_comparison_line_groups_arms_by_overlap_and_gives_the_gap_closed(tables):
    rows = {"history": (2, 1, 3), "liam": (7, 6, 8), "bayes": (6, 5, 7), "oracle": (3, 2, 4), "omg": (4, 3.5, 4.4)}
    line = tables.beside("omg", "at the end", {arm: Interval(*row) for arm, row in rows.items()})
    assert line == (
        "at the end: above history; below liam, bayes; level with oracle; gap to bayes closed by 50%; "
        "oracle is no better than history"
    )
    fewer = tables.beside("omg", "in steps", {arm: Interval(*row) for arm, row in rows.items()}, good=-1)
    assert fewer.endswith("bayes is no better than history; oracle is no better than history")


def test_former_arm_names_are_read_as_present_ones(tables, tmp_path, monkeypatch):
    monkeypatch.setattr(tables, "OUT", tmp_path)
    header = ",".join(tables.Result._fields)
    (tmp_path / "patrol.csv").write_text(f"{header}\nomg_categorical,1,5,480,return,2\n")
    assert [one.arm for one in tables.gather("patrol", None)] == ["place_prediction"]
    assert "omg_categorical" not in (tmp_path / "patrol.csv").read_text()


@pytest.fixture
def environments(monkeypatch):
    monkeypatch.setattr(sys, "path", [str(BENCHMARKS), *sys.path])
    import environments

    return environments


@pytest.mark.parametrize(
    ("output", "updates", "stopped", "expected"),
    [
        ("x\n50 environment steps, 2 episodes, 3 updates", "3", False, "trained"),
        ("x", "3", True, "trained (stopped)"),
        ("batch_size: no update before t_max=5 if", "0", False, "no update: no update before t_max=5 if"),
        ("error: env_args.key: wrong", "", False, "env_args.key: wrong"),
        ("error: XDG_RUNTIME_DIR is invalid or not set in the environment.\n", "3", False, "trained"),
        ("error: wrong\nTraceback (most recent call last)\n", "3", False, "TRACEBACK"),
        ("", "", True, "no update (stopped)"),
    ],
)
def test_the_result_of_an_environment_is_one_phrase(environments, output, updates, stopped, expected):
    assert environments.result(output, updates, stopped) == expected


def test_the_committed_table_has_one_line_for_each_environment_and_no_traceback(environments):
    lines = environments.lines_in(BENCHMARKS.parent / "docs/environments.md")
    assert list(lines) == [key for keys in environments.KEYS.values() for key in keys if key in lines]
    assert len(lines) >= 60
    assert not any("TRACEBACK" in line for line in lines.values())


@pytest.mark.parametrize(
    ("values", "expected"),
    [("-0.15 → 0.95", True), ("0.35 → 0.30", False), ("-2.48 → -0.20", False), ("0.00 → 0.00", False), ("", False)],
)
def test_an_explained_variance_counts_if_it_rose_and_is_positive(environments, values, expected):
    row = environments.Row("key", "package 1.0", "AECEnv; 9 steps", "", "10000", "369", values, "", 79.0, "trained")
    assert environments.is_rising(environments.line_of(row), environments.VARIANCE) == expected
    assert not environments.is_rising(environments.line_of(row), environments.R2)


def test_the_gpu_benchmark_runs_on_the_cpu(monkeypatch, tmp_path):
    monkeypatch.setattr(sys, "path", [str(BENCHMARKS), *sys.path])
    import gpu

    monkeypatch.setattr(gpu, "SEEDS", (1,))
    monkeypatch.setattr(gpu, "TRAINED", {"qmix": (gpu.SPREAD, 800, "test_return_mean")})
    monkeypatch.setattr(sys, "argv", ["gpu.py", "training", "--device=cpu", "--jobs=1", f"--out={tmp_path}"])
    with pytest.raises(SystemExit) as exit:
        gpu.main()
    row = next(line for line in (tmp_path / "gpu.md").read_text().splitlines() if line.startswith("| qmix"))
    assert exit.value.code == 0 and float(NUMBER.findall(row)[0]) > 20, row  # a mean return, without its sign
