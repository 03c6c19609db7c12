"""Multi-agent reinforcement learning with models of opponents.

python main.py [COMMAND] [--config=NAME|PATH] [--env-config=NAME|PATH]
               [with KEY=VALUE ...]

A misspelt key stops the run before it starts. `main.py help COMMAND` lists the
keys of a command, `main.py print_config` the values of a run.
"""

from __future__ import annotations

import os
import signal
import sys
import threading
import time
import warnings
from collections.abc import Callable, Sequence
from copy import deepcopy
from importlib.util import find_spec
from pathlib import Path
from shutil import get_terminal_size
from typing import Any

os.environ.setdefault("GIT_PYTHON_REFRESH", "quiet")  # a machine without git must still run
# Sacred imports pkg_resources; pyproject.toml pins setuptools below 82, which removed it.
warnings.filterwarnings("ignore", message="pkg_resources is deprecated")

from sacred import SETTINGS, Experiment
from sacred.utils import apply_backspaces_and_linefeeds

from . import api, evaluation, run
from .ablation import AblateConfig
from .ablation import ablate as run_ablation
from .analysis.comparison import CompareConfig, words
from .analysis.doctor import DiagnoseConfig, format_findings
from .analysis.doctor import diagnose as examine_run
from .command_line import OPTIONS, commands_in, options_help, take_option, updates_of, use_new_names
from .config.load import COMMAND_LINE, Layers, complete
from .config.reference import reference
from .config.schema import read
from .configuration import configured
from .crossplay import CrossplayConfig, format_matrix
from .crossplay import crossplay as play_across
from .plugin import PluginConfig
from .plugin import plugin as plug_in
from .pooling import PoolConfig, describe_pool, make_pool
from .replay import ReplayConfig
from .replay import replay as film_episode
from .types import ConfigError, OmarlError
from .utils.allocator import keep_freed_memory
from .utils.capture import make_capture_safe
from .utils.console import console_logger
from .utils.metrics import Logger
from .utils.run_directory import check_writable
from .utils.sacred_observer import RunDirectory

SETTINGS["CAPTURE_MODE"] = "sys"  # keeps the terminal's own width and colours for the progress bar
make_capture_safe()

# Commands with keys of their own; the rest read run.RunConfig.
ROOTS: dict[str, type] = {
    "ablate": AblateConfig,
    "compare": CompareConfig,
    "crossplay": CrossplayConfig,
    "diagnose": DiagnoseConfig,
    "plugin": PluginConfig,
    "pool": PoolConfig,
    "replay": ReplayConfig,
}
COMMANDS = ("train", "evaluate", *ROOTS)


def configuration(argv: list[str]) -> Layers:
    """The complete configuration of a command line; takes our own options out of ``argv``.

    The seed is left out where nobody gave one: Sacred then draws it and notes it.

    Raises:
        ConfigError: anything that cannot run, before anything is started.
    """
    config, env_config = (take_option(argv, option) for option in OPTIONS)
    updates = updates_of(argv)
    command, *asked = commands_in(argv, COMMANDS)
    root = ROOTS.get(asked[0] if asked else command, run.RunConfig)
    if not issubclass(root, run.RunConfig):  # a command that runs nothing has keys of its own alone
        return complete(Layers(updates, dict.fromkeys(updates, COMMAND_LINE), set(updates)), root)
    layers = configured(updates, config, env_config, root, command)
    use_new_names(argv, layers)
    return layers


def said_in_one_line(command: Callable[..., Any]) -> Callable[..., Any]:
    """Runs ``command``; what the user can mend ends it with one line instead of a traceback."""
    try:
        return command()
    except OmarlError as error:
        print(f"error: {error}", file=sys.stderr)
        raise SystemExit(1) from error


def typed(config: Any, layers: Layers, root: type = run.RunConfig) -> dict[str, Any]:
    """Sacred's configuration in the declared types; its keys were checked before Sacred began."""
    found = Layers(deepcopy(dict(config)), {**dict.fromkeys(config, COMMAND_LINE), **layers.source})
    return complete(found, root).values


class OmarlExperiment(Experiment):
    """Sacred's experiment, whose help lists our own options, too."""

    def get_usage(self, program_name: str | None = None) -> tuple[str, str, str]:
        """Sacred's short usage, the usage that is shown, and the one that is parsed."""
        short, shown, parsed = super().get_usage(program_name)
        return short, shown.replace("Options:\n", f"Options:\n{options_help()}", 1), parsed


def make_experiment(layers: Layers, started: float) -> Experiment:
    """Sacred's experiment with our commands, configured with ``layers``."""
    experiment = OmarlExperiment("omarl", base_dir=str(Path.cwd()), save_git_info=_has_git())
    experiment.captured_out_filter = apply_backspaces_and_linefeeds
    experiment.add_config(layers.values)
    experiment.logger = console_logger()
    add_train(experiment, layers, started)
    add_examinations(experiment, layers, started)
    add_encounters(experiment, layers, started)
    add_tools(experiment, layers)
    return experiment


def explained(experiment: Experiment, command: str, layers: Layers) -> str:
    """What ``help COMMAND`` prints."""
    width = min(max(get_terminal_size().columns, 60), 118)
    keys = reference(ROOTS.get(command, run.RunConfig), layers.values, run.RunConfig, width)
    return f"{command}: {experiment.commands[command].__doc__}\n\n{keys}"


def add_train(experiment: Experiment, layers: Layers, started: float) -> None:
    """The command that makes a run."""
    directory = RunDirectory()
    experiment.observers.append(directory)

    @experiment.main
    def train(_run: Any, _config: Any) -> Any:
        """Trains agents; the default command."""

        def body() -> Any:
            config = typed(_config, layers)
            if config["evaluate"]:
                return evaluation.evaluate(config, Logger(experiment.logger, started=started))
            observed = any(observer is directory for observer in _run.observers)
            folder = directory.path if observed else None
            logger = Logger(experiment.logger, folder, _run, config["use_tensorboard"], started)
            return api.run_training(config, logger, folder, layers.by_user)

        return said_in_one_line(body)


def add_examinations(experiment: Experiment, layers: Layers, started: float) -> None:
    """The commands that play or train without making a run."""

    @experiment.command(unobserved=True)
    def evaluate(_config: Any) -> None:
        """Tests a checkpoint: with checkpoint_path=RUN_FOLDER."""

        def body() -> None:
            result = evaluation.evaluate(typed(_config, layers), Logger(experiment.logger, started=started))
            print(evaluation.format_evaluation(result))

        said_in_one_line(body)

    @experiment.command(unobserved=True)
    def ablate(_config: Any) -> None:
        """Compares settings of the VAE on one recorded run."""
        said_in_one_line(lambda: run_ablation(typed(_config, layers, AblateConfig), experiment.logger))


def add_encounters(experiment: Experiment, layers: Layers, started: float) -> None:
    """The commands that show how agents play against opponents."""

    @experiment.command(unobserved=True)
    def replay(_config: Any) -> None:
        """Draws a test episode: with checkpoint_path=RUN_FOLDER."""

        def body() -> None:
            logger = Logger(experiment.logger, started=started)
            for path in film_episode(typed(_config, layers, ReplayConfig), logger):
                print(path)

        said_in_one_line(body)

    @experiment.command(unobserved=True)
    def crossplay(_config: Any) -> None:
        """Tests runs against a pool: with runs=[FOLDER,...]."""

        def body() -> None:
            config = read(CrossplayConfig, typed(_config, layers, CrossplayConfig))
            print(format_matrix(*play_across(config, Logger(experiment.logger, started=started))))

        said_in_one_line(body)


def add_tools(experiment: Experiment, layers: Layers) -> None:
    """The commands that work on what runs have left."""

    @experiment.command(unobserved=True)
    def compare(_config: Any) -> None:
        """Compares learning curves: with runs=[FOLDER,...]."""

        def body() -> None:
            c = read(CompareConfig, typed(_config, layers, CompareConfig))
            print(api.compare(words(c.runs), metric=c.metric, by=words(c.by), until=c.until, out=c.out))

        said_in_one_line(body)

    @experiment.command(unobserved=True)
    def diagnose(_config: Any) -> None:
        """Finds faults of a run's VAE: with run=RUN_FOLDER."""

        def body() -> None:
            config = read(DiagnoseConfig, typed(_config, layers, DiagnoseConfig))
            print(format_findings(examine_run(config)))

        said_in_one_line(body)

    @experiment.command(unobserved=True)
    def pool(_config: Any) -> None:
        """Makes a pool of opponents: with out=FOLDER runs=[...]."""
        said_in_one_line(lambda: print(describe_pool(make_pool(typed(_config, layers, PoolConfig)))))

    @experiment.command(unobserved=True)
    def plugin(_config: Any) -> None:
        """Adds the VAE learner to a PyMARL fork: with host=FOLDER."""
        said_in_one_line(lambda: print(plug_in(read(PluginConfig, typed(_config, layers, PluginConfig)))))


def _has_git() -> bool:
    return (Path.cwd() / ".git").exists()


def main(argv: Sequence[str] | None = None, started: float | None = None) -> None:
    """The command line; exits non-zero, with one line, on what the user can mend.

    Args:
        argv: like ``sys.argv``.
        started: ``time.time()`` when the command began.
    """
    words = list(sys.argv if argv is None else argv)
    keep_freed_memory()
    if threading.current_thread() is threading.main_thread():
        signal.signal(signal.SIGTERM, signal.default_int_handler)  # a scheduler's end is as orderly as Ctrl-C

    def body() -> Experiment:
        if any(word == "-m" or word.startswith("--mongo_db") for word in words) and not find_spec("pymongo"):
            raise ConfigError("-m: Sacred's MongoDB observer needs a package that is missing; pip install pymongo")
        layers = configuration(words)
        command, *asked = commands_in(words, COMMANDS)
        if command == "train" and not layers.values["evaluate"]:
            check_writable(layers.values)
        experiment = make_experiment(layers, time.time() if started is None else started)
        if asked and asked[0] in COMMANDS:
            print(explained(experiment, asked[0], layers))
            raise SystemExit
        return experiment

    experiment = said_in_one_line(body)
    try:
        experiment.run_commandline(words)  # type: ignore[attr-defined]
    except KeyboardInterrupt:
        raise SystemExit(130) from None
