"""Trains in named environments with nothing but their key, and writes docs/environments.md.

    python benchmarks/environments.py [--only TEXT ...] [--steps 10000] [--seconds 120] [--jobs 1] [--python PYTHON]
                                      [--missing] [--out docs/environments.md]

Each environment is trained in its own process by the command
``--config=omg_vae with env_args.key=KEY t_max=STEPS max_seconds=SECONDS``. A process that lives longer than ``LIMIT``
seconds is stopped. The table has the version of the package, the interface, what omarl chose, the updates, the
explained variance of the VAE and its out-of-sample R2 on test episodes at the first and at the last test
(docs/metrics.md), and the result. A package that is not installed gives its line. ``--python`` is the interpreter of
an environment in which the packages are installed: some of them pin old versions of others. Lines of an earlier table
are kept: ``--missing`` runs only the others, ``--only`` those whose key contains one of the texts.
"""

import argparse
import os
import re
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path
from typing import NamedTuple

from omarl.analysis.runs import read_metrics
from omarl.types import OmarlError

ROOT = Path(__file__).parents[1]
MPE2 = ["simple", "simple_adversary", "simple_crypto", "simple_formation", "simple_line", "simple_push",
        "simple_reference", "simple_speaker_listener", "simple_spread", "simple_tag", "simple_world_comm",
        "collect_treasure"]  # fmt: skip
CLASSIC = ["chess", "connect_four", "gin_rummy", "go", "hanabi", "leduc_holdem", "rps", "texas_holdem",
           "texas_holdem_no_limit", "tictactoe"]  # fmt: skip
KEYS: dict[str, list[str]] = {
    "mpe2": [f"mpe2.{name}" for name in MPE2],
    "pettingzoo": [
        *(f"classic/{name}" for name in CLASSIC),
        *(f"butterfly/{name}" for name in ("cooperative_pong", "knights_archers_zombies", "pistonball")),
        *(f"sisl/{name}" for name in ("multiwalker", "pursuit", "waterworld")),
        *(f"atari/{name}" for name in ("pong", "boxing")),
    ],
    "lbforaging": ["lbforaging:Foraging-8x8-2p-3f-v3", "lbforaging:Foraging-10x10-3p-3f-v3"],
    "rware": ["rware:rware-tiny-2ag-v2", "rware:rware-small-4ag-v2"],
    "supersuit": [f"benchmarks.wrapped_environments:{name}" for name in ("stacked_spread", "padded_listener")],
    "open_spiel": ["open_spiel/leduc_poker", "open_spiel/tic_tac_toe"],
    "magent2": ["magent2.environments.adversarial_pursuit_v4", "magent2.environments.tiger_deer_v4"],
    "multigrid": ["multigrid.envs:MultiGrid-Empty-Random-6x6-v0", "multigrid.envs:MultiGrid-RedBlueDoors-6x6-v0"],
    "mosaic-multigrid": [
        "mosaic_multigrid.envs:MosaicMultiGrid-S-2v2-IndAgObs-v1",
        "mosaic_multigrid.envs:MosaicMultiGrid-AF-2v2-IndAgObs-v1",
    ],
    "sustainable-foraging": [
        "sustainable_foraging:Foraging-8x8-3p-3f-v3",
        "sustainable_foraging:Foraging-6x6-2p-2f-coop-v3",
    ],
    "highway-env": ["highway_env:intersection-multi-agent-v0", "highway_env:intersection-multi-agent-v1"],
    "frondori-kitchen": ["frondori_kitchen:KitchenEnv"],
    "frondori-football": ["frondori_football:FootballEnv"],
    "DSSE": ["DSSE:DroneSwarmSearch", "DSSE:CoverageDroneSwarmSearch"],
    "cooperative-marl-labs": [
        "cooperative_marl_labs.envs.speaker_listener:SpeakerListenerEnv",
        "cooperative_marl_labs.envs.wireless_resource_allocation:WirelessResourceAllocationEnv",
    ],
    "marl-aquarium": ["marl_aquarium.aquarium_v0"],
    "quoridor-rl": ["quoridor_rl.env:QuoridorEnv"],
    "momaland": ["momaland.envs.beach.mobeach_v0", "momaland.envs.item_gathering.item_gathering"],
    "cathedral-rl": ["cathedral_rl.cathedral_v0"],
    "qwertyenv": ["qwertyenv.collect_coins:CollectCoinsEnv"],
    "pymapf": ["pymapf.rl:MAPFEnv"],
    "pogema": ["pogema:Pogema-v0"],
    "vmas": ["vmas:make_env"],
    "generals": ["generals:PettingZooGenerals"],
    "pypzbattlesnake": ["pypzbattlesnake.env:BattleSnake"],
    "gobigger": ["gobigger.envs:GoBiggerEnv"],
    "overcooked-ai": ["overcooked_ai_py.mdp.overcooked_env:OvercookedEnv"],
    "PyFlyt": [
        "PyFlyt.pz_envs.quadx_envs.ma_quadx_hover_env:MAQuadXHoverEnv",
        "PyFlyt.pz_envs.fixedwing_envs.ma_fixedwing_dogfight_env:MAFixedwingDogfightEnv",
    ],
    "cognac": [
        "cognac.env.FirefightingGraph.env:RowFireFightingGraphEnvironment",
        "cognac.env.FirefightingGraph.env:GridFireFightingGraphEnvironment",
    ],
    "game-room": ["game_room.flip7_v0"],
    "azul-marl-env": ["azul_marl_env"],
    "polyterra-env": ["polyterra_env"],
    "fish-env": ["fish_env.env"],
    "luxai-s2": ["luxai_s2.env"],
    "chasing-targets-gym": ["chasing_targets_gym:ChasingTargets-v0"],
    "gym-multigrid": ["gym_multigrid:multigrid-collect-v0", "gym_multigrid:multigrid-collect-rooms-v0"],
    "ma-gym": ["ma_gym:PredatorPrey5x5-v0", "ma_gym:Switch2-v0"],
    "fanorona-aec": ["env.fanorona_env"],
    "gobblet-rl": ["gobblet.gobblet_v0"],
    "rlskyjo": ["rlskyjo.environment.skyjo_env"],
    "marlware": ["marlware.warehouse:Warehouse"],
    "wildfire-environment": ["wildfire_environment.envs:WildfireEnv"],
    "overcooked": ["overcooked:Overcooked"],
    "laser-learning-environment": ["lle:LLE"],
    "gymnasium-robotics": ["gymnasium_robotics.envs.multiagent_mujoco.mujoco_multi:MultiAgentMujocoEnv"],
    "sumo-rl": ["sumo_rl:parallel_env"],
    "swmmenv": ["swmmEnv:SWMMParallelEnv"],
    "cogrid": ["cogrid.cogrid_env:CoGridEnv"],
    "collectivecrossing": ["collectivecrossing:CollectiveCrossingEnv"],
    "ppage": ["ppage.core.gridworld:GridWorldEnv"],
    "adversarial-market-marl": ["adversarial_market.environment.lob_env:LOBEnvironment"],
}
# Packages that an environment needs, too
ALSO = {
    "classic/chess": "chess",
    "classic/hanabi": "open_spiel",
    "open_spiel": "shimmy",
    "classic/leduc_holdem": "rlcard",
    "classic/gin_rummy": "rlcard",
}
LIMIT = 300  # seconds that a process may take in all
GRACE = 30  # seconds for the checkpoint and the curves after a stop
VARIANCE, R2 = 6, 7  # columns of the table
BEFORE_NOTE = "learnt."  # the line of the page before the note
MEASURES = ("test_vae_explained_variance", "test_vae_r2")
# The lines that report what omarl chose, each with a short form
CHOICES = {
    r"they end after (\d+ steps) \((.*?)\)": r"episodes of \1 (\2)",
    r"(?:length|time): .*?, so (.*?);": r"\1",
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
    r2: str
    seconds: float
    result: str


def versions(packages: Iterable[str], python: str) -> str:
    """The installed versions of packages, for the interpreter ``python``."""
    code = ("import importlib.metadata as m, sys\n"
            "for p in sys.argv[1:]:\n"
            "    try: print(p, m.version(p))\n"
            "    except m.PackageNotFoundError: print(p, '(not installed)')")  # fmt: skip
    result = subprocess.run([python, "-c", code, *packages], capture_output=True, text=True, check=True)
    return ", ".join(result.stdout.splitlines())


def trained(key: str, options: argparse.Namespace, folder: Path) -> tuple[str, float, bool]:
    """The output of a training, the seconds that it took, and whether it was stopped."""
    words = ["with", f"env_args.key={key}", f"t_max={options.steps}", f"max_seconds={options.seconds:g}",
             f"local_results_path={folder}", "seed=1"]  # fmt: skip
    command = [options.python, str(ROOT / "main.py"), "--config=omg_vae", *words]
    begun, stopped = time.monotonic(), False
    with (folder / "output").open("w+", encoding="utf-8") as output:
        process = subprocess.Popen(command, stdout=output, stderr=subprocess.STDOUT, start_new_session=True, cwd=ROOT)
        for limit, number in ((LIMIT - GRACE, signal.SIGTERM), (GRACE, signal.SIGKILL)):
            try:
                process.wait(limit)
                break
            except subprocess.TimeoutExpired:
                stopped = True
                os.killpg(process.pid, number)
        process.wait()
        output.seek(0)
        return output.read(), time.monotonic() - begun, stopped


def row(key: str, package: str, options: argparse.Namespace) -> Row:
    with tempfile.TemporaryDirectory() as name:
        output, taken, stopped = trained(key, options, Path(name))
        explained, r2 = (first_and_last(Path(name), metric) for metric in MEASURES)
    start = re.search(r" on \S+ \((.*?): .*\), episodes of at most (\d+) steps", output)
    summary = re.search(r"(\d+) environment steps, \d+ episodes, (\d+) updates", output)
    done, updates = summary.groups() if summary else ("", "")
    choices = [match.expand(short) for line, short in CHOICES.items() for match in re.finditer(line, output)]
    interface = f"{start[1]}; {start[2]} steps" if start else ""
    packages = [name for name in (package, ALSO.get(package), ALSO.get(key)) if name]
    return Row(key, versions(packages, options.python), interface, "; ".join(choices), done, updates, explained, r2,
               taken, result(output, updates, stopped))  # fmt: skip


def result(output: str, updates: str, stopped: bool) -> str:
    """One phrase: trained, no update and the line about it, the error, or a fault."""
    if "Traceback (most recent call last)" in output:
        return "TRACEBACK"
    if error := re.search(r"^error: (?!XDG_RUNTIME_DIR)(.*)", output, re.M):
        return error[1]
    ending = " (stopped)" if stopped else ""
    if updates in ("", "0"):
        reason = re.search(r"no update before .*", output)
        return f"no update{ending}" + (f": {reason[0]}" if reason else "")
    return f"trained{ending}"


def first_and_last(folder: Path, metric: str) -> str:
    """The first and the last value of a metric of the run in ``folder``."""
    for file in folder.rglob("metrics.jsonl"):
        with suppress(OmarlError, LookupError):
            values = read_metrics(file.parent)[metric].value
            return f"{values[0]:.2f} → {values[-1]:.2f}"
    return ""


def lines_in(file: Path) -> dict[str, str]:
    """The lines of an earlier table, by key."""
    text = file.read_text(encoding="utf-8") if file.is_file() else ""
    return {match[1]: match[0] for match in re.finditer(r"^\| `(.*?)` \|.*$", text, re.M)}


def note_in(file: Path) -> str:
    """The note of an earlier page."""
    text = file.read_text(encoding="utf-8") if file.is_file() else ""
    found = re.search(re.escape(BEFORE_NOTE) + r"\n(.*?)\n\n\| key", text, re.S)
    return found[1] if found else ""


def line_of(each: Row) -> str:
    """A line of the table; a bar would end a cell, and brackets would make a link."""
    cells = (re.sub(r"([|\[\]])", r"\\\1", cell) for cell in (*each[1:8], f"{each.seconds:.0f}", each.result))
    return f"| `{each.key}` | " + " | ".join(cells) + " |"


def is_rising(line: str, column: int) -> bool:
    """Whether the number in a column of a line rose and was positive in the end."""
    values = re.fullmatch(r"(-?[\d.]+) → (-?[\d.]+)", line.split(" | ")[column])
    return values is not None and float(values[2]) > max(float(values[1]), 0.0)


def table(rows: list[str], options: argparse.Namespace) -> str:
    happy = [line for line in rows if "| trained" in line]
    explained, better = (sum(is_rising(line, column) for line in happy) for column in (VARIANCE, R2))
    packages = sum(any(f"| `{key}` |" in line for key in keys for line in rows) for keys in KEYS.values())
    lines = [
        "# Environments with nothing but their key",
        "",
        f"`benchmarks/environments.py --steps {options.steps} --seconds {options.seconds:g}` made this table. Each",
        f"line is the command `omarl --config=omg_vae with env_args.key=KEY t_max={options.steps} "
        f"max_seconds={options.seconds:g}`.",
        "It ends at that number of environment steps, or so many seconds after its first test, and at the latest",
        f"{LIMIT} seconds after its start.",
        "",
        f"- {len(rows)} environments of {packages} packages were tried.",
        f"- {len(happy)} trained, with updates.",
        f"- In {explained} of these, the explained variance of the VAE on test episodes rose from the first to the",
        f"  last test, and was positive there. The same holds for the out-of-sample R² in {better}, where it",
        "  was measured. [Metrics](metrics.md) defines both.",
        f"- {len(rows) - len(happy)} ended without an update; the last column has the line that says why.",
        "",
        "The runs are short: a line shows that an environment can be played and trained in, not how well it is",
        BEFORE_NOTE,
        *([options.note] if options.note else []),
        "",
        "| key | package | interface; longest episode | chosen by omarl | steps | updates | explained variance "
        "| out-of-sample R² | s | result |",
        "|---|---|---|---|---|---|---|---|---|---|",
    ]
    return "\n".join([*lines, *rows]) + "\n"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", nargs="+", default=[""], help="environments with one of these texts in their key")
    parser.add_argument("--missing", action="store_true", help="only environments that have no line yet")
    parser.add_argument("--steps", type=int, default=10_000)
    parser.add_argument("--seconds", type=float, default=120)
    parser.add_argument("--jobs", type=int, default=1, help="environments at a time")
    parser.add_argument("--python", default=sys.executable, help="interpreter that has the packages")
    parser.add_argument("--note", default="", help="about the machine; by default the earlier page's")
    parser.add_argument("--out", type=Path, default=ROOT / "docs/environments.md")
    options = parser.parse_args()
    lines = lines_in(options.out)  # of environments that are not run again
    options.note = options.note or note_in(options.out)
    pairs = [(key, package) for package, keys in KEYS.items() for key in keys
             if any(text in key for text in options.only) and not (options.missing and key in lines)]  # fmt: skip

    def run(pair: tuple[str, str]) -> str:
        return line_of(row(*pair, options))

    with ThreadPoolExecutor(options.jobs) as pool:
        for (key, _), line in zip(pairs, pool.map(run, pairs), strict=True):
            lines[key] = line
            print(line, flush=True)
            known = [lines[name] for names in KEYS.values() for name in names if name in lines]
            options.out.write_text(table(known, options), encoding="utf-8")


if __name__ == "__main__":
    main()
