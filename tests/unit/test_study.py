"""The opponent-modelling study: its plan, its tables by hand, and a tiny run of the whole script."""

import sys
from pathlib import Path

import numpy as np
import pytest
from omarl.analysis.runs import series_of
from omarl.config.files import find
from omarl.configuration.request import from_keywords

BENCHMARKS = Path(__file__).parents[2] / "benchmarks"


@pytest.fixture
def study(monkeypatch):
    monkeypatch.setattr(sys, "path", [str(BENCHMARKS), *sys.path])
    import study

    return study


@pytest.fixture
def tables(study):
    import study_tables

    return study_tables


@pytest.fixture
def numbers(study):
    import study_results

    return study_results


def test_seconds_are_those_between_tests(numbers):
    """Two seconds for ten steps; compilation takes 50 before the first log, the test at 20 takes 30."""
    wall = series_of([10, 20, 30, 40, 50], [52, 54, 86, 88, 90])
    assert numbers.seconds_of(wall, [0, 20]) == pytest.approx(10.0)


def test_intervals_over_seeds_and_over_opponents(tables):
    """Opponents differ by 10, seeds by 0 or 1: the first interval is narrow, the second is wide."""
    values = {(seed, who): 10.0 * i + seed % 2 for seed in (1, 2, 3, 4) for i, who in enumerate("abc")}
    seeds, opponents = tables.both(values)
    assert seeds.point == opponents.point == pytest.approx(10.5)
    assert seeds.high - seeds.low < 2.0 < 40.0 < opponents.high - opponents.low
    shifted = {key: value + 1.0 for key, value in values.items() if key != (4, "c")}
    paired = tables.both(tables.difference(shifted, values))
    assert paired == ((1.0, 1.0, 1.0), (1.0, 1.0, 1.0))


def results(numbers, arm, seed, shift, seconds):
    kinds = {"nearest": numbers.SCRIPTS, "west": numbers.SCRIPTS, "iql_1": numbers.KNOWN, "qmix_2": numbers.NEW}
    found = [numbers.Result(arm, seed, "return", kind, who, shift + (2.0 if kind == numbers.SCRIPTS else 1.0))
             for who, kind in kinds.items()]  # fmt: skip
    found += [numbers.Result(arm, seed, "curve", "", str(t), t / 100.0) for t in (0, 50, 100)]
    return [*found, numbers.Result(arm, seed, "seconds", "", "", seconds)]


def test_the_page_separates_scripts_from_teams_and_compares_at_equal_seconds(tables, numbers):
    found = [one for seed in (1, 2) for one in results(numbers, "history", seed, 0.0, 10.0)]
    found += [one for seed in (1, 2) for one in results(numbers, "liam", seed, 0.5, 40.0)]
    page = tables.page("disjoint_patrol", found, 300_000, "made")
    other = tables.page("disjoint_patrol", found, 300_000, "made", "liam")
    assert "| history | 2 | 2 [2, 2] | 2 [2, 2] | -0.5 [-0.5, -0.5] | -0.5 [-0.5, -0.5] |" in other
    heads = [line for line in page.splitlines() if line.startswith("## ")]
    assert heads == ["## Scripts (2 opponents)", "## Learned (2 opponents)",
                     "## Learned, algorithm of training (1 opponents)", "## Learned, new algorithm (1 opponents)",
                     "## Equal seconds"]  # fmt: skip
    rows = [line for line in page.splitlines() if line.startswith("| liam")]
    assert rows[0] == "| liam | 2 | 2.5 [2.5, 2.5] | 2.5 [2.5, 2.5] | 0.5 [0.5, 0.5] | 0.5 [0.5, 0.5] |"
    assert rows[1].startswith("| liam | 2 | 1.5 [1.5, 1.5] |")
    # a quarter of its steps in the same seconds
    assert rows[-1] == "| liam | 40 | 0.25 [0.25, 0.25] | -0.75 [-0.75, -0.75] | 1 [1, 1] |"


def test_steps_of_an_episode_are_shown_where_they_vary(tables, numbers):
    found = [one for seed in (1, 2) for arm in ("history", "liam") for one in results(numbers, arm, seed, 0.0, 9.0)]
    assert tables.lengths(found, ["history", "liam"], "history") == []
    returns = [one for one in found if one.measure == "return"]
    equal = [one._replace(measure="length", value=50.0) for one in returns]
    assert tables.lengths(found + equal, ["history", "liam"], "history") == []
    varied = [one._replace(value=48.0) if one.arm == "liam" else one for one in equal]
    rows = tables.lengths(found + varied, ["history", "liam"], "history")
    assert rows[-2].startswith("| liam | 48 [48, 48] | -2 [-2, -2] | 48 [48, 48] |") and rows[-2].count("-2 [") == 4


def test_seconds_are_those_timed_in_turn_where_they_exist(tables, numbers):
    found = [one for seed in (1, 2) for one in results(numbers, "history", seed, 0.0, 10.0 * seed)]
    assert tables.seconds_of_arm(found, "history") == 10.0
    timed = [*found, numbers.Result("history", 0, "step_us", "", "", 5e4)]
    assert tables.seconds_of_arm(timed, "history") == pytest.approx(5.0)
    assert tables.seeds_of(timed, "history") == {1, 2}


def test_every_arm_of_the_study_is_a_configuration(study):
    import study_arms

    usual = {
        *study_arms.CORE,
        *study_arms.OURS.values(),
        *(arm for each in study_arms.PAPER.values() for arm in each),
    }
    assert usual <= {*study.ARMS} and all(find("algs", arm.alg).is_file() for arm in study.ARMS.values())
    patrol, foraging = study.TASKS["disjoint_patrol"], study.TASKS["disjoint_foraging"]
    assert study.arms_of("disjoint_patrol", patrol, None) == list(study_arms.CORE)
    assert study.arms_of("disjoint_foraging", foraging, None) == [*study_arms.CORE, "object_prediction"]
    assert study.arms_of("disjoint_patrol", patrol, ["object_prediction", "liam"]) == ["liam"]


@pytest.mark.parametrize("name", ["disjoint_patrol", "disjoint_foraging"])
def test_every_key_of_an_arm_is_read_by_its_runs(study, name):
    from keywords import keywords
    from omg_tasks import words_of

    task = study.TASKS[name]
    for arm in study.arms_of(name, task, list(study.ARMS)):
        keys = {**keywords(words_of(task, study.ARMS[arm])), "pool": "pool", "split": "test"}
        assert from_keywords(keys, study.ARMS[arm].alg, task.env_config).values["pool"] == "pool", arm


def test_the_tasks_of_the_paper_have_ten_teams_to_train_against_and_twenty_to_test(study):
    from omg_tasks import REPRODUCTION

    for task in REPRODUCTION.values():
        by_split = {split: {t.algorithm for t in task.generators if t.split == split} for split in ("train", "test")}
        counts = {split: sum(t.split == split for t in task.generators) for split in ("train", "test")}
        assert counts == {"train": 10, "test": 20}
        assert len(by_split["train"]) == 1 and by_split["train"] < by_split["test"] and len(by_split["test"]) == 3


def test_lengths_shrink_together(study):
    scale = study.Scale(0.01)
    assert (scale.steps(1_000_000), scale.episodes(4800), study.Scale(1.0).steps(7)) == (10_000, 48, 7)


def test_a_tiny_study_from_nothing_to_its_tables(study, numbers, tmp_path, monkeypatch, capsys):
    """Four teams, two arms and a seed; then the same command again, which finds everything finished."""
    import omg_tasks
    import study_times

    teams = omg_tasks.generators(ippo=((1, 4), (), (2,)), mappo=((), (), (3,)))
    tiny = omg_tasks.DISJOINT["disjoint_patrol"]._replace(
        train=("guard+pair_corners",), validation=(), test=("chase+pair_sides",), generators=teams
    )
    monkeypatch.setitem(study.TASKS, "disjoint_patrol", tiny)
    monkeypatch.setattr(study, "LEAST", {"episodes": 3, "steps": 400})
    monkeypatch.setattr(
        study, "in_processes", lambda jobs, function, tasks: [print(function(*each)) for each in tasks]
    )
    words = ["study.py", "run", "--tasks", "disjoint_patrol", "--arms", "history", "omg_paper_ppo",
             "history_on_test", "--seeds", "1", "--scale", "0.0001", "--results", str(tmp_path)]  # fmt: skip
    monkeypatch.setattr(sys, "argv", words)
    study.main()
    first = capsys.readouterr().out
    assert first.count(": done") == 7 and "no opponents of two splits share components" in first
    page = (tmp_path / "tables" / "disjoint_patrol.md").read_text()
    assert "## Scripts (1 opponents)" in page and "## Learned (2 opponents)" in page and "omg_value_std" in page
    study.main()
    again = capsys.readouterr().out
    assert again.count(": exists") == 7 and "share components" in again
    assert (tmp_path / "tables" / "disjoint_patrol.md").read_text() == page
    monkeypatch.setattr(sys, "argv", ["study.py", "plan", *words[2:]])
    study.main()
    assert "disjoint_patrol history: 1 runs, 1 finished" in capsys.readouterr().out
    monkeypatch.setattr(study_times, "WARM_UP", 1)
    monkeypatch.setattr(sys, "argv", ["study.py", "time", *words[2:], "--turns", "2"])
    study.main()
    assert "disjoint_patrol omg_paper_ppo: " in capsys.readouterr().out
    times = numbers.read_times(tmp_path / "times" / "disjoint_patrol.json")
    assert {*times} == {"history", "omg_paper_ppo", "history_on_test"} and min(times.values()) > 0
    assert "all arms timed in turn" in (tmp_path / "tables" / "disjoint_patrol.md").read_text()
    found = numbers.gather(tmp_path / "tables" / "disjoint_patrol.csv", tmp_path, tmp_path, times)
    assert np.isfinite([one.value for one in found]).all()
    assert sum(one.measure == "step_us" for one in found) == 3


def test_splits_that_share_a_component_stop_the_study(study, tmp_path, monkeypatch):
    import omarl

    task = study.TASKS["disjoint_patrol"]._replace(
        train=("guard+pair_corners",), validation=(), test=("guard+pair_sides",), generators=()
    )
    monkeypatch.setitem(study.TASKS, "disjoint_patrol", task)
    with pytest.raises(omarl.ConfigError, match="disjoint: 1 of 1 test opponents share components with train"):
        study.make_pool(study.Study(tmp_path, study.Scale(0.01), 0), "disjoint_patrol")
