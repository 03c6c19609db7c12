"""The mutants of the reliability benchmark fit the present code: each text to be replaced occurs exactly once."""

import runpy
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
LIST = runpy.run_path(str(ROOT / "benchmarks" / "reliability" / "mutants_list.py"))
ALL = (*LIST["KNOWN"], *LIST["MUTANTS"])


@pytest.mark.parametrize("mutant", ALL, ids=[f"{m.file}-{i}" for i, m in enumerate(ALL)])
def test_the_replaced_text_occurs_once_and_the_tests_exist(mutant):
    text = (ROOT / "src" / mutant.file).read_text(encoding="utf-8")
    assert text.count(mutant.old) == 1 and mutant.new != mutant.old
    for test in mutant.tests:
        file, _, name = test.partition("::")
        source = (ROOT / "tests" / "unit" / file).read_text(encoding="utf-8")
        assert not name or f"def {name}(" in source


def test_no_mutant_is_listed_twice():
    assert len({mutant[:3] for mutant in ALL}) == len(ALL)
