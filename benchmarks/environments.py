"""Trains in named environments with nothing but their key, and writes docs/environments.md.

    python benchmarks/environments.py [--only TEXT] [--steps 1000] [--seconds 60] [--out docs/environments.md]

Each environment is trained by the command ``--config=omg_vae with env_args.key=KEY t_max=STEPS`` in its own process,
which is stopped after ``--seconds``. The table has the version of the package, the interface, what omarl chose, the
updates, the explained variance of the VAE on test episodes at the first and at the last test, and the result. A
package that is not installed gives its line. About 15 minutes with the defaults on two busy cores.
"""

import argparse
import importlib.metadata
import os
import re
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import NamedTuple

from omarl.analysis.runs import read_metrics
from omarl.types import OmarlError
from omarl.utils.memory import available_memory, readable

ROOT = Path(__file__).parents[1]
MPE2 = ["simple", "simple_adversary", "simple_crypto", "simple_formation", "simple_line", "simple_push",
        "simple_reference", "simple_speaker_listener", "simple_spread", "simple_tag", "simple_world_comm",
        "collect_treasure"]  # fmt: skip
CLASSIC = ["chess", "connect_four", "go", "hanabi", "leduc_holdem", "rps", "texas_holdem", "texas_holdem_no_limit",
           "tictactoe"]  # fmt: skip
KEYS: dict[str, list[str]] = {
    "mpe2": [f"mpe2.{name}" for name in MPE2],
    "pettingzoo": [
        *(f"classic/{name}" for name in CLASSIC),
        *(f"butterfly/{name}" for name in ("cooperative_pong", "knights_archers_zombies", "pistonball")),
        *(f"sisl/{name}" for name in ("multiwalker", "pursuit")),
        "atari/pong",
    ],
    "lbforaging": ["lbforaging:Foraging-8x8-2p-3f-v3", "lbforaging:Foraging-10x10-3p-3f-v3"],
    "rware": ["rware:rware-tiny-2ag-v2", "rware:rware-small-4ag-v2"],
}
ALSO = {"classic/chess": "chess"}  # packages that an environment needs, too
GRACE = 60  # seconds for the update, the checkpoint and the curves after a stop
VARIANCE = "test_vae_explained_variance"
# The lines that report what omarl chose, each with a short form
CHOICES = {
    r"they end after (\d+ steps) \((.*?)\)": r"episodes of \1 (\2)",
    r"memory: .* are available, so (.*?);": r"\1",
    r"base_learner: (\w+) actions; ippo trains": r"ippo (\1 actions)",
}


class Row(NamedTuple):
    key: str
    package: str
    interface: str
    choices: str
    steps: str
    updates: str
    variance: str
    seconds: float
    result: str


def version(package: str) -> str:
    try:
        return f"{package} {importlib.metadata.version(package)}"
    except importlib.metadata.PackageNotFoundError:
        return f"{package} (not installed)"


def trained(key: str, steps: int, seconds: float, folder: Path) -> tuple[str, float, bool]:
    """The output of a training, the seconds that it took, and whether it was stopped."""
    words = ["with", f"env_args.key={key}", f"t_max={steps}", f"local_results_path={folder}", "seed=1"]
    command = [sys.executable, str(ROOT / "main.py"), "--config=omg_vae", *words]
    begun, stopped = time.monotonic(), False
    with (folder / "output").open("w+", encoding="utf-8") as output:
        process = subprocess.Popen(command, stdout=output, stderr=subprocess.STDOUT, start_new_session=True, cwd=ROOT)
        for limit, number in ((seconds, signal.SIGTERM), (GRACE, signal.SIGKILL)):
            try:
                process.wait(limit)
                break
            except subprocess.TimeoutExpired:
                stopped = True
                os.killpg(process.pid, number)
        process.wait()
        output.seek(0)
        return output.read(), time.monotonic() - begun, stopped


def row(key: str, package: str, steps: int, seconds: float) -> Row:
    with tempfile.TemporaryDirectory() as name:
        output, taken, stopped = trained(key, steps, seconds, Path(name))
        variance = explained_variance(Path(name))
    start = re.search(r" on \S+ \((.*?): .*\), episodes of at most (\d+) steps", output)
    summary = re.search(r"(\d+) environment steps, \d+ episodes, (\d+) updates", output)
    done, updates = summary.groups() if summary else ("", "")
    choices = [match.expand(short) for line, short in CHOICES.items() if (match := re.search(line, output))]
    interface = f"{start[1]}; {start[2]} steps" if start else ""
    return Row(key, package, interface, "; ".join(choices), done, updates, variance, taken,
               result(output, updates, stopped))  # fmt: skip


def result(output: str, updates: str, stopped: bool) -> str:
    """One phrase: trained, no update and the line about it, the error, or a fault."""
    if "Traceback (most recent call last)" in output:
        return "TRACEBACK"
    if error := re.search(r"^error: (.*)", output, re.M):
        return error[1]
    ending = " (stopped)" if stopped else ""
    if updates in ("", "0"):
        reason = re.search(r"no update before .*", output)
        return f"no update{ending}" + (f": {reason[0]}" if reason else "")
    return f"trained{ending}"


def explained_variance(folder: Path) -> str:
    """The first and the last value of the test episodes."""
    for file in folder.rglob("metrics.jsonl"):
        try:
            metrics = read_metrics(file.parent)
        except OmarlError:
            continue
        if VARIANCE in metrics and len(metrics[VARIANCE].value):
            values = metrics[VARIANCE].value
            return f"{values[0]:.2f} → {values[-1]:.2f}"
    return ""


def lines_in(file: Path) -> dict[str, str]:
    """The lines of an earlier table, by key."""
    text = file.read_text(encoding="utf-8") if file.is_file() else ""
    return {match[1]: match[0] for match in re.finditer(r"^\| `(.*?)` \|.*$", text, re.M)}


def line_of(each: Row) -> str:
    cells = [f"`{each.key}`", *each[1:7], f"{each.seconds:.0f}", each.result]
    return "| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |"


def table(rows: list[str], steps: int, seconds: float) -> str:
    happy = sum("| trained" in line for line in rows)
    lines = [
        "# Environments with nothing but their key",
        "",
        f"`benchmarks/environments.py --steps {steps} --seconds {seconds:g}` made this table: for each key,",
        f"`omarl --config=omg_vae with env_args.key=KEY t_max={steps}`, stopped after {seconds:g} seconds,",
        f"with {readable(available_memory())} of memory available.",
        f"{happy} of {len(rows)} trained with updates. A short run shows only that an environment can be played and",
        "trained in; the explained variance is that of the VAE on test episodes, at the first and at the last test.",
        "",
        "| key | package | interface; longest episode | chosen by omarl | steps | updates | explained variance | s "
        "| result |",
        "|---|---|---|---|---|---|---|---|---|",
    ]
    return "\n".join([*lines, *rows]) + "\n"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", default="", help="environments with this text in their key; the other lines remain")
    parser.add_argument("--steps", type=int, default=1000)
    parser.add_argument("--seconds", type=float, default=60)
    parser.add_argument("--out", type=Path, default=ROOT / "docs/environments.md")
    options = parser.parse_args()
    lines = lines_in(options.out)  # of environments that are not run again
    for package, keys in KEYS.items():
        for key in keys:
            if options.only in key:
                packages = ", ".join(version(name) for name in (package, ALSO.get(key)) if name)
                lines[key] = line_of(row(key, packages, options.steps, options.seconds))
                print(lines[key], flush=True)
                known = [lines[name] for names in KEYS.values() for name in names if name in lines]
                options.out.write_text(table(known, options.steps, options.seconds), encoding="utf-8")


if __name__ == "__main__":
    main()
