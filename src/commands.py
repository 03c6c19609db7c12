"""The commands, and where their keys and functions are.

The modules are imported when a command is called: torch alone takes a second, and some commands do without it.
"""

from collections.abc import Callable
from logging import Logger as ConsoleLogger
from typing import Any, NamedTuple

from .config.keys import StepKeys
from .registry import load


class Tool(NamedTuple):
    """A command that makes no run.

    Attributes:
        keys: the class of its keys, ``module:Class``.
        output: the function ``module:name`` of the command's configuration (all values if its keys are a run's) and,
            if ``is_logged``, of a logger. Its result is printed.
    """

    keys: str
    output: str
    help: str
    is_logged: bool = True

    def function(self) -> Callable[..., Any]:
        """The function, imported."""
        found: Callable[..., Any] = load(self.output, "command")
        return found

    def run(self, config: Any, console: ConsoleLogger, started: float) -> Any:
        """Calls the function; ``started`` is when the command began."""
        if not self.is_logged:
            return self.function()(config)
        from .utils.metrics import Logger

        return self.function()(config, Logger(console, started=started))


TOOLS = {
    "evaluate": Tool(".run:RunConfig", ".evaluation:evaluate",
                     "Tests a checkpoint: with checkpoint_path=RUN_FOLDER."),
    "ablate": Tool(".ablation.ablate:AblateConfig", ".ablation.ablate:ablate",
                   "Compares settings of the VAE on one recorded run."),
    "replay": Tool(".replay:ReplayConfig", ".replay:replayed",
                   "Draws a test episode: with checkpoint_path=RUN_FOLDER."),
    "crossplay": Tool(".crossplay:CrossplayConfig", ".crossplay:tabulated",
                      "Tests runs against a pool: with runs=[FOLDER,...]."),
    "compare": Tool(".analysis.comparison:CompareConfig", ".analysis.comparison:compare",
                    "Compares learning curves: with runs=[FOLDER,...].", is_logged=False),
    "diagnose": Tool(".analysis.doctor:DiagnoseConfig", ".analysis.doctor:diagnose",
                     "Finds faults of a run's VAE: with run=RUN_FOLDER.", is_logged=False),
    "pool": Tool(".pooling:PoolConfig", ".pooling:described",
                 "Makes a pool of opponents: with out=FOLDER runs=[...].", is_logged=False),
    "sweep": Tool(".sweep.keys:SweepConfig", ".sweep.sweep:sweep",
                  "Makes many runs: with sweep=FILE or configs=[NAME,...]."),
    "report": Tool(".report.report:ReportConfig", ".report.report:report",
                   "Writes a study as one page: with runs=[FOLDER,...].", is_logged=False),
    "plugin": Tool(".plugin:PluginConfig", ".plugin:plugin",
                   "Adds the VAE learner to a PyMARL fork: with host=FOLDER.", is_logged=False),
}  # fmt: skip
RUN_KEYS = ".run:RunConfig"
KEYS = {"train": RUN_KEYS, "resume": ".configuration.resumed:ResumeConfig", **{n: t.keys for n, t in TOOLS.items()}}
COMMANDS = tuple(KEYS)


def keys_of(command: str) -> type:
    """The class that declares the keys of a command; those of a run for Sacred's commands."""
    declared: type = load(KEYS.get(command, RUN_KEYS), command)
    return declared


def has_run_keys(root: type) -> bool:
    """Whether a command has the keys of a run, besides its own."""
    return issubclass(root, StepKeys)
