"""Every opponent model in eleven environments without a pool: trains, is tested on held-out opponents, and replayed.

    python benchmarks/opponents_anywhere.py --out docs/opponents-anywhere.md

writes the table. Runs are short: the table shows that they work, not how well.
"""

import argparse
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

ALGORITHMS = ("naive_om", "liam", "omg_ppo", "omg", "place_prediction", "object_prediction")
SHORT = {"episode_limit": 50}
ENVIRONMENTS: dict[str, dict[str, Any]] = {
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
}
TESTED = ("test_model_action_accuracy", "test_omg_hit_ratio")  # a model logs one of them, or none
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
    numbers = f"return {metrics['test_return_mean'].values[-1]:.2f}"
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
    works = [name for name in ALGORITHMS if not any(of[name].refusal for of in results.values())]
    refusals = sorted({of[name].refusal for of in results.values() for name in ALGORITHMS} - {""})
    lines = [
        "# Opponent models in any environment",
        "",
        f"`benchmarks/opponents_anywhere.py` made this table: each opponent model, without a pool, for {t_max:,}",
        "steps in 32 copies, one seed. The first run in an environment makes the small pool, which the others use.",
        "Returns are against held-out opponents, at the last test; in parentheses are the CPU seconds of a run with",
        "its tests and `replay`, and of the pool where it was made. Short runs show that everything works, not how",
        f"well. {', '.join(works)} run in all {len(results)} environments.",
        *(f'`object_prediction` elsewhere: "{refusal}".' for refusal in refusals),
        "",
        f"| environment | opponents | {' | '.join(ALGORITHMS)} | replay |",
        f"|{'---|' * (len(ALGORITHMS) + 3)}",
    ]
    for key, of in results.items():
        opponents = next((result.opponents for result in of.values() if result.opponents), "")
        replays = {result.replayed for result in of.values() if result.replayed}
        cells = [key, opponents, *(of[name].text for name in ALGORITHMS), ", ".join(sorted(replays))]
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join([*lines, ""])


def main() -> None:
    """Reads the arguments, runs everything, and writes the page."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--out", type=Path, help="the page; printed if not given")
    parser.add_argument("--t_max", type=int, default=4000)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--only", nargs="*", default=list(ENVIRONMENTS), help="environments")
    asked = parser.parse_args()
    results: dict[str, dict[str, Result]] = {}
    with TemporaryDirectory() as folder:
        for key in asked.only:
            env = {"key": key, **ENVIRONMENTS.get(key, {})}
            results[key] = {}
            for name in ALGORITHMS:
                results[key][name] = run_one(name, env, Path(folder), asked.seed, asked.t_max)
                print(key, name, results[key][name], flush=True)
            page = table(results, asked.t_max)
            if asked.out:
                asked.out.write_text(page)
    if not asked.out:
        print(page)


if __name__ == "__main__":
    main()
