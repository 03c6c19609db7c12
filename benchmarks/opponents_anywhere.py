"""Every opponent model in 13 environments without a pool: trains, is tested on held-out opponents, and replayed.

    python benchmarks/opponents_anywhere.py [--only ENVIRONMENT ...] [--models NAME ...]

runs these cells of the table, all by default, stores them beside this file and writes the page. Runs are short: the
table shows that they work, not how well.
"""

import argparse
import json
import logging
import time
from collections.abc import Mapping
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, NamedTuple

import omarl
import yaml
from omarl.configuration.request import from_keywords
from omarl.replay import replay
from omarl.utils.metrics import Logger

HERE = Path(__file__).parent
CELLS, PAGE = HERE / "opponents_anywhere.json", HERE.parent / "docs" / "opponents-anywhere.md"
ALGORITHMS = ("naive_om", "liam", "omg_ppo", "omg", "place_prediction", "object_prediction")
SHORT = {"episode_limit": 50}
BOX = {"continuous_actions": True}
ENVIRONMENTS: dict[str, dict[str, Any]] = {  # the words behind a comma are not part of the key
    "mpe2.simple_spread_v3": {},
    "mpe2.simple_tag_v3": {},
    "mpe2.simple_adversary_v3": {},
    "mpe2.simple_speaker_listener_v4": {},
    "mpe2.simple_world_comm_v3": {},
    "classic/tictactoe-v3": {},
    "classic/connect_four-v3": {},
    "classic/rps-v2": {},
    "butterfly/knights_archers_zombies-v11": SHORT,
    "lbforaging:Foraging-8x8-2p-3f-v3": {},
    "rware:rware-tiny-2ag-v2": SHORT,
    "mpe2.simple_spread_v3, Box": BOX,
    "mpe2.simple_tag_v3, Box": BOX,
}
# a model logs one of them, or none
TESTED = ("test_model_action_accuracy", "test_model_action_nll", "test_omg_hit_ratio")
LOG = logging.getLogger("opponents_anywhere")


class Result(NamedTuple):
    """What one model did in one environment."""

    text: str  # for its cell of the table
    opponents: str = ""
    replayed: str = ""
    refusal: str = ""  # the error of omarl; empty: it ran


def opponents_of(pool: Path) -> str:
    """The families and numbers of the members that a pool has for training and for tests."""
    members = yaml.safe_load((pool / "pool.yaml").read_text())["opponents"]
    count = {split: sum(member["split"] == split for member in members) for split in ("train", "test")}
    families = ", ".join(dict.fromkeys(member["family"] for member in members))
    return f"{families}: {count['train']} to train, {count['test']} held out"


def run_one(algorithm: str, arguments: Mapping[str, Any], results: Path, seed: int, t_max: int) -> Result:
    """Trains, tests and replays one model; an error of omarl is its result."""
    begun = time.process_time()
    try:
        run = omarl.train(
            algorithm, env=dict(arguments), seed=seed, t_max=t_max, batch_size_run=32, test_interval=t_max,
            test_nepisode=12, env_workers=0, use_tensorboard=False, local_results_path=str(results),
        )  # fmt: skip
    except omarl.OmarlError as error:
        return Result("refused", refusal=str(error))
    metrics, config = run.metrics, omarl.evaluate(run, episodes=2)
    numbers = "" if run.config["name"] == algorithm else f"as {run.config['name']}: "
    numbers += f"return {metrics['test_return_mean'].values[-1]:.2f}"
    for name in TESTED:
        if name in metrics:
            numbers += f", {name.removeprefix('test_')} {metrics[name].values[-1]:.2f}"
    assert config.by_opponent, "tests are against opponents"
    checkpoint = max((run.path / "checkpoints").iterdir(), key=lambda path: int(path.name))
    values = from_keywords({"checkpoint_path": checkpoint}, command="replay").values
    try:
        film = replay({**values, "seed": seed, "out": str(run.path / "film"), "opponent": ""}, Logger(LOG))
        replayed = "yes" if film else "no"
    except omarl.OmarlError as error:
        replayed = f"refused: {error}"
    return Result(f"{numbers} ({time.process_time() - begun:.0f} s)", opponents_of(Path(values["pool"])), replayed)


def table(results: Mapping[str, Mapping[str, Result]], t_max: int) -> str:
    """The page."""
    works = [name for name in ALGORITHMS if all(name in of and not of[name].refusal for of in results.values())]
    refusals = sorted({(name, of[name].refusal) for of in results.values() for name in of if of[name].refusal})
    lines = [
        "# Opponent models in any environment",
        "",
        f"`benchmarks/opponents_anywhere.py` made this table: each opponent model, without a pool, for {t_max:,}",
        "steps in 32 copies, one seed. The first run in an environment makes the small pool, which the others use.",
        "Returns are against held-out opponents, at the last test; in parentheses are the CPU seconds of a run with",
        "its tests and `replay`, and of the pool where it was made. Short runs show that everything works, not how",
        f"well. {', '.join(works)} run in all {len(results)} environments.",
        "Where no objects are known, `object_prediction` is `place_prediction`, and says so.",
        *([] if all(name in of for of in results.values() for name in ALGORITHMS) else ["Empty cells were not run."]),
        *(f'Refused, `{name}`: "{refusal}".' for name, refusal in refusals),
        "",
        f"| environment | opponents | {' | '.join(ALGORITHMS)} | replay |",
        f"|{'---|' * (len(ALGORITHMS) + 3)}",
    ]
    for label, of in results.items():
        opponents = next((result.opponents for result in of.values() if result.opponents), "")
        replays = {result.replayed for result in of.values() if result.replayed}
        texts = [of[name].text if name in of else "" for name in ALGORITHMS]
        lines.append(f"| {' | '.join([label, opponents, *texts, ', '.join(sorted(replays))])} |")
    return "\n".join([*lines, ""])


def stored() -> dict[str, dict[str, Result]]:
    """The cells that were run before."""
    cells = json.loads(CELLS.read_text()) if CELLS.is_file() else {}
    return {label: {name: Result(*cell) for name, cell in cells.get(label, {}).items()} for label in ENVIRONMENTS}


def main() -> None:
    """Reads the arguments, runs the cells, and writes the page."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--t_max", type=int, default=4000)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--only", nargs="*", default=list(ENVIRONMENTS), help="environments")
    parser.add_argument("--models", nargs="*", default=list(ALGORITHMS), help="opponent models")
    asked = parser.parse_args()
    results = stored()
    with TemporaryDirectory() as folder:
        for label in asked.only:
            env = {"key": label.partition(",")[0], **ENVIRONMENTS[label]}
            for name in asked.models:
                results[label][name] = run_one(name, env, Path(folder), asked.seed, asked.t_max)
                print(label, name, results[label][name], flush=True)
                CELLS.write_text(json.dumps(results, indent=1) + "\n")
    PAGE.write_text(table(results, asked.t_max))


if __name__ == "__main__":
    main()
