"""Comparison of runs: grouping, the numbers in the table, and the files of omarl and of forks."""

import csv
import json
import logging

import numpy as np
import pytest
from omarl.analysis.comparison import CompareConfig, compare, find_runs, over_seconds, read_groups, words
from omarl.types import ConfigError


def ours(folder, name, seed, values, key="mpe2.simple_spread_v3", **config):
    folder.mkdir(parents=True)
    steps = np.linspace(0, 1000 * (len(values) - 1), len(values)).astype(int)
    lines = [json.dumps({"t_env": int(t), "test_return_mean": v}) for t, v in zip(steps, values, strict=True)]
    (folder / "metrics.jsonl").write_text("\n".join(lines) + "\n")
    (folder / "config.json").write_text(json.dumps({"name": name, "seed": seed, "env_args": {"key": key}, **config}))
    return folder


def forks(folder, name, values):
    """The files of a run as EPyMARL's FileStorageObserver writes them."""
    folder.mkdir(parents=True)
    metric = {"steps": list(range(0, 1000 * len(values), 1000)), "values": values, "timestamps": [""] * len(values)}
    (folder / "metrics.json").write_text(json.dumps({"test_total_return_mean": metric}))
    config = {"name": name, "env": "gymma", "env_args": {"key": "pz-mpe2-simple-spread-v3"}}
    (folder / "config.json").write_text(json.dumps(config))
    return folder


def test_finals_and_areas_match_hand_computed_values(tmp_path):
    rising = [0.0] * 10 + [10.0]
    for seed, scale in enumerate((1.0, 2.0, 3.0)):
        ours(tmp_path / "runs" / str(seed), "iql", seed, [scale * v for v in rising])
    rows, files, *_ = result = compare(CompareConfig(runs=str(tmp_path / "runs"), out=str(tmp_path / "out")))
    (row,) = rows
    assert (row.task, row.label, row.seeds, row.steps) == ("simple_spread_v3", "iql", 3, 10_000)
    # the last tenth has the points at 9,000 and 10,000: 0 and 10, 20, 30
    assert row.final.point == pytest.approx(10.0)
    assert 5 <= row.final.low < 10 < row.final.high <= 15
    assert row.area.point == pytest.approx(0.5 * 0.1 * 20, rel=0.06)
    assert [file.name for file in files] == [
        "comparison.md", "comparison.csv", "marl_eval.json", "comparison.png"]  # fmt: skip
    assert all(file.stat().st_size > 100 for file in files)
    table = list(csv.DictReader(files[1].open()))
    assert float(table[0]["final"]) == pytest.approx(10.0) and table[0]["seeds"] == "3"
    assert "iql" in str(result)


def test_until_limits_the_compared_steps(tmp_path):
    for seed, slope in enumerate((1.0, 2.0)):
        ours(tmp_path / "runs" / str(seed), "iql", seed, [slope * v for v in (0.0, 10.0, 20.0, 100.0)])
    (row,), *_ = compare(CompareConfig(runs=str(tmp_path / "runs"), until=1500, out=str(tmp_path / "out")))
    assert row.steps == 1500 and row.final.point == pytest.approx(1.5 * 15)  # half-way from 10 to 20
    assert row.area.point == pytest.approx(1.5 * 7.5, rel=0.01)
    (complete,), *_ = compare(CompareConfig(runs=str(tmp_path / "runs"), until=9000, out=str(tmp_path / "out")))
    assert complete.steps == 3000 and complete.final.point == pytest.approx(150)


def test_runs_of_forks_are_compared_with_omarls(tmp_path):
    ours(tmp_path / "a", "vdn", 1, [1.0, 2.0, 3.0], key="mpe2.simple_spread_v3")
    forks(tmp_path / "b", "vdn_epymarl", [1.0, 2.0, 4.0])
    rows, *_ = compare(CompareConfig(runs=f"[{tmp_path}/a, {tmp_path}/b]", out=str(tmp_path / "out")))
    assert [(row.task, row.label) for row in rows] == [
        ("simple_spread_v3", "vdn"),
        ("simple_spread_v3", "vdn_epymarl"),
    ]
    assert rows[1].final.point == 4 and not np.isfinite(rows[1].final.low)  # no interval for one seed


def test_runs_are_named_by_their_label_or_algorithm(tmp_path):
    for i, label in enumerate(("", "mine", "mine", "default_label", "default_labels")):
        ours(tmp_path / "runs" / str(i), "iql", i, [1.0, 2.0], label=label)
    rows, *_ = compare(CompareConfig(runs=str(tmp_path / "runs"), out=str(tmp_path / "out")))
    assert sorted((row.label, row.seeds) for row in rows) == [("default_labels", 1), ("iql", 2), ("mine", 2)]


def test_further_keys_separate_groups(tmp_path):
    for seed, lr in enumerate((0.1, 0.1, 0.2)):
        ours(tmp_path / "r" / str(seed), "iql", seed, [1.0, 2.0], lr=lr)
    rows, *_ = compare(CompareConfig(runs=[str(tmp_path / "r")], by=["lr"], out=str(tmp_path / "out")))
    assert [(row.label, row.seeds) for row in rows] == [("iql lr=0.1", 2), ("iql lr=0.2", 1)]


def test_curves_are_compared_up_to_the_shortest_runs_end(tmp_path):
    ours(tmp_path / "r" / "1", "iql", 1, [0.0, 1.0, 1.0])
    ours(tmp_path / "r" / "2", "iql", 2, [0.0, 1.0, 1.0, 99.0, 99.0])
    rows, *_ = compare(CompareConfig(runs=str(tmp_path / "r"), out=str(tmp_path / "out")))
    assert rows[0].steps == 2000 and rows[0].final.point == 1.0


def test_problems_of_a_group_are_reported(tmp_path, caplog, monkeypatch):
    monkeypatch.setattr(logging.getLogger("omarl"), "propagate", True)
    ours(tmp_path / "r" / "1", "iql", 1, [0.0] * 10, lr=0.1)
    ours(tmp_path / "r" / "2", "iql", 2, [0.0] * 10, lr=0.1, env_workers=2)
    ours(tmp_path / "r" / "5", "iql", 2, [None])
    words = {"runs": str(tmp_path / "r"), "out": str(tmp_path / "out")}
    compare(CompareConfig(**words))
    few = "fewer than 5 seeds, so the interval is unreliable: iql on simple_spread_v3"
    assert caplog.messages == [f"left out: {tmp_path}/r/5 has not logged a return", f"{few} (2)"]
    caplog.clear()
    ours(tmp_path / "r" / "3", "iql", 3, [0.0] * 4, lr=0.2)
    ours(tmp_path / "r" / "4", "iql", 1, [0.0] * 9, lr=0.1, checkpoint_path="gone/1")
    compare(CompareConfig(**words))
    assert [line.partition(": ")[2] for line in caplog.messages[1:-1]] == [
        "runs differ in lr; by=[lr] separates them",
        f"compared up to step 3,000, where {tmp_path}/r/3 ends; another run has 9,000",
        f"2 runs have the seed 1, and each counts separately: {tmp_path}/r/1, {tmp_path}/r/4",
        f"{tmp_path}/r/4 resumes gone/1, which was not found; its curve starts there",
    ]
    assert caplog.messages[-1] == f"{few} (4)"
    with pytest.raises(ConfigError, match="by: no run has the key 'lrr'"):
        compare(CompareConfig(**words, by="lrr"))


def test_five_equal_runs_with_different_seeds_give_no_warning(tmp_path, caplog, monkeypatch):
    monkeypatch.setattr(logging.getLogger("omarl"), "propagate", True)
    for seed in range(5):
        ours(tmp_path / "r" / str(seed), "iql", seed, [0.0, 1.0])
    compare(CompareConfig(runs=str(tmp_path / "r"), out=str(tmp_path / "out")))
    assert caplog.messages == []


def test_a_resumed_run_is_joined_to_its_predecessors(tmp_path, caplog, monkeypatch):
    monkeypatch.setattr(logging.getLogger("omarl"), "propagate", True)
    first = lined(tmp_path / "r" / "1", 1, {0: 0.0, 1000: 1.0, 2000: 2.0, 3000: 77.0}, wall=0.01)
    second = lined(tmp_path / "r" / "2", 1, {2000: 20.0, 3000: 30.0}, wall=0.1,
                   checkpoint_path=str(first / "checkpoints" / "2000"))  # fmt: skip
    lined(tmp_path / "r" / "3", 1, {3000: 300.0, 4000: 400.0}, wall=0.2, checkpoint_path=str(second))
    (row,), (_, table, *_), *_ = compare(CompareConfig(runs=str(tmp_path / "r"), out=str(tmp_path / "out")))
    assert (row.seeds, row.steps, row.final.point) == (1, 4000, 400.0)
    assert f"{tmp_path}/r/3 is joined to {second}" in caplog.text
    # 0, 1, 20, 300, 400 at the five steps, interpolated linearly
    assert row.area.point == pytest.approx((0.5 + 10.5 + 160 + 350) / 4, rel=0.01)
    # the first command took 20 s to step 2,000, the second 300 s to step 3,000, the third 800 s to step 4,000
    assert row.seconds == pytest.approx(20 + 300 + 800)
    assert float(next(iter(csv.DictReader(table.open())))["seconds"]) == pytest.approx(row.seconds)
    (alone,), *_ = compare(CompareConfig(runs=[str(tmp_path / "r" / "3")], out=str(tmp_path / "out")))
    assert alone.area.point == row.area.point  # the predecessors are found by checkpoint_path


def lined(folder, seed, values, wall, **config):
    """A run with wall-clock times: ``wall`` seconds per step."""
    ours(folder, "iql", seed, [0.0], **config)
    lines = [json.dumps({"t_env": t, "wall_s": wall * t, "test_return_mean": v}) for t, v in values.items()]
    (folder / "metrics.jsonl").write_text("\n".join(lines) + "\n")
    return folder


def test_a_predecessor_with_another_name_is_also_compared(tmp_path):
    first = lined(tmp_path / "r" / "1", 1, {0: 0.0, 1000: 1.0}, wall=0.01)
    ours(tmp_path / "r" / "2", "vdn", 1, [5.0], checkpoint_path=str(first))
    rows, *_ = compare(CompareConfig(runs=str(tmp_path / "r"), out=str(tmp_path / "out")))
    assert [(row.label, row.seeds) for row in rows] == [("iql", 1), ("vdn", 1)]


def test_runs_that_resume_each_other_do_not_loop_forever(tmp_path):
    for name, other in (("1", "2"), ("2", "1")):
        lined(tmp_path / "r" / name, 1, {0: 0.0, 1000: 1.0}, wall=0.01, checkpoint_path=str(tmp_path / "r" / other))
    (row,), *_ = compare(CompareConfig(runs=str(tmp_path / "r"), out=str(tmp_path / "out")))
    assert row.seeds == 2


def test_seconds_come_from_wall_s_or_sacreds_timestamps(tmp_path):
    for seed, wall in enumerate((0.01, 0.02, 0.4)):
        lined(tmp_path / "r" / str(seed), seed, {0: 0.0, 1000: 1.0}, wall=wall)
    fork = forks(tmp_path / "f" / "1", "vdn", [1.0, 2.0, 3.0])
    metrics = json.loads((fork / "metrics.json").read_text())
    metrics["test_total_return_mean"]["timestamps"] = [f"2026-11-26T10:0{m}:30.500000" for m in (1, 2, 4)]
    (fork / "metrics.json").write_text(json.dumps(metrics))
    (fork / "run.json").write_text(json.dumps({"start_time": "2026-11-26T10:00:00.500000"}))
    forks(tmp_path / "f" / "2", "qmix", [1.0, 2.0, 3.0])
    rows, files, *_ = compare(
        CompareConfig(runs=[str(tmp_path / "r"), str(tmp_path / "f")], out=str(tmp_path / "out"))
    )
    assert {row.label: row.seconds for row in rows if row.label != "qmix"} == {"iql": 20.0, "vdn": 270.0}
    lines = files[0].read_text().splitlines()
    assert any(line.startswith("| simple_spread_v3 | iql | 3 | 1,000 | 20 |") for line in lines)
    assert any(line.startswith("| simple_spread_v3 | qmix | 1 | 2,000 | - |") for line in lines)


def test_missing_values_are_left_out(tmp_path):
    ours(tmp_path / "r" / "1", "iql", 1, [0.0, None, 4.0, None])
    rows, *_ = compare(CompareConfig(runs=str(tmp_path / "r"), out=str(tmp_path / "out")))
    assert rows[0].final.point == 4.0


def test_patterns_and_folders_find_each_run_once(tmp_path):
    for name in ("iql/1", "iql/2", "vdn/1"):
        ours(tmp_path / name, "x", 1, [1.0])
    assert len(find_runs([str(tmp_path)])) == 3
    assert len(find_runs([str(tmp_path / "iql" / "*"), str(tmp_path / "**")])) == 3
    assert words("[a, b]") == ["a", "b"] and words(["a,b"]) == ["a,b"] and words("") == []


@pytest.mark.parametrize(
    ("runs", "metric", "message"),
    [
        ("", "", "runs: name the runs"),
        ("nowhere", "", "nowhere contains no run"),
        ("here", "vae_kl_loss", "metric: none of the 1 runs has logged vae_kl_loss"),
    ],
)
def test_runs_that_cannot_be_compared_give_an_error(tmp_path, monkeypatch, runs, metric, message):
    monkeypatch.chdir(tmp_path)
    ours(tmp_path / "here", "iql", 1, [1.0])
    with pytest.raises(ConfigError, match=message):
        compare(CompareConfig(runs=runs, metric=metric, out="out"))
    assert not (tmp_path / "out").exists()


def test_a_run_without_a_finite_value_is_left_out(tmp_path):
    ours(tmp_path / "r" / "1", "iql", 1, [None, None])
    with pytest.raises(ConfigError, match="none of the 1 runs has logged"):
        compare(CompareConfig(runs=str(tmp_path / "r"), out=str(tmp_path / "out")))
    ours(tmp_path / "r" / "2", "iql", 2, [1.0, 2.0])
    rows, *_ = compare(CompareConfig(runs=str(tmp_path / "r"), out=str(tmp_path / "out")))
    assert rows[0].seeds == 1


def study(tmp_path, scores, length=3):
    """Runs of task -> algorithm -> final scores; every curve rises from 0 in equal steps."""
    for task, of_task in scores.items():
        for name, finals in of_task.items():
            for seed, final in enumerate(finals):
                values = np.linspace(0, final, length).tolist()
                ours(tmp_path / "r" / task / name / str(seed), name, seed, values, key=f"mpe2.{task}")
    return CompareConfig(runs=str(tmp_path / "r"), out=str(tmp_path / "out"))


def test_every_two_algorithms_are_compared_on_each_environment(tmp_path):
    scores = {"a": {"iql": [1.0, 2, 3, 4, 5], "vdn": [6.0, 7, 8, 9, 10]}, "b": {"iql": [1.0, 3], "vdn": [2.0, 0]}}
    result = compare(study(tmp_path, scores))
    first, second = result.pairs
    assert (first.task, first.better, first.worse, first.probability.point) == ("a", "vdn", "iql", 1.0)
    assert first.p_value == pytest.approx(2 / 252)  # 2 of the (10 over 5) orders are as extreme
    assert first.corrected == pytest.approx(4 / 252) and second.corrected == second.p_value
    assert (second.better, second.probability.point) == ("iql", 0.75)
    # scaled: a from 1 to 10, b from 0 to 3
    assert [label for label, _ in result.overall] == ["iql", "vdn"]
    iql = np.sort([0, 1 / 9, 2 / 9, 3 / 9, 4 / 9, 1 / 3, 1])  # floor(7 / 4) = 1 is cut at each end
    assert result.overall[0][1].point == pytest.approx(np.mean(iql[1:-1]))
    page = result.files[0].read_text()
    assert "| a | vdn | iql | 1 [1, 1] | 0.0079 | 0.016 |" in page and "| vdn | " in page.split("normalised score")[1]
    assert [file.name for file in result.files][-2:] == ["comparison.png", "profiles.png"]
    assert "vdn above iql in 100% of pairs of runs (p 0.0079, corrected 0.016)" in str(result)


def test_the_export_has_the_structure_that_marl_eval_reads(tmp_path):
    config = study(tmp_path, {"a": {"IQL": [2.0, 4.0], "vdn": [6.0, 8.0]}}, length=5)
    ours(tmp_path / "r" / "a" / "vdn" / "9", "vdn", 9, [0.0, 3.0, 6.0], key="mpe2.a")  # fewer points
    compare(config)
    tasks = json.loads((tmp_path / "out" / "marl_eval.json").read_text())["omarl"]
    assert set(tasks) == {"a"} and set(tasks["a"]) == {"iql", "vdn"} and len(tasks["a"]["vdn"]) == 3
    for runs in tasks["a"].values():
        for run in runs.values():
            assert list(run) == ["step_0", "step_1", "step_2", "absolute_metrics"]
            assert [step["step_count"] for step in list(run.values())[:3]] == [0, 1000, 2000]
    assert tasks["a"]["iql"]["run_1"]["step_2"]["return"] == [2.0]  # half-way to 4
    assert tasks["a"]["vdn"]["run_2"]["absolute_metrics"] == {"return": [6.0]}


def test_unequal_budgets_and_versions_are_reported(tmp_path, caplog, monkeypatch):
    monkeypatch.setattr(logging.getLogger("omarl"), "propagate", True)
    ours(tmp_path / "r" / "1", "iql", 1, [0.0] * 10)
    ours(tmp_path / "r" / "2", "vdn", 1, [0.0] * 5)
    for number, version in (("1", "0.1.0"), ("2", "0.2.0")):
        experiment = {"dependencies": ["numpy==2", f"omarl=={version}"], "repositories": [{"commit": "abcdefghi"}]}
        (tmp_path / "r" / number / "run.json").write_text(json.dumps({"experiment": experiment}))
    compare(CompareConfig(runs=str(tmp_path / "r")), write=False)
    assert caplog.messages[:2] == [
        "simple_spread_v3: algorithms have unequal steps (iql 9,000, vdn 4,000); until=... compares equal ones",
        "runs of different versions: omarl 0.1.0 (abcdefg) (1 runs), omarl 0.2.0 (abcdefg) (1 runs)",
    ]
    caplog.clear()
    compare(CompareConfig(runs=str(tmp_path / "r"), until=4000), write=False)
    assert not any("unequal" in line for line in caplog.messages)


def test_curves_over_seconds_need_recorded_times(tmp_path):
    lined(tmp_path / "r" / "1", 1, {0: 0.0, 1000: 1.0}, wall=0.01)
    words = {"runs": str(tmp_path / "r"), "x": "seconds", "out": str(tmp_path / "out")}
    groups = over_seconds(read_groups(CompareConfig(**words)))
    assert groups[0].curves[0].t.tolist() == [0.0, 10.0]
    assert compare(CompareConfig(**words)).files[-1].name == "comparison.png"
    (tmp_path / "r" / "1" / "metrics.jsonl").write_text('{"t_env": 0, "test_return_mean": 1.0}')
    with pytest.raises(ConfigError, match="x: none of the runs has recorded seconds"):
        compare(CompareConfig(**words))
