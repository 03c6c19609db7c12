"""Trains with JaxMARL's IPPO and prints its learning curve, the peer's figures of ``learning/jaxmarl.md``.

    PYTHON benchmarks/jaxmarl_learning.py smax CHECKOUT [--map 3m] [--steps 2000000] [--seed 1]
    PYTHON benchmarks/jaxmarl_learning.py overcooked CHECKOUT [--map cramped_room] [...]

PYTHON has jaxmarl, distrax and the packages of its baselines; CHECKOUT is JaxMARL's repository (tested at c793d09).
Settings are those of the checkout's ``ippo_rnn_smax.yaml`` or ``ippo_ff_overcooked.yaml``, but for the map, the
number of steps, and the horizon of Overcooked's shaped reward, half of the steps.

Prints one line of JSON: the environment steps, and the mean over the episodes that ended in the rollout before, of
sampled actions: won episodes (SMAX), or the return summed over both agents, without the shaped reward (Overcooked).
"""

from __future__ import annotations

import argparse
import importlib
import json
import sys
import time
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import jax
import yaml

BASELINES = {"smax": "ippo_rnn_smax", "overcooked": "ippo_ff_overcooked"}
LENGTH, AGENTS = 400, 2  # of Overcooked's episodes


def main() -> None:
    """See the module."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("task", choices=sorted(BASELINES))
    parser.add_argument("checkout", type=Path)
    parser.add_argument("--map")
    parser.add_argument("--steps", type=int, default=2_000_000)
    parser.add_argument("--seed", type=int, default=1)
    args = parser.parse_args()
    folder, name = args.checkout / "baselines" / "IPPO", BASELINES[args.task]
    sys.path.insert(0, str(folder))
    baseline: Any = importlib.import_module(name)
    config = yaml.safe_load((folder / "config" / f"{name}.yaml").read_text(encoding="utf-8"))
    config |= {key: float(config[key]) for key in ("TOTAL_TIMESTEPS", "REW_SHAPING_HORIZON") if key in config}
    config["TOTAL_TIMESTEPS"] = args.steps
    curve: list[list[float]] = []
    if args.task == "smax":
        config["MAP_NAME"] = args.map or "3m"
        log = lambda row: curve.append([float(row["env_step"]), float(row["win_rate"])])  # noqa: E731
    else:
        config["ENV_KWARGS"]["layout"] = baseline.overcooked_layouts[args.map or "cramped_room"]
        config["REW_SHAPING_HORIZON"] = args.steps / 2
        log = lambda row: curve.append([float(row["env_step"]), LENGTH * AGENTS * float(row["reward"])])  # noqa: E731
    baseline.wandb = SimpleNamespace(log=log)
    begun = time.perf_counter()
    jax.block_until_ready(jax.jit(baseline.make_train(config))(jax.random.PRNGKey(args.seed)))
    print(json.dumps({"seconds": time.perf_counter() - begun, "curve": curve}))


if __name__ == "__main__":
    main()
