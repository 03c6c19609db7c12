"""Runs with the same seed log identical metrics for any number of environment workers."""

import pytest
from e2e.command import SMALL, main


def run(tmp_path, name, *words):
    result = main(["--config=omg_vae", "with", *SMALL, *words], tmp_path / name)
    assert result.code == 0, result.err
    return result.steady()


@pytest.fixture(scope="module")
def one_worker(tmp_path_factory):
    return run(tmp_path_factory.mktemp("one"), "a", "seed=5", "env_workers=1")


@pytest.mark.parametrize("workers", [0, 1, 2])
def test_the_same_seed_gives_identical_metrics(one_worker, tmp_path, workers):
    assert run(tmp_path, "b", "seed=5", f"env_workers={workers}") == one_worker


def test_another_seed_gives_other_metrics(one_worker, tmp_path):
    other = run(tmp_path, "c", "seed=6", "env_workers=1")
    assert len(other) == len(one_worker)
    assert all(a != b for a, b in zip(other, one_worker, strict=True))
