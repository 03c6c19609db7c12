"""A search of hyperparameters with Optuna: each trial is one setting, which is run with every seed."""

import csv
import io
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from ..analysis.comparison import finals_of, words
from ..analysis.groups import group_runs, read_record
from ..types import ConfigError, OmarlError
from ..utils.files import write_atomically
from .folder import Status
from .keys import SweepConfig
from .plan import Job, Setting, jobs_of, shown

JOURNAL = "search.log"  # Optuna's record of the trials, in the sweep's folder
TABLE = "search.csv"
OVER = ("finished", "failed", "pruned")  # states of runs that will not go on


def ranges(search: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """Dotted key -> its range: a mapping with low and high, or a list of choices."""
    found: dict[str, Any] = {}
    for name, value in search.items():
        inner = isinstance(value, Mapping) and "low" not in value
        found |= ranges(value, f"{prefix}{name}.") if inner else {f"{prefix}{name}": value}
    return found


def ends_of(name: str, wanted: Any) -> list[Any]:
    """The values of a range that are checked before the search: its bounds, or all choices.

    Raises:
        ConfigError: it is no range.
    """
    if isinstance(wanted, str) and wanted[:1] == "[":
        return words(wanted)
    if isinstance(wanted, list) and wanted:
        return wanted
    if isinstance(wanted, Mapping) and not {*wanted} - {"low", "high", "log", "step"}:
        low, high = wanted.get("low"), wanted.get("high")
        if isinstance(low, int | float) and isinstance(high, int | float) and low < high:
            return [low, high]
    raise ConfigError(f"search: {name}: give {{low: ..., high: ..., log: True}} or a list of values, not {wanted}")


class Search:
    """The trials of a search, which survive an interruption in the sweep's folder."""

    def __init__(self, config: SweepConfig, out: Path) -> None:
        """Checks all ranges; nothing is written before ``open``.

        Raises:
            ConfigError: Optuna is missing, a range is none, or several algorithms or environments are named.
        """
        configs, envs = words(config.configs), words(config.envs)
        if len(configs) != 1 or len(envs) > 1 or config.grid:
            raise ConfigError("search: give one of configs, one of envs, and no grid; a search has one objective")
        self.config, self.out = config, out
        self.base = Setting(configs[0], (envs or [""])[0], {})
        self.ranges = ranges(config.search)
        ends = {name: ends_of(name, wanted) for name, wanted in self.ranges.items()}
        settings = [self.base._replace(values={n: each[k % len(each)] for n, each in ends.items()})
                    for k in range(max(map(len, ends.values())))]  # fmt: skip
        jobs_of(config, settings, out)
        try:
            import optuna
        except ImportError:
            raise ConfigError("search: optuna is missing; pip install 'omarl[search]'") from None
        self.optuna: Any = optuna
        self.trials: dict[int, list[Job]] = {}  # those in progress
        self.asked: dict[int, Any] = {}  # Optuna's objects of those that this process has begun
        self.reported: dict[int, int] = {}  # the step of each trial's last report for pruning
        self.begun = 0

    def open(self, say: Callable[[str], None]) -> None:
        """Opens the record of the trials; those that were in progress will go on."""
        optuna, self.say = self.optuna, say
        optuna.logging.set_verbosity(optuna.logging.WARNING)
        backend = optuna.storages.journal.JournalFileBackend(str(self.out / JOURNAL))
        self.study = optuna.create_study(
            study_name="search", storage=optuna.storages.JournalStorage(backend), load_if_exists=True,
            direction=self.config.direction,
            pruner=optuna.pruners.MedianPruner(n_startup_trials=4))  # fmt: skip
        # another seed after an interrupt: the same one would draw the first settings again
        self.study.sampler = optuna.samplers.TPESampler(seed=len(self.study.trials), constant_liar=True)
        self.left = [t for t in self.study.trials if t.state == optuna.trial.TrialState.RUNNING]
        self.begun = len(self.study.trials) - len(self.left)

    def distribution(self, wanted: Any) -> Any:
        """A range in Optuna's terms: of integers if both bounds are."""
        kinds = self.optuna.distributions
        if not isinstance(wanted, Mapping):
            return kinds.CategoricalDistribution(ends_of("", wanted))
        whole = all(type(wanted[name]) is int for name in ("low", "high"))
        kind = kinds.IntDistribution if whole else kinds.FloatDistribution
        return kind(**wanted)

    def more(self) -> list[Job]:
        """The runs of the next trial; none if all have begun."""
        if self.left:
            trial = self.left.pop(0)
        elif self.begun < self.config.trials:
            trial = self.study.ask({name: self.distribution(wanted) for name, wanted in self.ranges.items()})
            self.asked[trial.number] = trial
        else:
            return []
        self.begun += 1
        jobs = jobs_of(self.config, [self.base._replace(values=dict(trial.params))], self.out)
        self.trials[trial.number] = jobs
        return jobs

    def update(self, status_of: Callable[[Job], Status]) -> list[Job]:
        """Tells Optuna what has become of the trials; returns the runs of those that it gives up."""
        pruned = []
        for number, jobs in list(self.trials.items()):
            statuses = [status_of(job) for job in jobs]
            if any(status.state == "failed" for status in statuses) and self._is_over(statuses):
                self._tell(number, None)
            elif self._is_over(statuses):
                self._tell(number, self.objective(jobs))
            elif self.config.prune and self._is_hopeless(number, statuses):
                pruned += jobs
                del self.trials[number]
                self.study.tell(number, state=self.optuna.trial.TrialState.PRUNED)
        return pruned

    @staticmethod
    def _is_over(statuses: Sequence[Status]) -> bool:
        return all(status.state in OVER for status in statuses)

    def _is_hopeless(self, number: int, statuses: Sequence[Status]) -> bool:
        """Whether the mean score so far is below the median of earlier trials at this step."""
        scores = [status.score for status in statuses if status.score is not None]
        trial = self.asked.get(number)
        if trial is None or len(scores) < len(statuses):
            return False
        step = min(status.t_env for status in statuses)
        if step <= self.reported.get(number, -1):
            return False
        self.reported[number] = step
        trial.report(float(np.mean(scores)), step)
        return bool(trial.should_prune())

    def objective(self, jobs: Sequence[Job]) -> float | None:
        """The mean over seeds of the final score (``comparison.finals_of``); None if it was not logged."""
        try:
            groups = group_runs([read_record(job.run) for job in jobs], self.config.objective, ())
        except OmarlError:
            return None
        finals = [final for group in groups for final in finals_of(group)]
        return float(np.mean(finals)) if len(finals) == len(jobs) else None

    def _tell(self, number: int, value: float | None) -> None:
        del self.trials[number]
        state = self.optuna.trial.TrialState
        self.study.tell(number, value, state=state.COMPLETE if value is not None else state.FAIL)
        text = "failed" if value is None else f"{value:.4g}"
        self.say(f"trial {number}: {text}  {self.words(self.study.trials[number].params)}; {self.best()}")

    @staticmethod
    def words(params: Mapping[str, Any]) -> str:
        """The values of a trial as they stand after ``with``."""
        return " ".join(f"{name}={shown(value)}" for name, value in params.items())

    def best(self) -> str:
        """The best trial so far in one line."""
        try:
            best = self.study.best_trial
        except ValueError:
            return "no trial is complete"
        return f"best {best.value:.4g} (trial {best.number}: {self.words(best.params)})"

    def write(self) -> Path:
        """Writes the table of all trials."""
        text = io.StringIO()
        writer = csv.writer(text, lineterminator="\n")
        writer.writerow(["trial", "state", "objective", *self.ranges])
        for trial in self.study.trials:
            value = "" if trial.value is None else trial.value
            params = [trial.params.get(name, "") for name in self.ranges]
            writer.writerow([trial.number, trial.state.name.lower(), value, *params])
        return write_atomically(self.out / TABLE, text.getvalue())
