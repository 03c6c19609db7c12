"""OMG and what it must beat: who learns how much against opponents never met, and how much there is to be learned.

    python benchmarks/omg.py run   [--tasks ...] [--arms ...] [--seeds 10] [--steps N] [--jobs 2] --results FOLDER
    python benchmarks/omg.py table [--tasks ...] [--steps N] --results FOLDER
    python benchmarks/omg.py tune  [--tasks ...] [--arms ...] [--seeds 10] [--steps N] [--jobs 2] --results FOLDER

``run`` makes each task's pool and subgoal prior where they are missing, then one run for each arm and seed (those
there already are not repeated), and tests it once more at its end, with 4,800 episodes. ``table`` writes
``benchmarks/omg/<task>.{md,png}`` and, of the paper's choices, ``<task>_choices.{md,png}``: interquartile means over
seeds with 95% intervals. ``tune`` runs ``SETTINGS`` and tests them with the opponents to choose by; ``table`` writes
those of them that are there to ``<task>_tuning.md``. Runs and tables of other than the usual ``--steps`` go by the
task and its length, as ``<task>_1M``.

A pool has 10 scripts to train with and 30 opponents to test with: 20 other scripts, and teams that were trained
together, 3 by IPPO and 2 by PQN (predators and prey) or MAPPO (foraging), at two ages each. Settings are chosen by
14 more: 10 scripts and 2 teams, at two ages.
"""

from __future__ import annotations

import argparse
import csv
import json
import os
import shutil
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, NamedTuple

from omarl.analysis.statistics import stratified_bootstrap_interval
from omarl.opponents import foraging as foraging_scripts
from omarl.opponents import tag as tag_scripts

HERE = Path(__file__).parent
ROOT = HERE.parent
PPO_TEAMS = (("ippo", 3), ("ippo", 4), ("ippo", 5), ("ippo", 6))
SEEDS = 10
RETEST = 4800  # episodes with which a finished run is tested once more: 160 with each opponent
MATURE = 1_000_000  # steps of teams that become opponents; the younger ones have half


class Task(NamedTuple):
    """An environment, the scripts that are met in it, and how long runs are."""

    env_config: str
    words: tuple[str, ...]
    train: tuple[str, ...]
    validation: tuple[str, ...]
    test: tuple[str, ...]
    seen: str
    has_end: bool  # which learners may reach before time is up
    mode: str
    steps: int
    teams: tuple[tuple[str, int], ...]  # who becomes an opponent: algorithm and seed
    team_words: tuple[str, ...] = ()
    about: str = "*"  # the opponents whom models are about


def foraging(key: str, mode: str, *words: str, steps: int = 1_000_000) -> Task:
    """A foraging task."""
    own = (f"env_args.key=lbforaging:{key}", "env_args.backend=batched", "gamma=0.97")
    test = ("second_nearest", "follower", "first", "last", "east", "centre", "contested", "diagonal", "south_west",
            "highest_level")  # fmt: skip
    return Task(
        "foraging",
        (*own, *words),
        foraging_scripts.TRAIN,
        tuple(f"{script}:0.2" for script in foraging_scripts.TRAIN),
        (*test, *(f"{script}:0.2" for script in test)),
        "offsets,actions",
        True,
        mode,
        steps,
        (*PPO_TEAMS, ("mappo", 1), ("mappo", 2), ("mappo", 3)),
        ("hidden_dim=128", "layer_norm=True", "critic_layer_norm=True"),  # else they hardly meet at a food
    )


def tag(
    train: tuple[str, ...], validation: tuple[str, ...], test: tuple[str, ...], steps: int, about: str = "*"
) -> Task:
    """Predators and prey, of whom one predator learns."""
    words = ("env_args.key=mpe2.simple_tag_v3", "env_args.max_cycles=50", "env_args.backend=batched",
             "omg_learners=adversary_0", "gamma=0.95")  # fmt: skip
    teams = (*PPO_TEAMS, ("pqn", 1), ("pqn", 2), ("pqn", 3))
    return Task("simple_tag", words, train, validation, test, "actions", False, "optimistic", steps, teams,
                about=about)  # fmt: skip


TASKS = {
    "patrol": tag(
        ("guard+pair_corners", "centre+pair_sides", "follow+pair_any", "circle+triple_corners", "inside+triple_sides",
         "guard+triple_any", "centre+back_corners", "follow+back_sides", "circle+pair_any", "inside+triple_any"),
        ("centre+pair_any", "follow+triple_any", "guard+back_any", "circle+quad_corners", "inside+pair_corners",
         "centre+quad_any", "follow+pair_sides", "guard+quad_sides", "circle+back_corners", "inside+back_any"),
        # other predators with the same patrols; patrols, then predators, that are never met in training
        ("inside+pair_any", "guard+pair_any", "circle+triple_any", "centre+triple_any", "centre+triple_corners",
         "follow+triple_sides", "guard+back_corners", "circle+back_sides", "centre+back_any", "follow+back_any",
         "circle+back_any", "inside+quad_any", "follow+quad_any", "circle+quad_sides", "follow+quad_corners",
         "chase+pair_any", "ambush+triple_any", "late+back_any", "chase+back_corners", "ambush+pair_sides"),
        steps=1_000_000, about="agent_0"),
    "predator_prey": tag(
        tag_scripts.TRAIN,
        ("circle+windmill", "inside+windmill", "guard+elbow", "follow+elbow", "centre+hook", "circle+hook",
         "guard+bow", "follow+bow", "centre+arrow", "inside+arrow"),
        ("guard+anticlockwise", "centre+anticlockwise", "circle+anticlockwise", "guard+hourglass",
         "follow+hourglass", "inside+hourglass", "centre+east_side", "follow+east_side", "circle+east_side",
         "guard+south_side", "centre+south_side", "inside+south_side", "guard+falling", "circle+falling",
         "follow+falling", "centre+stray", "follow+stray", "inside+stray", "circle+stray_sides",
         "inside+stray_sides"),
        steps=2_000_000, about="agent_0"),
    "coop_deadline": foraging("Foraging-8x8-2p-4f-coop-v3", "optimistic", "env_args.episode_limit=20",
                              steps=2_000_000),
    "foraging": foraging("Foraging-8x8-2p-3f-v3", "optimistic"),
    "competitive": foraging("Foraging-8x8-2p-3f-v3", "conservative", "env_args.max_food_level=[1,1,1]"),
}  # fmt: skip
STEPS = {name: task.steps for name, task in TASKS.items()}  # the usual ones


def called(name: str) -> str:
    """What a task's runs and tables go by: its length too, where that is not the usual one."""
    steps = TASKS[name].steps
    return name if steps == STEPS[name] else f"{name}_{steps / 1e6:g}M"


class Arm(NamedTuple):
    """An algorithm, what it is told beside what is seen, and its words."""

    alg: str
    told: str = ""
    words: tuple[str, ...] = ()


ARMS = {
    "base": Arm("ppo_history", "blind"),
    "history": Arm("ppo_history"),
    "naive_om": Arm("naive_om"),
    "liam": Arm("liam"),
    "omg": Arm("omg_ppo"),
    "omg_categorical": Arm("omg_categorical"),
    "bayes": Arm("ppo_history", "belief"),
    "next_actions": Arm("ppo_history", "next_actions"),
    "oracle": Arm("ppo_history", "goal"),
}
CHOICES = {  # the paper's ablations, beside "omg"
    "inference=mlp": ("omg_inference=mlp",),
    "selection=random": ("omg_selection=random",),
    "selection=next": ("omg_selection=next",),
    "selection=third": ("omg_selection=third",),
    "input=inferred": ("omg_input=inferred",),
    "input=prior": ("omg_input=prior",),
    "H=1": ("omg_horizon=1",),
    "H=3": ("omg_horizon=3",),
    "H=5": ("omg_horizon=5",),
    "mode=conservative": ("omg_mode=conservative",),
}
# the other models with all that OMG's categorical form is given: what they are taught from, and where they are told
AIDS = ("model_memory=20", "model_window=2", "model_epochs=4", "model_tau=0.02", "vae_lr=1e-3", "condition_at=input")
AIDED = {f"{name}_aided": Arm(name, words=AIDS) for name in ("naive_om", "liam")}
ARMS |= AIDED
ARMS |= {name: Arm("omg_ppo", words=words) for name, words in CHOICES.items()}
MODELS = ("naive_om", "liam", "omg_categorical")  # which may be about some opponents; omg_ppo's states are whole
USUAL = [name for name in ARMS if name not in CHOICES and name != "next_actions"]


# What tuning started from, and what it tried: the base's settings first, then each method's own with the best of
# those. The best of all are the defaults.
UNTUNED = "epochs=4 gae_lambda=0.95"
STARTS = {"omg_ppo": "omg_horizon=5", "naive_om": "vae_lr=3e-4"}
TUNED = "epochs=2 gae_lambda=0.8"
SETTINGS = {
    "history": ("", "lr=1e-3", "lr=4e-3", "entropy_coef=0.003", "entropy_coef=0.03", "epochs=8", "epochs=2",
                "rollout_steps=50", "gae_lambda=0.9", "hidden_dim=128", "batch_size_run=64", "minibatches=8",
                "epochs=2 gae_lambda=0.9", "epochs=2 lr=1e-3", "epochs=2 minibatches=2", "epochs=1",
                "epochs=2 entropy_coef=0.03", "epochs=2 gae_lambda=0.8", "epochs=2 hidden_dim=128 lr=1e-3",
                "epochs=2 batch_size_run=256", "epochs=2 gae_lambda=0.9 lr=1e-3", "epochs=2 grad_norm_clip=1",
                "epochs=2 rollout_steps=13", "epochs=2 gae_lambda=0.9 entropy_coef=0.03", "epochs=2 gae_lambda=0.7"),
    **{arm: tuple(f"{TUNED} {own}".strip() for own in ("", *settings)) for arm, settings in {
        "base": (), "bayes": (), "oracle": (),
        "naive_om": ("vae_lr=1e-3", "vae_lr=1e-4", "model_epochs=2", "model_epochs=4", "model_hidden_dim=128",
                     "vae_lr=1e-3 model_epochs=2"),
        "liam": ("vae_lr=1e-3", "vae_lr=1e-4", "model_epochs=2", "liam_code_dim=8", "liam_code_dim=32",
                 "model_hidden_dim=128"),
        "omg": ("omg_horizon=10", "vae_lr=1e-3", "omg_anneal_time=50000", "omg_vae_alpha=0.1", "omg_vae_alpha=1",
                "omg_mode=conservative",
                # six more, tried when the others had been
                "omg_horizon=10 vae_lr=1e-3", "omg_horizon=10 vae_lr=1e-3 model_epochs=4",
                "omg_horizon=10 vae_lr=3e-3 model_epochs=2", "omg_horizon=10 omg_vae_alpha=1 vae_lr=1e-3",
                "omg_horizon=10 vae_lr=1e-3 model_epochs=4 model_hidden_dim=128",
                "omg_input=inferred vae_lr=1e-3"),
    }.items()},
}  # fmt: skip


def main_py(*words: str) -> None:
    """A command, which must succeed."""
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    command = [sys.executable, "main.py", *words]
    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, check=False)
    if done.returncode:
        raise SystemExit(f"main.py {' '.join(words)}\n{done.stdout[-2000:]}{done.stderr[-2000:]}")


def team(name: str, alg: str, seed: int, results: Path) -> Path:
    """A trained team's run, of which half-way and last checkpoints are kept."""
    task, place = TASKS[name], results / "teams" / name / alg / str(seed)
    if not place.is_dir():
        partial = place.with_name(f"{seed}.partial")
        shutil.rmtree(partial, ignore_errors=True)
        friends = task.mode == "optimistic" and task.env_config == "foraging"
        main_py(f"--config={alg}", f"--env-config={task.env_config}", "with", *task.words, *task.team_words,
                f"t_max={MATURE}",
                f"save_model_interval={MATURE // 2}", f"common_reward={friends}", "test_interval=0", f"seed={seed}",
                "use_tensorboard=False", f"local_results_path={partial}")  # fmt: skip
        partial.rename(place)
    (run,) = place.glob("sacred/*/*/1")
    return run


def prepare(name: str, results: Path, jobs: int) -> Path:
    """The task's pool: scripts, trained teams, and a prior from a run of the base against those to train with."""
    task, pool = TASKS[name], results / "pools" / name
    if pool.is_dir():
        return pool
    with ThreadPoolExecutor(jobs) as workers:
        teams = dict(
            zip(task.teams, workers.map(lambda one: str(team(name, *one, results)), task.teams), strict=True)
        )
    task_words = [f"--env-config={task.env_config}", "with", *task.words]
    bare = results / "pools" / f"{name}_bare"
    shutil.rmtree(bare, ignore_errors=True)
    # the last team of each algorithm is one to choose settings by
    chosen_by = {alg: (alg, seed) for alg, seed in task.teams}.values()
    tested = [run for who, run in teams.items() if who not in chosen_by]
    who = [f"scripts=[{','.join(task.train)}]", f"test_scripts=[{','.join(task.test)}]",
           f"test_runs=[{','.join(tested)}]", f"validation_scripts=[{','.join(task.validation)}]",
           f"validation_runs=[{','.join(teams[who] for who in chosen_by)}]", "checkpoints=all"]  # fmt: skip
    main_py("pool", *task_words, *who, f"out={bare}")
    prior = results / "priors" / name
    shutil.rmtree(prior, ignore_errors=True)
    main_py("--config=ppo_history", *task_words, *told(task, ""), f"pool={bare}", "learner=omg_vae_learner",
            "base_learner=ppo_learner", "vae_updates=32", "vae_batch_states=256", "t_max=400000", "seed=100",
            f"local_results_path={prior}")  # fmt: skip
    (run,) = prior.glob("sacred/*/*/1")
    main_py("pool", *task_words, *who, f"out={pool}", f"prior={run}")
    return pool


def told(task: Task, more: str) -> list[str]:
    """What learners are told of their opponents."""
    if more == "blind":
        return [f"opponents_told=[{task.seen.replace('actions', '').strip(',')}]", "use_rnn=False"]
    return [f"opponents_told=[{','.join(filter(None, (task.seen, more)))}]"]


def run(name: str, arm: str, seed: int, results: Path, setting: str | None = None) -> str:
    """One run, unless its folder is there; of a setting to be chosen, or not, by opponents that are kept for it."""
    task, (alg, more, words) = TASKS[name], ARMS[arm]
    place, split, label, settings = results / called(name) / arm / str(seed), "test", arm, ""
    if setting is not None:
        label, settings = f"{arm} {setting}".strip(), " ".join([UNTUNED, STARTS.get(alg, ""), setting])
        place, split = results / f"{called(name)}_tuning" / label / str(seed), "validation"
    if place.is_dir():
        if setting is None:
            retest(place)
        return f"{place}: there"
    partial = place.with_name(f"{seed}.partial")
    shutil.rmtree(partial, ignore_errors=True)
    mode = [f"omg_mode={task.mode}"] if alg.startswith("omg") else []
    mode += [f"model_subjects={task.about}"] if alg in MODELS and task.about != "*" else []
    main_py(f"--config={alg}", f"--env-config={task.env_config}", "with", *task.words, *told(task, more), *mode,
            *words, *settings.split(), f"pool={results / 'pools' / name}", f"split={split}",
            f"t_max={task.steps}", f"test_interval={task.steps // 5}", "test_nepisode=480", f"seed={seed}",
            f"label={label}",
            "use_tensorboard=False", f"local_results_path={partial}")  # fmt: skip
    partial.rename(place)
    if setting is None:
        retest(place)
    return f"{place}: done"


def retest(place: Path) -> None:
    """A finished run's last checkpoint once more, with enough episodes that seeds differ by what was learned."""
    (folder,) = place.glob("sacred/*/*/1")
    if not list(folder.glob("checkpoints/*/evaluation.json")):
        main_py("evaluate", "with", f"checkpoint_path={folder}", f"test_nepisode={RETEST}")


def retested(folder: str, arm: str, metric: str, results: Path) -> list[float]:
    """What an arm's runs got there, one number each; [] where one of them has not been tested again."""
    found = []
    for run in finished(folder, arm, results):
        files = sorted(run.glob("sacred/*/*/1/checkpoints/*/evaluation.json"), key=lambda f: int(f.parent.name))
        if not files:
            return []
        found.append(float(json.loads(files[-1].read_text(encoding="utf-8"))[metric]))
    return found


def finished(folder: str, arm: str, results: Path) -> list[Path]:
    """An arm's whole runs."""
    return sorted((results / folder / arm).glob("*[0-9]"))


def compared(
    folder: str, arms: list[str], metric: str, results: Path, until: int = 0
) -> tuple[dict[str, dict[str, Any]], Path]:
    """A line of ``compare`` for each arm, and its folder."""
    there = results / "tables" / f"{folder}_{metric.replace('/', '_')}{until or ''}"
    runs = ",".join(str(run) for arm in arms for run in finished(folder, arm, results))
    main_py("compare", "with", f"runs=[{runs}]", f"metric={metric}", f"until={until}",
            f"out={there}")  # fmt: skip
    with (there / "comparison.csv").open(encoding="utf-8") as file:
        rows: dict[str, dict[str, Any]] = {row["algorithm"]: row for row in csv.DictReader(file)}
    ends = {} if until else {arm: retested(folder, arm, metric, results) for arm in arms}
    if all(ends.values()):
        for arm, values in ends.items():
            point, low, high = stratified_bootstrap_interval(values)
            rows[arm] |= {"final": point, "final_low": low, "final_high": high}
    return rows, there


def table(name: str, arms: list[str], title: str, out: str, results: Path) -> None:
    """One task's table and picture."""
    task, folder = TASKS[name], called(name)
    arms = [arm for arm in arms if len(finished(folder, arm, results)) > 1]
    families = ("script", *dict.fromkeys(alg for alg, _ in task.teams))
    metrics = {"all 30": "test_return_mean", **{family: f"test_return_against/{family}" for family in families}}
    if task.has_end:
        metrics["steps to finish"] = "test_ep_length_mean"
    found = {said: compared(folder, arms, metric, results) for said, metric in metrics.items()}
    early, _ = compared(folder, arms, "test_return_mean", results, until=task.steps * 2 // 5)
    lines = [f"# {name}: {title}", "",
             f"{task.steps:,} steps against 10 scripts; tests with 30 opponents that are never met in training, 20 "
             f"other scripts, 6 {families[1]} teams and 4 {families[2]} teams. Returns averaged over the run, after "
             f"{task.steps * 2 // 5:,} steps, and at the end with all and with each family. Interquartile means over "
             "seeds, 95% bootstrap intervals.", "",
             f"| | seeds | over the run, all 30 | early, all 30 | {' | '.join(metrics)} |",
             f"| --- |{' --- |' * (len(metrics) + 3)}"]  # fmt: skip
    for arm in arms:
        cells = [
            _interval(found["all 30"][0][arm], "curve"),
            _interval(early[arm]),
            *(_interval(rows[arm]) for rows, _ in found.values()),
        ]
        lines.append(f"| {arm} | {found['all 30'][0][arm]['seeds']} | {' | '.join(cells)} |")
    end, _ = found["all 30"]
    for arm in (arm for arm in ("omg", "omg_categorical") if arm in end):
        lines += ["", beside(arm, f"After {task.steps * 2 // 5:,} steps", early), "",
                  beside(arm, "Over the run", end, "curve"), "", beside(arm, "At the end", end)]  # fmt: skip
        if task.has_end:
            steps = found["steps to finish"][0]
            lines += ["", beside(arm, "In steps to finish, of which less is better", steps, good=-1)]
    seeds = {arm: int(row["seeds"]) for arm, row in end.items()}
    commands = [command(name, [arm for arm in arms if seeds[arm] == n], n) for n in sorted({*seeds.values()})[::-1]]
    lines += ["", f"![curves]({out}.png)", "", f"{', '.join(commands)}, then `table`.", ""]
    (HERE / "omg" / f"{out}.md").write_text("\n".join(lines), encoding="utf-8")
    shutil.copy(found["all 30"][1] / "comparison.png", HERE / "omg" / f"{out}.png")


def command(name: str, arms: list[str], seeds: int) -> str:
    """What makes these runs."""
    said = f"python benchmarks/omg.py run --tasks {name} --arms {' '.join(arms)}"
    said += f" --seeds {seeds}" if seeds != SEEDS else ""
    said += f" --steps {TASKS[name].steps}" if TASKS[name].steps != STEPS[name] else ""
    return f"`{said} --results FOLDER`"


def tuning(name: str, results: Path) -> None:
    """What each setting gets with the opponents that settings are chosen by."""
    task, place = TASKS[name], f"{called(name)}_tuning"
    labels = [f"{arm} {setting}".strip() for arm, settings in SETTINGS.items() for setting in settings]
    labels = [label for label in labels if len(finished(place, label, results)) > 1]
    rows, _ = compared(place, labels, "test_return_mean", results)
    lines = [f"# {name}: which settings", "",
             f"{task.steps:,} steps against the 10 scripts to train with; returns with 14 opponents to choose by, "
             "who are neither among those nor among the 30 of the tests. Interquartile means over seeds. What is not "
             f"said is as it was before: `{' '.join([UNTUNED, *STARTS.values()])}`.",
             "", "| | seeds | over the run | at the end |", "| --- | --- | --- | --- |"]  # fmt: skip
    for label in labels:
        row = rows[label]
        lines.append(f"| {label} | {row['seeds']} | {float(row['curve']):.4g} | {float(row['final']):.4g} |")
    made = f"python benchmarks/omg.py tune --tasks {name} --seeds 2 --steps {task.steps} --results FOLDER"
    lines += ["", f"`{made}`.", ""]
    (HERE / "omg" / f"{place}.md").write_text("\n".join(lines), encoding="utf-8")


def beside(which: str, when: str, rows: dict[str, dict[str, Any]], what: str = "final", good: int = 1) -> str:
    """What an arm's interval is apart from, and how much of the way to those who know more it makes.

    Args:
        which: the arm, one of OMG's.
        when: the sentence's beginning.
        rows: ``compared``'s.
        what: ``final`` or ``curve``.
        good: 1 where more is better, -1 where less is.
    """
    own, verdicts = rows[which], []
    for arm, row in rows.items():
        pairs = (own, row), (row, own)
        above, below = (float(a[what + "_low"]) > float(b[what + "_high"]) for a, b in pairs)
        if arm != which:
            verdicts.append(f"{'above' if above else 'below' if below else 'level with'} {arm}")
    name = "OMG" if which == "omg" else which
    said = f"{when}, by intervals, {name} is {', '.join(verdicts)}. "
    for arm in ("bayes", "oracle"):
        if arm not in rows or "history" not in rows:
            continue
        low, here, high = (float(rows[each][what]) for each in ("history", which, arm))
        bounds = ("_low", "_high")[::good]
        if good * (float(rows[arm][what + bounds[0]]) - float(rows["history"][what + bounds[1]])) > 0:
            said += f"It makes {(here - low) / (high - low):.0%} of the way from history to {arm}. "
        else:
            said += f"{arm.capitalize()} is, by intervals, no better than history. "
    return said.strip()


def _interval(row: dict[str, str], what: str = "final") -> str:
    return f"{float(row[what]):.4g} [{float(row[what + '_low']):.4g}, {float(row[what + '_high']):.4g}]"


def main() -> None:
    """See the module."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=["run", "table", "tune"])
    parser.add_argument("--tasks", nargs="+", choices=TASKS, default=list(TASKS))
    parser.add_argument("--arms", nargs="+", choices=ARMS, default=USUAL)
    parser.add_argument("--seeds", type=int, default=SEEDS)
    parser.add_argument("--steps", type=int, help="of each run, where not the task's own number")
    parser.add_argument("--jobs", type=int, default=os.cpu_count() or 1)
    parser.add_argument("--results", type=Path, required=True)
    args = parser.parse_args()
    if args.what == "tune" and (odd := [arm for arm in args.arms if arm not in SETTINGS]):
        parser.error(f"--arms: tune has no settings for {', '.join(odd)}; it has some for {', '.join(SETTINGS)}")
    results = args.results.resolve()
    if args.steps:
        TASKS.update({name: TASKS[name]._replace(steps=args.steps) for name in args.tasks})
    if args.what == "table":
        (HERE / "omg").mkdir(exist_ok=True)
        for name in args.tasks:
            folder = called(name)
            table(name, USUAL, "what each method gets", folder, results)
            if any(len(finished(folder, arm, results)) > 1 for arm in CHOICES):
                table(name, ["omg", *CHOICES], "OMG's choices", f"{folder}_choices", results)
            if (results / f"{folder}_tuning").is_dir():
                tuning(name, results)
        return
    for name in args.tasks:
        prepare(name, results, args.jobs)
    seeds = range(1, args.seeds + 1)
    wanted: list[tuple[Any, ...]] = [(name, arm, seed) for name in args.tasks for seed in seeds for arm in args.arms]
    if args.what == "tune":
        wanted = [(name, arm, seed, results, setting) for name, arm, seed in wanted for setting in SETTINGS[arm]]
    else:
        wanted = [(*one, results) for one in wanted]
    with ThreadPoolExecutor(args.jobs) as workers:
        for said in workers.map(lambda one: run(*one), wanted):
            print(said, flush=True)


if __name__ == "__main__":
    main()
