"""Whether tests notice wrong changes (mutants) of learners, runners, opponent models, games and the VAE.

    python benchmarks/reliability/mutants.py [--out benchmarks/reliability/mutants.csv] [--again]

For each mutant of ``mutants_list.py``, the script replaces one text in a temporary copy of the repository and runs
the tests that are related to it. It prints ``killed`` (a test fails) or ``survived``, and at the end both numbers.
The results are in a CSV file; mutants that were killed are not run again, unless ``--again`` is given. First all
tests run once without a change, since a failing test would kill every mutant. About 10 minutes on an idle core.
"""

from __future__ import annotations

import argparse
import csv
import os
import shutil
import signal
import sys
import tempfile
import time
from pathlib import Path

import gymnasium as gymnasium  # imported here so that no test has to
import numba
import pettingzoo as pettingzoo
import pytest
import torch
from mutants_list import KNOWN, MUTANTS, Mutant

ROOT = Path(__file__).resolve().parents[2]
COLUMNS = ["set", "file", "old", "new", "tests", "result", "seconds"]
LIMIT = 300  # seconds; a mutant that hangs counts as killed


def copy_of_repository(folder: Path) -> Path:
    """The files that tests need, in ``folder``."""
    for name in ("src", "tests", "typings"):
        shutil.copytree(ROOT / name, folder / name, symlinks=True, ignore=shutil.ignore_patterns("__pycache__"))
    for name in ("pyproject.toml", "main.py"):
        shutil.copy(ROOT / name, folder / name)
    return folder


def run_tests(folder: Path, tests: tuple[str, ...], cache: Path) -> int:
    """Runs pytest on the omarl in ``folder`` in this process; 0: all tests pass, 1: one fails."""
    os.chdir(folder)
    os.environ["PYTHONPATH"] = str(folder / "typings")  # of processes that tests start
    sys.path.insert(0, str(folder / "typings"))
    sys.dont_write_bytecode = True
    numba.config.CACHE_DIR = str(cache)
    nodes = [f"tests/unit/{test}".replace("tests/unit/../", "tests/") for test in tests]
    return int(pytest.main(["-x", "-q", "-p", "no:cacheprovider", *nodes]))


def passes(folder: Path, tests: tuple[str, ...], cache: Path) -> bool:
    """Whether the tests pass in ``folder``, in a forked process, which has torch and pytest already.

    ``cache`` is numba's folder for compiled functions. The output is in ``folder``/output.
    """
    child = os.fork()
    if child == 0:
        code = 99
        try:
            output = os.open(folder / "output", os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
            os.dup2(output, 1)
            os.dup2(output, 2)
            code = run_tests(folder, tests, cache)
        finally:
            sys.stdout.flush()
            os._exit(code)
    deadline = time.monotonic() + LIMIT
    while time.monotonic() < deadline:
        done, status = os.waitpid(child, os.WNOHANG)
        if done:
            return os.waitstatus_to_exitcode(status) == 0
        time.sleep(0.1)
    os.kill(child, signal.SIGKILL)
    os.waitpid(child, 0)
    return False


def survives(folder: Path, mutant: Mutant) -> bool:
    """Whether the tests pass with the mutant."""
    path = folder / "src" / mutant.file
    original = path.read_text(encoding="utf-8")
    assert original.count(mutant.old) == 1, f"{mutant.file}: {original.count(mutant.old)} times {mutant.old!r}"
    path.write_text(original.replace(mutant.old, mutant.new), encoding="utf-8")
    try:
        with tempfile.TemporaryDirectory() as fresh:  # a function compiled before would hide the change
            return passes(folder, mutant.tests, Path(fresh) if "njit" in original else folder / "numba")
    finally:
        path.write_text(original, encoding="utf-8")


def read(out: Path) -> dict[tuple[str, str, str], dict[str, str]]:
    """The results that the file has already, by file, old and new text."""
    if not out.exists():
        return {}
    with out.open(encoding="utf-8", newline="") as file:
        return {(row["file"], row["old"], row["new"]): row for row in csv.DictReader(file)}


def write(out: Path, rows: dict[tuple[str, str, str], dict[str, str]]) -> None:
    """Writes the results of all present mutants, in their order."""
    with out.open("w", encoding="utf-8", newline="") as file:
        writer = csv.DictWriter(file, COLUMNS, lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows[m[:3]] for m in (*KNOWN, *MUTANTS) if m[:3] in rows)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, default=Path(__file__).with_name("mutants.csv"))
    parser.add_argument("--again", action="store_true", help="run all mutants, also those that were killed")
    options = parser.parse_args()
    torch.set_num_threads(1)
    rows = {} if options.again else read(options.out)
    wanted = [(name, m) for name, group in (("known", KNOWN), ("own", MUTANTS)) for m in group]
    killed = {key for key, row in rows.items() if row["result"] == "killed"}
    missing = [(name, m) for name, m in wanted if m[:3] not in killed or rows[m[:3]]["tests"] != " ".join(m.tests)]
    with tempfile.TemporaryDirectory() as temporary:
        folder = copy_of_repository(Path(temporary))
        tests = tuple(sorted({test for _, m in missing for test in m.tests}))
        for test in tests:
            if not passes(folder, (test,), folder / "numba"):
                raise SystemExit(f"{test} fails without any mutant: {(folder / 'output').read_text()[-2000:]}")
        for name, m in missing:
            started = time.perf_counter()
            result = "survived" if survives(folder, m) else "killed"
            seconds = f"{time.perf_counter() - started:.0f}"
            values = [name, *m[:3], " ".join(m.tests), result, seconds]
            rows[m[:3]] = dict(zip(COLUMNS, values, strict=True))
            write(options.out, rows)
            print(f"{result:8} {seconds:>4} s  {m.file}: {m.old}", flush=True)
    for name, group in (("known", KNOWN), ("own", MUTANTS)):
        number = sum(rows[m[:3]]["result"] == "killed" for m in group)
        print(f"{name}: {number} of {len(group)} killed")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
