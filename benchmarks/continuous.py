"""Learning curves with continuous actions: our IPPO beside PPO of Stable-Baselines3 with SuperSuit.

    python benchmarks/continuous.py ours   --results FOLDER [--tasks ...] [--seeds 5] [--steps 100000] [--keys ...]
    python benchmarks/continuous.py theirs --results FOLDER [...]
    python benchmarks/continuous.py table  --results FOLDER [--tasks ...]

Existing results in the folder are not repeated. ``--keys`` are further keys of our runs (``gamma=0.99``).
``table`` writes ``benchmarks/continuous/continuous.{md,png}``.

Equal in both: the environment, its steps, ``COPIES`` copies, parameters shared by all agents, one test of
``EPISODES`` episodes with the policy's mean at every tenth of the run. Everything else is each framework's own
default, with one exception: Stable-Baselines3 makes an update for rollouts of ``ROLLOUT`` steps of each copy, since
its 2,048 would leave three updates. Its gamma is 0.99; ours is 0.96 where episodes have 25 steps (simple_spread and
simple_tag; docs/configuration.md) and 0.99 in multiwalker. The prey of simple_tag is scripted (tag_with_prey.py): one
network of Stable-Baselines3 cannot be two teams, and the returns of two learning teams say nothing about either.
"""

from __future__ import annotations

import argparse
import importlib
import json
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import matplotlib.pyplot as plt
import numpy as np
import omarl
from omarl.analysis.statistics import mean_interval

ROOT = Path(__file__).parents[1]
OUT = Path(__file__).parent / "continuous"
COPIES, ROLLOUT, EPISODES, TESTS = 16, 125, 32, 10
BOX = {"continuous_actions": True}
TASKS: dict[str, tuple[str, dict[str, Any]]] = {
    "simple_spread": ("mpe2.simple_spread_v3", BOX),
    "simple_tag": ("benchmarks.tag_with_prey", BOX),
    "multiwalker": ("pettingzoo.sisl.multiwalker_v9", {}),
}


def ours(task: str, seed: int, steps: int, place: Path, more: list[str]) -> list[list[float]]:
    """Steps and mean test returns of our IPPO, with further keys; returns are summed over agents."""
    key, arguments = TASKS[task]
    keys = {"env_args.key": key, **{f"env_args.{name}": value for name, value in arguments.items()}, "t_max": steps,
            "seed": seed, "batch_size_run": COPIES, "share_parameters": "all",
            "test_interval": steps // TESTS, "test_nepisode": EPISODES, "test_greedy": True, "save_model": False,
            "use_tensorboard": False, "local_results_path": place}  # fmt: skip
    words = [*(f"{name}={value}" for name, value in keys.items()), *more]
    subprocess.run([sys.executable, "main.py", "--config=ippo", "with", *words], cwd=ROOT, check=True)
    (file,) = place.glob("sacred/**/metrics.jsonl")
    metric = omarl.Run(file.parent).metrics["test_return_mean"]
    return [list(map(float, metric.steps)), list(map(float, metric.values))]


def theirs(task: str, seed: int, steps: int, place: Path, more: list[str]) -> list[list[float]]:
    """The same of Stable-Baselines3's PPO, to whom every agent of every copy is one environment; without ``more``."""
    import supersuit
    from stable_baselines3 import PPO
    from stable_baselines3.common.utils import set_random_seed

    sys.path.append(str(ROOT))
    key, arguments = TASKS[task]
    make = importlib.import_module(key).parallel_env
    single = make(**arguments)
    vec = supersuit.pettingzoo_env_to_vec_env_v1(supersuit.black_death_v3(single))
    vec = supersuit.concat_vec_envs_v1(vec, COPIES, num_cpus=0, base_class="stable_baselines3")
    set_random_seed(seed)
    vec.venv.reset(seed=seed)  # SuperSuit's has no ``seed``; later resets continue these generators
    agents = len(single.possible_agents)
    model = PPO("MlpPolicy", vec, n_steps=ROLLOUT, batch_size=COPIES * ROLLOUT * agents // 8, device="cpu")
    tested = make(**arguments)
    curve = [[0.0], [mean_return(model, tested, 0)]]
    for test in range(1, TESTS + 1):
        model.learn(test * steps * agents // TESTS - model.num_timesteps, reset_num_timesteps=False)
        curve[0].append(model.num_timesteps / agents)
        curve[1].append(mean_return(model, tested, test))
    vec.close()
    return curve


def mean_return(model: Any, env: Any, test: int) -> float:
    """The mean return of ``EPISODES`` episodes, summed over agents."""
    total = 0.0
    for episode in range(EPISODES):
        observations, _ = env.reset(seed=10_000 * test + episode)
        while env.agents:
            actions, _ = model.predict(np.stack([observations[name] for name in env.agents]), deterministic=True)
            acts = dict(zip(env.agents, actions, strict=True))
            observations, rewards, *_ = env.step(acts)
            total += float(sum(rewards.values()))
    return total / EPISODES


def run(what: str, task: str, seed: int, steps: int, results: Path, more: list[str]) -> None:
    """Makes one run unless its file exists."""
    file = results / what / task / f"{seed}.json"
    if file.is_file():
        return
    file.parent.mkdir(parents=True, exist_ok=True)
    begun = time.process_time()
    place = results / "runs" / f"{task}_{seed}"
    curve = {"ours": ours, "theirs": theirs}[what](task, seed, steps, place, more)
    file.write_text(json.dumps(curve), encoding="utf-8")
    print(file, f"{curve[1][-1]:.2f}", f"{time.process_time() - begun:.0f} s of this process", flush=True)


def table(tasks: list[str], results: Path) -> None:
    """Writes the table and the picture of what is there."""
    OUT.mkdir(exist_ok=True)
    names = {"ours": "omarl ippo", "theirs": "Stable-Baselines3 PPO"}
    present = [task for task in tasks if all(list((results / what / task).glob("*.json")) for what in names)]
    size = 4.2 * len(present), 3.2
    figure, axes = plt.subplots(1, len(present), figsize=size, squeeze=False, layout="constrained")
    setting = str(__doc__).split("\n\n")[3]
    for name in ("COPIES", "EPISODES", "ROLLOUT"):
        setting = setting.replace(f"``{name}``", str(globals()[name]))
    lines = ["# Continuous actions", "", *setting.splitlines(), "",
             "Test returns, summed over agents, with 95% intervals over seeds (Student's t): of the last test, and "
             "in brackets the mean over all tests after the first.", "",
             "| environment | steps | seeds | omarl ippo | Stable-Baselines3 PPO |",
             "|---|---|---|---|---|"]  # fmt: skip
    for axis, task in zip(axes[0], present, strict=True):
        cells = []
        for what, name in names.items():
            files = sorted((results / what / task).glob("*.json"))
            curves = np.array([json.loads(file.read_text(encoding="utf-8")) for file in files])  # [seed, 2, test]
            means = [mean_interval(values) for values in curves[:, 1].T]
            steps = curves[:, 0].mean(axis=0)
            axis.plot(steps, [mean.point for mean in means], label=name)
            axis.fill_between(steps, [mean.low for mean in means], [mean.high for mean in means], alpha=0.2)
            last, run = means[-1], mean_interval(curves[:, 1, 1:].mean(axis=1))
            cells += [f"{last.point:.1f} [{last.low:.1f}, {last.high:.1f}] "
                      f"({run.point:.1f} [{run.low:.1f}, {run.high:.1f}])"]  # fmt: skip
        lines.append(f"| {task} | {int(steps[-1]):,} | {len(files)} | {' | '.join(cells)} |")
        axis.set(title=task, xlabel="environment steps", ylabel="test return")
        axis.legend(fontsize="small")
    figure.savefig(OUT / "continuous.png", dpi=100)
    text = "\n".join([*lines, "", "![learning curves](continuous.png)", ""])
    (OUT / "continuous.md").write_text(text, encoding="utf-8")


def main() -> None:
    """Runs the command line that the module describes."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=["ours", "theirs", "table"])
    parser.add_argument("--tasks", nargs="+", choices=TASKS, default=list(TASKS))
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--steps", type=int, default=100_000)
    parser.add_argument("--keys", nargs="+", default=[], metavar="KEY=VALUE")
    parser.add_argument("--results", type=Path, required=True)
    args = parser.parse_args()
    results = args.results.resolve()
    if args.what == "table":
        table(args.tasks, results)
        return
    for seed in range(1, args.seeds + 1):
        for task in args.tasks:
            run(args.what, task, seed, args.steps, results, args.keys)


if __name__ == "__main__":
    main()
