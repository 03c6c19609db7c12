"""Trains with JaxMARL's baseline and prints its environment steps per second; for ``speed_jaxmarl.py``.

    PYTHON benchmarks/jaxmarl_training.py iql|vdn|qmix CHECKOUT [--units 64] [--steps 100000]

PYTHON has jaxmarl and the packages of its baselines; CHECKOUT is JaxMARL's repository (tested at c793d09). The
settings are those of the checkout's ``ql_rnn_mpe.yaml``, without tests, and with learning from step 1,000. Prints one
line of JSON: the seconds of compilation, which the rate excludes, and the rate.
"""

import argparse
import copy
import importlib
import json
import sys
import time
from pathlib import Path
from typing import Any

import jax
import yaml


def main() -> None:
    """See the module."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("algorithm", choices=["iql", "vdn", "qmix"])
    parser.add_argument("checkout", type=Path)
    parser.add_argument("--units", type=int, default=64)
    parser.add_argument("--steps", type=int, default=100_000)
    args = parser.parse_args()
    folder = args.checkout / "baselines" / "QLearning"
    sys.path.insert(0, str(folder))
    baseline: Any = importlib.import_module(f"{args.algorithm}_rnn")
    config = yaml.safe_load((folder / "config" / "alg" / "ql_rnn_mpe.yaml").read_text(encoding="utf-8"))
    config |= {"TOTAL_TIMESTEPS": args.steps, "HIDDEN_SIZE": args.units, "LEARNING_STARTS": 1000,
               "TEST_DURING_TRAINING": False, "WANDB_MODE": "disabled"}  # fmt: skip
    env = baseline.env_from_config(copy.deepcopy(config))[0]
    begun = time.perf_counter()
    train = jax.jit(baseline.make_train(config, env)).lower(jax.random.PRNGKey(0)).compile()
    compiled = time.perf_counter()
    jax.block_until_ready(train(jax.random.PRNGKey(1)))
    rate = args.steps / (time.perf_counter() - compiled)
    print(json.dumps({"compilation": compiled - begun, "rate": rate}))


if __name__ == "__main__":
    main()
