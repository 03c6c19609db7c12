"""The sweep files in benchmarks/studies: they can run, and are the studies that their tables report."""

from pathlib import Path

from omarl.config.schema import read
from omarl.sweep.keys import SweepConfig, gathered
from omarl.sweep.plan import jobs_of, settings_of

STUDIES = Path(__file__).parents[2] / "benchmarks" / "studies"


def study(name):
    return read(SweepConfig, gathered({"sweep": str(STUDIES / f"{name}.yaml")}))


def test_the_study_of_opponent_models_has_three_methods_two_tasks_and_five_seeds(tmp_path):
    config = study("opponent_models")
    jobs = jobs_of(config, settings_of(config), tmp_path)
    assert len(jobs) == 3 * 2 * 5 and len({job.run for job in jobs}) == 30
    assert {job.cell for job in jobs} == {
        f"{method} {task}"
        for method in ("naive_om", "liam", "place_prediction")
        for task in ("simple_tag", "foraging")
    }


def test_the_search_for_a_learning_rate_has_16_trials_around_the_default(tmp_path):
    config = study("learning_rate")
    (job,) = jobs_of(config, settings_of(config), tmp_path)
    assert config.trials == 16 and list(config.search) == ["lr"]
    assert config.search["lr"]["low"] < job.values["lr"] < config.search["lr"]["high"]
