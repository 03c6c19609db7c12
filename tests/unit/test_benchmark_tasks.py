"""The tasks of the opponent-modelling benchmark whose splits share no component."""

import sys
from collections import Counter
from pathlib import Path

import pytest
from omarl import pooling
from omarl.config.files import find
from omarl.games.tag.scripts import is_stray

ENVIRONMENTS = {
    "simple_tag": {"env": "pettingzoo", "env_args": {"key": "mpe2.simple_tag_v3", "backend": "batched"}},
    "foraging": {"env": "gymnasium", "env_args": {"key": "lbforaging:Foraging-8x8-2p-4f-coop-v3"}},
}
NAMES = ("disjoint_patrol", "disjoint_rounds", "disjoint_foraging", "disjoint_patrol_teams")


@pytest.fixture
def tasks(monkeypatch):
    monkeypatch.setattr(sys, "path", [str(Path(__file__).parents[2] / "benchmarks"), *sys.path])
    import omg_tasks

    assert tuple(omg_tasks.DISJOINT) == NAMES
    return omg_tasks


@pytest.mark.parametrize("name", NAMES)
def test_pools_of_the_disjoint_tasks_are_disjoint_and_large(tasks, name, tmp_path):
    """The command ``pool`` itself refuses a shared predator, prey, round or script."""
    task = tasks.DISJOINT[name]
    values = {**ENVIRONMENTS[task.env_config], **{key: list(names) for key, names in task.scripts.items()}}
    pool = pooling.make_pool({**values, "out": str(tmp_path / "pool"), "disjoint": True})
    counts = Counter(member.split for member in pool.members)
    assert counts["train"] >= 8 and counts["validation"] >= 4 and counts["test"] >= 10


def test_test_scripts_of_the_disjoint_tasks_combine_several_predators_and_prey(tasks):
    for name in NAMES[:2]:
        pairs = [script.split("+") for script in tasks.DISJOINT[name].test]
        assert len({hunter for hunter, _ in pairs}) == 5 and len({prey for _, prey in pairs}) >= 4
        assert not any(is_stray(prey) for _, prey in pairs)


@pytest.mark.parametrize("name", NAMES)
def test_trained_test_teams_come_from_independent_runs_and_new_algorithms(tasks, name):
    teams = tasks.DISJOINT[name].generators
    assert len({team.name for team in teams}) == len({(team.algorithm, team.seed) for team in teams}) == len(teams)
    assert all(find("algs", team.algorithm).is_file() for team in teams)
    tested = [team for team in teams if team.split == "test"]
    trained = {team.algorithm for team in teams if team.split == "train"}
    assert len(tested) == 10 and len({team.algorithm for team in tested} - trained) >= 2
    early = "prior" if name == "disjoint_patrol" else "train"  # there they only give states to the subgoal prior
    assert {team.split for team in teams} == {early, "validation", "test"}


def test_the_tasks_with_committed_results_are_unchanged(tasks):
    assert [*tasks.TASKS] == ["patrol", "predator_prey", "coop_deadline", "foraging", "competitive"]
    sizes = {name: (len(task.train), len(task.validation), len(task.test)) for name, task in tasks.TASKS.items()}
    assert set(sizes.values()) == {(10, 10, 20)}
    assert not any(task.generators for task in tasks.TASKS.values())
