"""The matrix of runs against opponents."""

import numpy as np
import pytest
from omarl.crossplay import Matrix, check_between, matrix_of, normalised
from omarl.types import ConfigError


def test_runs_of_one_name_are_averaged():
    omg = [{"west": 1.0, "all": 2.0}, {"west": 3.0, "all": 4.0}]
    matrix = matrix_of({"omg": omg, "base": [{"west": 0.0, "all": 1.0}]})
    assert (matrix.rows, matrix.columns, matrix.runs) == (["omg", "base"], ["west", "all"], [2, 1])
    assert matrix.values.tolist() == [[2.0, 3.0], [0.0, 1.0]]


def test_runs_that_met_others_are_refused():
    with pytest.raises(ConfigError, match="different opponents"):
        matrix_of({"a": [{"west": 1.0}], "b": [{"east": 1.0}]})


def test_zero_is_the_one_and_one_the_other():
    values = np.array([[1.0, 2.0], [2.0, 2.0], [3.0, 2.0]])
    matrix = Matrix(["base", "omg", "oracle"], ["west", "all"], values, [1, 1, 1])
    scaled = normalised(matrix, ["base", "oracle"]).values
    assert scaled[:, 0].tolist() == [0.0, 0.5, 1.0] and np.isnan(scaled[:, 1]).all()


def test_two_rows_make_the_scale():
    check_between(["base", "oracle"], ["base", "omg", "omg", "oracle"])
    with pytest.raises(ConfigError, match="between: give two of base, omg, oracle"):
        check_between(["base", "best"], ["base", "omg", "omg", "oracle"])
