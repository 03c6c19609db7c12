"""The matrix of runs against opponents."""

from pathlib import Path

import numpy as np
import pytest
from omarl import crossplay
from omarl.crossplay import CrossplayConfig, Matrix, check_between, check_same_opponents, matrix_of, normalised
from omarl.types import ConfigError


def test_runs_of_one_name_are_averaged():
    omg = [{"west": 1.0, "all": 2.0}, {"west": 3.0, "all": 4.0}]
    matrix = matrix_of({"omg": omg, "base": [{"west": 0.0, "all": 1.0}]})
    assert (matrix.rows, matrix.columns, matrix.runs) == (["omg", "base"], ["west", "all"], [2, 1])
    assert matrix.values.tolist() == [[2.0, 3.0], [0.0, 1.0]]


def test_runs_with_different_opponents_are_refused():
    check_same_opponents({Path("a"): ("west", "east"), Path("b"): ("west", "east")})
    with pytest.raises(ConfigError, match="runs: a and b have different opponents"):
        check_same_opponents({Path("a"): ("west",), Path("b"): ("east",)})


def test_scaling_makes_one_row_0_and_the_other_1():
    values = np.array([[1.0, 2.0], [2.0, 2.0], [3.0, 2.0]])
    matrix = Matrix(["base", "omg", "oracle"], ["west", "all"], values, [1, 1, 1])
    scaled = normalised(matrix, ["base", "oracle"]).values
    assert scaled[:, 0].tolist() == [0.0, 0.5, 1.0] and np.isnan(scaled[:, 1]).all()


@pytest.mark.parametrize(
    ("words", "message"),
    [({"between": "one,best"}, "between: give two of one, other"), ({"out": "file"}, "out: cannot write into file")],
)
def test_what_cannot_end_well_is_not_begun(tmp_path, monkeypatch, words, message):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "file").touch()
    monkeypatch.setattr(crossplay, "find_runs", lambda patterns: [Path("one"), Path("other")])
    monkeypatch.setattr(crossplay, "last_checkpoints", lambda runs, key: {run: run for run in runs})
    monkeypatch.setattr(crossplay, "opponents_of", lambda values: ("west",))
    monkeypatch.setattr(crossplay, "values_of", lambda run, folder, config: {"label": run.name})
    monkeypatch.setattr(crossplay.evaluation, "tested", lambda *args: pytest.fail("played"))
    with pytest.raises(ConfigError, match=message):
        crossplay.crossplay(CrossplayConfig(runs="x", **words), None)


def test_two_rows_make_the_scale():
    check_between(["base", "oracle"], ["base", "omg", "omg", "oracle"])
    with pytest.raises(ConfigError, match="between: give two of base, omg, oracle"):
        check_between(["base", "best"], ["base", "omg", "omg", "oracle"])
