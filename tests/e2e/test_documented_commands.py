"""Every command of README and docs runs, with fewer steps. Runs that a command needs are made first."""

import multiprocessing
import os
import re
import shlex
import subprocess
import sys
import time
from importlib.util import find_spec

import pytest
from e2e.command import ROOT
from omarl.experiment import main

PAGES = ["docs/opponents.md", "README.md", "CONTRIBUTING.md", "docs/clusters.md", "docs/comparisons.md",
         "docs/configuration.md", "docs/first-curve.md", "docs/kl-curves.md", "docs/omg-reproduction.md",
         "docs/opponents-experiments.md", "docs/opponents-results.md", "docs/plugin.md", "docs/reliability.md",
         "docs/report.md", "docs/runs.md", "docs/speed.md", "docs/sweep.md", "docs/vae-stability.md",
         "docs/your-environment.md", "docs/your-method.md"]  # fmt: skip
OF_EXTRAS = {
    "docs/jaxmarl.md": "jaxmarl",
    "docs/loggers.md": "wandb",
}  # pages whose commands need a package that is not installed by default
TAG, FORAGING = "mpe2.simple_tag_v3", "lbforaging:Foraging-8x8-2p-3f-v3"
NEEDED = [  # runs that the pages' commands read
    "--config=omg_vae",
    "--config=place_prediction",
    "--config=qmix --env-config=simple_spread",
    "--config=iql --env-config=foraging with save_model_interval=300",
    "--config=vdn --env-config=foraging",
    "--config=omg_vae --env-config=foraging",
    "--config=ppo_history --env-config=foraging",
    "--config=omg_ppo --env-config=foraging",
]
SMALL = ["test_nepisode=2", "batch_size_run=2", "env_workers=0", "use_tensorboard=False", "runner_log_interval=200"]
SMALLER = {  # further settings of single commands
    "omg_ppo": ["prior_t_max=400", "vae_hidden_dim=16"],
    "omg_vae": ["batch_size=2", "vae_hidden_dim=16", "learner_log_interval=100"],
    "ablate": ["ablate_seeds=2", "ablate_updates=40", "t_max=3000", "env_steps_per_update=10", "test_interval=0"],
    "replay": ["test_nepisode=2"],
}
PLACEHOLDERS = {
    "../epymarl": "fork",
    "/path/to/fork": "fork",
    "FOLDER": "folder",
    "MY_ENV": "my_pkg.my_env_v0",
    "run=DIR": f"run=results/sacred/omg_vae/{TAG}/1",
    "run=PATH": f"run=results/sacred/omg_vae/{TAG}/1",
    "/MAP/": f"/{TAG}/",
    "$SLURM_ARRAY_TASK_ID": "1",
    " address=auto": "",  # a cluster
    "results/sacred/omg_ppo,": "",  # crossplay needs runs with one pool, and these have several
}
REGISTRY = 'REGISTRY = {}\nfrom .q_learner import QLearner\nREGISTRY["q_learner"] = QLearner\n'


def commands_of(page):
    """The commands of a page, in its order: those in fenced blocks, and those with main.py between backticks."""
    text = (ROOT / page).read_text(encoding="utf-8")
    words = re.finditer(r"(?:^|[`\s])(python (?:main\.py|benchmarks/\w+\.py)[^`\n]*)", text, re.M)
    found = [(match.start(1), match[1]) for match in words]
    for block in re.finditer(r"^```\w*\n(.*?)^```", text, re.S | re.M):
        found += [(block.start(1) + m.start(), m[0]) for m in re.finditer(r"^omarl .*", block[1], re.M)]
    return [re.sub(r"\s+#.*", "", command).strip() for _, command in sorted(found)]


def write_files(folder):
    """Writes the files that pages show: code blocks that begin with a comment with their name."""
    for page in PAGES:
        text = (ROOT / page).read_text(encoding="utf-8")
        for content, name in re.findall(
            r"^```(?:python|yaml)\n(# ([\w/.-]+\.(?:py|yaml))\b.*?)^```", text, re.S | re.M
        ):
            (folder / name).parent.mkdir(exist_ok=True)
            (folder / name).write_text(content, encoding="utf-8")


def run_forked(words, folder):
    """``main.py`` in a child process that need not import anything again; its exit code and output."""
    output = folder / "output.txt"

    def child():
        os.chdir(folder)
        os.environ["WANDB_MODE"] = "offline"
        target = os.open(output, os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
        os.dup2(target, 1)
        os.dup2(target, 2)
        sys.stdout, sys.stderr = os.fdopen(1, "w", buffering=1), os.fdopen(2, "w", buffering=1)
        main(["main.py", *words], time.time())

    process = multiprocessing.get_context("fork").Process(target=child)
    process.start()
    process.join(200)
    process.kill()
    return process.exitcode, output.read_text(encoding="utf-8")


def shortened(words):
    """The words of a training or another command, with fewer steps and episodes."""
    words = [re.sub(r"^t_max=.*", "t_max=900", word) for word in words]
    if "resume" in words:  # below the t_max of runs that begin from this one's checkpoint
        return [word.replace("t_max=900", "t_max=750") for word in words]
    words = [re.sub(r"^test_nepisode=.*", "test_nepisode=2", word) for word in words]
    name = next((word for word in words if not word.startswith("-") and word != "with" and "=" not in word), "train")
    if name == "sweep":
        more = [*SMALL, "configs=[iql]", "seeds=1", "t_max=600"]
    elif name in ("help", "diagnose", "compare", "report", "plugin", "pool", "crossplay", "evaluate", "replay"):
        more = {"crossplay": ["episodes=2"], "evaluate": ["test_nepisode=2"]}.get(name, [])
    else:
        algorithm = next((word.partition("=")[2] for word in words if word.startswith("--config=")), "omg_vae")
        more = [*SMALL, *SMALLER.get(algorithm, []), *SMALLER.get(name, [])]
        more += [] if any(word.startswith("t_max=") for word in [*words, *more]) else ["t_max=600"]
    return [*words, *([] if "with" in words or not more else ["with"]), *more]


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A working directory with the runs and files that the commands name."""
    root = tmp_path_factory.mktemp("commands")
    write_files(root)
    (root / "my_pkg" / "my_env_v0.py").write_text("from outside import Corridor as parallel_env\n")
    (root / "my_pkg" / "learner.py").write_text("from outside import CountingLearner as MyLearner\n")
    environment = "env: pettingzoo\nenv_args:\n  key: my_pkg.my_env_v0\n  episode_limit: 12\n"
    (root / "envs").mkdir(exist_ok=True)
    for name in ("my_env.yaml", "envs/my_env.yaml"):
        (root / name).write_text(environment)
    (root / "study.yaml").write_text("envs: [simple_spread]\n")
    (root / "my_learner.yaml").write_text("name: mine\nlearner: my_pkg.learner:MyLearner\nmy_scale: 1.0\n")
    (root / "epymarl_iql.yaml").write_text("name: epymarl_iql\nlearner: my_pkg.learner:MyLearner\nmy_scale: 1.0\n")
    (root / "fork" / "src" / "learners").mkdir(parents=True)
    (root / "fork" / "src" / "learners" / "__init__.py").write_text(REGISTRY)
    (root / "fork" / "src" / "config" / "algs").mkdir(parents=True)
    (root / "fork" / "src" / "config" / "algs" / "iql.yaml").write_text('learner: "q_learner"\nname: "iql"\n')
    for words in NEEDED:
        code, output = run_forked(shortened(words.split()), root)
        assert code == 0, f"{words}\n{output}"
    fork = root / "fork" / "results"
    fork.symlink_to(root / "results")
    return root


DONE: set[tuple[str, ...]] = set()  # a command that several pages name runs once


def test_pages_lists_every_page_with_commands():
    pages = ["README.md", "CONTRIBUTING.md", *(f"docs/{page.name}" for page in (ROOT / "docs").glob("*.md"))]
    assert {*PAGES, *OF_EXTRAS} == {page for page in pages if commands_of(page)}


@pytest.mark.parametrize("page", [*PAGES, *OF_EXTRAS])
def test_every_command_of_a_page_runs(page, folder):
    if page in OF_EXTRAS:
        pytest.importorskip(OF_EXTRAS[page])
    for command in commands_of(page):
        for placeholder, value in PLACEHOLDERS.items():
            command = command.replace(placeholder, value)
        program, *words = shlex.split(re.sub("^omarl ", "python main.py ", command))[1:]
        if tuple(words) in DONE or ("engine=ray" in words and find_spec("ray") is None):
            continue
        DONE.add(tuple(words))
        if program == "main.py":
            code, output = run_forked(shortened(words), folder)
            assert code == 0, f"{command}\n{output}"
        else:  # hours of work: the options that the command names exist
            asked = [sys.executable, str(ROOT / program), "--help"]
            usage = subprocess.run(asked, capture_output=True, text=True, check=True).stdout
            assert all(option in usage for option in words if option.startswith("--")), command
