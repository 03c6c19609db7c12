"""Multi-agent reinforcement learning with models of opponents.

python main.py [COMMAND] [--config=NAME|PATH] [--env-config=NAME|PATH]
               [with KEY=VALUE ...]

A misspelt key stops the run before it starts. `main.py help COMMAND` lists the
keys of a command, `main.py print_config` the values of a run.
"""

import os
import sys
import time
import warnings
from collections.abc import Callable, Mapping, Sequence
from copy import deepcopy
from importlib.util import find_spec
from pathlib import Path
from shutil import get_terminal_size
from typing import Any

os.environ.setdefault("GIT_PYTHON_REFRESH", "quiet")  # a machine without git must still run
# Torch's second thread would wait by computing, on the core that the compiled GRU's second thread needs.
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
# Sacred imports pkg_resources; pyproject.toml pins setuptools below 82, which removed it.
warnings.filterwarnings("ignore", message="pkg_resources is deprecated")
# NumPy's warning about an environment's value beyond float32, which an error of one line reports.
warnings.filterwarnings("ignore", message="overflow encountered in cast")

from sacred import SETTINGS, Experiment

from .command_line import OPTIONS, commands_in, options_help, take_option, updates_of, use_new_names
from .commands import COMMANDS, RUN_KEYS, TOOLS, Tool, has_run_keys, keys_of
from .config.schema import read
from .configuration.layers import COMMAND_LINE, Layers, complete
from .registry import load
from .types import ConfigError, OmarlError
from .utils.allocator import keep_freed_memory
from .utils.console import console_logger
from .utils.files import writable
from .utils.run_directory import base_directory
from .utils.sacred_observer import OutputFilter, RunDirectory, discard, make_capture_safe
from .utils.stop_signals import stop_as_ctrl_c

SETTINGS["CAPTURE_MODE"] = "sys"  # keeps the terminal's own width and colours for the progress bar
make_capture_safe()


def configuration(argv: list[str]) -> Layers:
    """The complete configuration of a command line; removes omarl's options from ``argv``.

    The seed is left out if none is given: Sacred then draws and stores one.

    Raises:
        ConfigError: anything that cannot run, before anything is started.
    """
    config, env_config = (take_option(argv, option) for option in OPTIONS)
    updates = updates_of(argv)
    command, *asked = commands_in(argv, COMMANDS)
    if [command, *asked] == ["help"]:  # it lists commands only
        return Layers({}, {}, set())
    root = keys_of(asked[0] if asked else command)
    if command == "resume":
        from .configuration.resumed import resumed

        if config or env_config:
            raise ConfigError("--config: a run keeps its configuration; resume needs only `with run=FOLDER`")
        layers = resumed(updates)
    elif command == "sweep":
        layers = many_runs(argv, updates, config, env_config)
    elif not has_run_keys(root):
        layers = complete(Layers(updates, dict.fromkeys(updates, COMMAND_LINE), set(updates)), root)
    else:
        layers = of_a_run(updates, config, env_config, root, command)
    use_new_names(argv, layers)
    return layers


def of_a_run(
    updates: Mapping[str, Any], config: str | None, env_config: str | None, root: type, command: str
) -> Layers:
    """The configuration of a command that has the keys of a run."""
    from .configuration.request import configured
    from .configuration.suited import suited

    layers = configured(updates, config, env_config, root, command)
    if command == "train":
        layers, lines = suited(layers)
        for line in lines:
            console_logger().info(line)
    return layers


def many_runs(argv: list[str], updates: Mapping[str, Any], *options: str | None) -> Layers:
    """The configuration of ``sweep``, whose words after ``with``, many of them keys of its runs, leave ``argv``."""
    from .sweep.keys import SweepConfig, gathered

    if any(options):
        raise ConfigError("--config: a sweep has several; give configs=[NAME,...] and envs=[NAME,...] after `with`")
    values = gathered(updates)
    if "with" in argv:
        del argv[argv.index("with") :]
    return complete(Layers(values, dict.fromkeys(values, COMMAND_LINE), set(values)), SweepConfig)


def errors_in_one_line(command: Callable[..., Any]) -> Callable[..., Any]:
    """Runs ``command``; an OmarlError exits with one line instead of a traceback."""
    try:
        return command()
    except OmarlError as error:
        print(f"error: {error}", file=sys.stderr)
        raise SystemExit(1) from error


def typed(config: Any, layers: Layers, root: type) -> dict[str, Any]:
    """Sacred's configuration in the declared types; its keys were checked before Sacred started."""
    sources = {**dict.fromkeys(config, COMMAND_LINE), **layers.source}
    configured_by_sacred = Layers(deepcopy(dict(config)), sources, named=layers.named)
    return complete(configured_by_sacred, root).values


class OmarlExperiment(Experiment):
    """Sacred's experiment, whose help lists omarl's options, too."""

    def get_usage(self, program_name: str | None = None) -> tuple[str, str, str]:
        """The short usage, the printed usage with omarl's options, and the usage that Sacred parses."""
        short, printed, parsed = super().get_usage(program_name)
        return short, printed.replace("Options:\n", f"Options:\n{options_help()}", 1), parsed


def loggers_of(layers: Layers, command: str) -> list[Any]:
    """The further observers that a run asks for by the key ``observers``."""
    if command not in ("train", "resume") or not layers.values["observers"]:
        return []
    from .observers.guard import observers_named

    return observers_named(layers.values["observers"])


def make_experiment(
    layers: Layers,
    started: float,
    words: Sequence[str] = (),
    loggers: Sequence[Any] = (),
    reads_git: bool = True,
) -> Experiment:
    """Sacred's experiment with omarl's commands, configured with ``layers``.

    ``words`` are those of the user, ``loggers`` observers besides the run's folder. ``reads_git``: Sacred looks up
    the commit and whether files have changed, if the working folder is a repository.
    """
    reads_git = reads_git and Path(".git").exists()
    experiment = OmarlExperiment("omarl", base_dir=str(Path.cwd()), save_git_info=reads_git)
    experiment.captured_out_filter = OutputFilter()
    experiment.add_config(layers.values)
    experiment.logger = console_logger()
    add_train(experiment, layers, started, words, loggers)
    for name, tool in TOOLS.items():
        add_tool(experiment, name, tool, layers, started)
    return experiment


def explained(experiment: Experiment, command: str, layers: Layers) -> str:
    """The text that ``help COMMAND`` prints."""
    from .configuration.parts import reference

    width = min(max(get_terminal_size().columns, 60), 118)
    root = keys_of(command)
    shared = load(RUN_KEYS, command) if has_run_keys(root) else object  # importing a run's keys imports torch
    keys = reference(root, layers.values, shared, width)
    return f"{command}: {experiment.commands[command].__doc__}\n\n{keys}"


def add_train(
    experiment: Experiment, layers: Layers, started: float, words: Sequence[str], loggers: Sequence[Any]
) -> None:
    """Adds the commands ``train``, which makes a run, and ``resume``, which continues one."""
    directory = RunDirectory(layers.values.get("run"), words)
    experiment.observers += [directory, *loggers]

    def trained(_run: Any, values: dict[str, Any], continues: bool) -> float | None:
        from . import training
        from .default_pool import with_pool
        from .utils.metrics import Logger

        place = directory.path if directory in _run.observers else None
        begun = [each for each in loggers if place is not None]
        for each in begun:
            experiment.logger.info(each.begin(place))
        logger = Logger(experiment.logger, place, _run, values, started)
        try:
            return training.train(with_pool(values, logger), logger, place, layers.by_user, continues=continues)
        finally:
            for each in begun:
                each.send_picture(place)

    @experiment.main
    def train(_run: Any, _config: Any) -> Any:
        """Trains agents; the default command."""

        def body() -> Any:
            config = typed(_config, layers, keys_of("train"))
            if config["evaluate"]:
                return TOOLS["evaluate"].run(config, experiment.logger, started).as_dict()
            return trained(_run, config, continues=False)

        return errors_in_one_line(body)

    @experiment.command
    def resume(_run: Any, _config: Any) -> Any:
        """Continues a run: with run=RUN_FOLDER."""
        from .configuration.resumed import record_changes

        def body() -> Any:
            config = typed(_config, layers, keys_of("resume"))
            record_changes(layers)
            del config["run"]
            return trained(_run, config, continues=True)

        return errors_in_one_line(body)


def add_tool(experiment: Experiment, name: str, tool: Tool, layers: Layers, started: float) -> None:
    """Adds a command that makes no run."""

    def command(_config: Any) -> None:
        def body() -> Any:
            root = keys_of(name)
            values = typed(_config, layers, root)
            config = values if has_run_keys(root) else read(root, values)
            return tool.run(config, experiment.logger, started)

        print(errors_in_one_line(body))

    command.__name__, command.__doc__ = name, tool.help
    experiment.command(command, unobserved=True)


def main(argv: Sequence[str] | None = None, started: float | None = None) -> None:
    """The command line; exits non-zero, with one line, on errors that the user can correct.

    ``argv`` is like ``sys.argv``, and ``started`` is ``time.time()`` when the command began.
    """
    words = list(sys.argv if argv is None else argv)
    keep_freed_memory()
    stop_as_ctrl_c()

    def body() -> Experiment:
        if any(word == "-m" or word.startswith("--mongo_db") for word in words) and not find_spec("pymongo"):
            raise ConfigError("-m: Sacred's MongoDB observer needs a package that is missing; pip install pymongo")
        given = words[1:]  # before omarl's own options are taken out
        layers = configuration(words)
        command, *asked = commands_in(words, COMMANDS)
        if command == "train" and not layers.values["evaluate"]:
            writable(base_directory(layers.values), "local_results_path")
        if command == "resume":
            from .configuration.resumed import is_complete

            if is_complete(layers.values):
                print(
                    f"{layers.values['run']} has reached t_max={layers.values['t_max']}; a larger t_max continues it"
                )
                raise SystemExit
        began = time.time() if started is None else started
        # A command without a run records no commit; of Sacred's options, --enforce_clean needs it.
        reads_git = command not in (*TOOLS, "help") or any(word.startswith("-") for word in given)
        experiment = make_experiment(layers, began, given, loggers_of(layers, command), reads_git)
        if asked and asked[0] in COMMANDS:
            print(explained(experiment, asked[0], layers))
            raise SystemExit
        return experiment

    experiment = errors_in_one_line(body)
    try:
        experiment.run_commandline(words)  # type: ignore[attr-defined]
    except KeyboardInterrupt:
        raise SystemExit(130) from None
    except BrokenPipeError:  # the reader of a command's output has gone away
        discard(sys.stdout)
