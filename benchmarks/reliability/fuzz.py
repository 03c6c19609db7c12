"""Random inputs for everything that reads what users or files give. Whatever they are, there is no traceback.

    python benchmarks/reliability/fuzz.py                      # 5,000 inputs
    python benchmarks/reliability/fuzz.py --parts pools --inputs 500 --seed 3

An input passes if it is accepted or refused by an ``OmarlError`` or an exit. Prints a table of inputs, tracebacks and
hangs (over 60 seconds) by part, writes it to ``fuzz.md`` next to this file, and prints each kind of failure once with
an input. Exits with 1 if there is any.
"""

from __future__ import annotations

import argparse
import contextlib
import io
import logging
import os
import signal
import sys
import tempfile
import time
import traceback
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from hypothesis import HealthCheck, Phase, given, seed, settings
from hypothesis.strategies import SearchStrategy

HERE = Path(__file__).parent
sys.path.insert(0, str(HERE))
from fuzz_inputs import PARTS, Part  # noqa: E402
from omarl.types import OmarlError  # noqa: E402

LIMIT = 60  # seconds after which an input counts as a hang


class Hang(BaseException):
    """An input took longer than ``LIMIT`` seconds."""


@dataclass
class Tally:
    """Numbers of one part, and the first input of each kind of failure."""

    inputs: int = 0
    refused: int = 0
    tracebacks: int = 0
    hangs: int = 0
    slowest: float = 0.0
    failures: dict[str, str] = field(default_factory=dict)


@contextlib.contextmanager
def watched() -> Iterator[None]:
    """Raises ``Hang`` in the body after ``LIMIT`` seconds."""

    def alarm(*_: Any) -> None:
        raise Hang

    previous = signal.signal(signal.SIGALRM, alarm)
    signal.alarm(LIMIT)
    try:
        yield
    finally:
        signal.alarm(0)
        signal.signal(signal.SIGALRM, previous)


def attempt(run: Callable[[Any, Path], Any], value: Any, tally: Tally) -> None:
    """Runs one input in a new working directory, without output, and counts its result."""
    begin, home = time.monotonic(), Path.cwd()
    tally.inputs += 1
    streams = (contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(io.StringIO()))
    with tempfile.TemporaryDirectory() as folder, streams[0], streams[1]:
        os.chdir(folder)
        try:
            with watched():
                run(value, Path(folder))
        except (OmarlError, SystemExit):
            tally.refused += 1
        except Hang:
            tally.hangs += 1
            tally.failures.setdefault(f"over {LIMIT} s", repr(value))
        except BaseException as error:
            tally.tracebacks += 1
            ours = [f for f in traceback.extract_tb(error.__traceback__) if "omarl" in f.filename]
            place = f"{Path(ours[-1].filename).name}:{ours[-1].lineno}" if ours else "?"
            tally.failures.setdefault(f"{type(error).__name__} at {place}: {str(error)[:150]}", repr(value))
        finally:
            os.chdir(home)
    tally.slowest = max(tally.slowest, time.monotonic() - begin)


def fuzz(part: Part, inputs: int, number: int) -> Tally:
    """Generates and runs the inputs of one part."""
    tally = Tally()
    options = settings(
        max_examples=inputs,
        database=None,
        deadline=None,
        phases=[Phase.generate],
        suppress_health_check=[*HealthCheck],
    )

    def of(strategy: SearchStrategy[Any]) -> Callable[[], None]:
        @seed(number)
        @options
        @given(strategy)
        def one(value: Any) -> None:
            attempt(part.run, value, tally)

        return one

    of(part.strategy)()
    return tally


def table(tallies: dict[str, Tally]) -> str:
    """A Markdown table, with a line of sums."""
    lines = ["| part | inputs | refused in one line | tracebacks | hangs | slowest, s |", "|---|---|---|---|---|---|"]
    for name, t in tallies.items():
        lines.append(f"| {name} | {t.inputs} | {t.refused} | {t.tracebacks} | {t.hangs} | {t.slowest:.1f} |")
    sums = [sum(getattr(t, n) for t in tallies.values()) for n in ("inputs", "refused", "tracebacks", "hangs")]
    slowest = max(t.slowest for t in tallies.values())
    return "\n".join([*lines, f"| all | {' | '.join(map(str, sums))} | {slowest:.1f} |"])


def main() -> int:
    """Runs the command line that the module describes."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--parts", nargs="+", choices=list(PARTS), default=list(PARTS))
    parser.add_argument("--inputs", type=int, default=5000, help="of all parts together")
    parser.add_argument("--seed", type=int, default=0)
    args = parser.parse_args()
    logging.disable(logging.CRITICAL)
    share = sum(PARTS[name].share for name in args.parts)
    tallies = {}
    for name in args.parts:
        tallies[name] = fuzz(PARTS[name], -(-args.inputs * PARTS[name].share // share), args.seed)
        print(f"{name}: {tallies[name].inputs} inputs", file=sys.stderr, flush=True)
        for failure, value in tallies[name].failures.items():
            print(f"  {failure}\n    {value[:1500]}", file=sys.stderr, flush=True)
    print(table(tallies))
    if args.parts == list(PARTS):
        (HERE / "fuzz.md").write_text(f"# Random inputs\n\nseed {args.seed}\n\n{table(tallies)}\n", encoding="utf-8")
    return int(any(t.failures for t in tallies.values()))


if __name__ == "__main__":
    sys.exit(main())
