"""Calls that leave the process as they found it."""

from __future__ import annotations

import logging
import os
import random
import sys
import warnings
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import torch

from .seeding import rng_state, set_rng_state

LOGGERS = (None, "omarl")  # the root's handlers, and those of the console


@contextmanager
def process_state_kept() -> Iterator[None]:
    """Restores, however its body ends, what a run and the packages that it imports may change in the process.

    These are: the random generators of Python, NumPy and torch, torch's number of threads, environment variables,
    the working directory, ``sys.path``, the standard streams, warning filters, and the handlers and levels of the
    loggers. Two threads must not be inside at once: generators are global.
    """
    with ExitStack() as stack:
        stack.enter_context(warnings.catch_warnings())
        for keep in (_streams, _paths, _environment, _loggers, _threads, generators_kept):
            stack.enter_context(keep())
        yield


@contextmanager
def generators_kept() -> Iterator[None]:
    """Restores the global generators of Python, NumPy and torch. NumPy has a fresh one in the meantime."""
    python, restore_numpy, torchs = random.getstate(), _fresh_numpy_generator(), rng_state()
    was_initialized, seed = torch.cuda.is_initialized(), torch.initial_seed()
    try:
        yield
    finally:
        random.setstate(python)
        restore_numpy()
        set_rng_state(torchs)
        if not was_initialized:  # a GPU that starts later starts from the seed that torch had
            torch.cuda.manual_seed_all(seed)


def _fresh_numpy_generator() -> Callable[[], None]:
    """Exchanges NumPy's global generator, which may be of a kind that takes no seed. Returns what undoes it."""
    generator: Any = np.random.get_bit_generator()  # type: ignore[attr-defined]
    state = np.random.get_state(legacy=False)
    np.random.set_bit_generator(np.random.MT19937())  # type: ignore[attr-defined]

    def restore() -> None:
        np.random.set_bit_generator(generator)  # type: ignore[attr-defined]
        np.random.set_state(state)  # holds a normal number drawn in advance, too

    return restore


@contextmanager
def _threads() -> Iterator[None]:
    threads = torch.get_num_threads()
    try:
        yield
    finally:
        torch.set_num_threads(threads)


@contextmanager
def _environment() -> Iterator[None]:
    variables = dict(os.environ)
    try:
        yield
    finally:
        for name in os.environ.keys() - variables.keys():
            del os.environ[name]
        for name, value in variables.items():
            if os.environ.get(name) != value:
                os.environ[name] = value


@contextmanager
def _paths() -> Iterator[None]:
    folder, path = Path.cwd(), list(sys.path)
    try:
        yield
    finally:
        sys.path[:] = path
        os.chdir(folder)


@contextmanager
def _streams() -> Iterator[None]:
    """numba imports colorama, which replaces both streams where they are no terminal."""
    streams = sys.stdout, sys.stderr
    try:
        yield
    finally:
        sys.stdout, sys.stderr = streams


@contextmanager
def _loggers() -> Iterator[None]:
    loggers = [logging.getLogger(name) for name in LOGGERS]
    states = [(list(logger.handlers), logger.level, logger.propagate) for logger in loggers]
    try:
        yield
    finally:
        for logger, (handlers, level, propagate) in zip(loggers, states, strict=True):
            logger.handlers[:] = handlers
            logger.setLevel(level)
            logger.propagate = propagate
