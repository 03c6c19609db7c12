"""Trains a run from its configuration, from start to end or from its last checkpoint."""

from collections.abc import Callable, Collection, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

from .analysis.plots import draw_curves
from .configuration.teams import with_teams
from .fitting import fitted
from .notices import describe, notices
from .run import opened
from .training_loop import Training
from .types import EnvError, OmarlError
from .utils.checkpoints import checkpoints_in, remove_leftovers
from .utils.metrics import Logger
from .utils.run_directory import locked, resume_command
from .utils.stop_signals import signals_noted


def picture(directory: Path) -> str:
    """Draws the curves; returns a line with their path, or with the error, which must not hide an earlier one."""
    try:
        return f"curves: {draw_curves(directory)}"
    except (OSError, OmarlError) as error:
        return f"curves.png not drawn ({error})"


def train(
    values: Mapping[str, Any],
    logger: Logger,
    directory: Path | None,
    user_keys: Collection[str] = (),
    progress: bool = True,
    continues: bool = False,
) -> float | None:
    """Trains from start to end. After an error, too, logged numbers remain and the curves are drawn.

    Args:
        values: the complete configuration, which checkpoints store.
        logger: receives numbers.
        directory: the run's folder; None stores nothing.
        user_keys: the keys that the user has set; see ``run.build``.
        progress: shows a bar, if standard error is a terminal.
        continues: the run in ``directory`` goes on from its last undamaged checkpoint, or from its start if it has
            none.

    Returns:
        The last test's ``test_return_mean``, if there was a test.

    Raises:
        KeyboardInterrupt, EnvError: after a checkpoint was saved.
    """
    say, values = logger.console_logger.info, with_teams(values)
    built = dict(values)
    if continues and directory is not None:
        remove_leftovers(directory)
        last = next(checkpoints_in(directory, "run"), None)
        built |= {"checkpoint_path": str(last), "load_step": 0} if last is not None else {}
    with ExitStack() as stack:
        if directory is not None:
            stack.enter_context(locked(directory))
            if values["save_model"]:
                stack.enter_context(way_to_resume(directory, values, say))
        sizes = fitted(built, user_keys, say)
        parts = stack.enter_context(opened({**built, **sizes}, logger, user_keys, trains=True))
        training: Training | None = None
        try:
            training = Training(parts, {**values, **sizes}, directory, progress, continues)
            _run(training)
        finally:
            parts.close()  # first, so that the curves are drawn from a complete file
            if training is not None:
                for line in training.summary():
                    say(line)
            if directory is not None:
                say(picture(directory))
    return logger.latest.get("test_return_mean")


def _run(training: Training) -> None:
    """Runs the training; saves a checkpoint at its end, at a signal, and if the environment fails."""
    parts, directory, say = training.parts, training.directory, training.parts.logger.console_logger.info
    say("\n".join([describe(parts), *notices(parts.config, parts.info)]))
    if directory is not None:
        say(f"run directory: {directory}")
    try:
        with signals_noted(say) as requests:
            training.run(requests)
            training.save()
    except KeyboardInterrupt:
        say(f"interrupted at step {parts.runner.t_env}")
        raise
    except EnvError:
        training.save(with_episodes=False)
        raise


@contextmanager
def way_to_resume(directory: Path, values: Mapping[str, Any], say: Callable[[str], None]) -> Iterator[None]:
    """After an interrupt or a failure of the environment, prints the command that continues the run."""
    try:
        yield
    except (KeyboardInterrupt, EnvError):
        say(resume_command(directory, values))
        raise
