"""Context managers that restore the global state of the process."""

import logging
import os
import random
import sys
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import torch
from threadpoolctl import threadpool_limits

from .seeding import rng_state, set_rng_state

_numpy: Any = np.random  # NumPy's type stubs lack the functions used here


@contextmanager
def process_state_kept() -> Iterator[None]:
    """Restores global state that a run and its imports may change, also after an error.

    This state is: the random generators of Python, NumPy and torch, torch's number of threads, environment variables,
    the working directory, ``sys.path``, the standard streams, warning filters, and the handlers and levels of the
    loggers. Two threads must not use it at the same time, because the generators are global.
    """
    threads, variables, folder, path = torch.get_num_threads(), dict(os.environ), Path.cwd(), list(sys.path)
    streams = sys.stdout, sys.stderr  # numba imports colorama, which replaces them if they are not a terminal
    loggers = [logging.getLogger(), logging.getLogger("omarl")]
    outputs = [(list(logger.handlers), logger.level, logger.propagate) for logger in loggers]
    with warnings.catch_warnings(), _generators_kept():
        try:
            yield
        finally:
            torch.set_num_threads(threads)
            for name in os.environ.keys() - variables.keys():
                del os.environ[name]
            os.environ.update({name: value for name, value in variables.items() if os.environ.get(name) != value})
            sys.path[:] = path
            sys.stdout, sys.stderr = streams
            for logger, (handlers, level, propagate) in zip(loggers, outputs, strict=True):
                logger.handlers[:], logger.propagate = handlers, propagate
                logger.setLevel(level)
            os.chdir(folder)


@contextmanager
def one_blas_thread() -> Iterator[None]:
    """Products of NumPy use one thread: they are small."""
    with threadpool_limits(1, "blas"):
        yield


@contextmanager
def _generators_kept() -> Iterator[None]:
    """Restores the global generators. NumPy has another one in the meantime: the caller's may not take a seed."""
    python, torchs, torch_seed = random.getstate(), rng_state(), torch.initial_seed()
    generator, state = _numpy.get_bit_generator(), _numpy.get_state(legacy=False)
    had_gpu = torch.cuda.is_initialized()
    _numpy.set_bit_generator(np.random.MT19937())
    try:
        yield
    finally:
        random.setstate(python)
        _numpy.set_bit_generator(generator)
        _numpy.set_state(state)  # the generator's state, and a normal number drawn in advance
        set_rng_state(torchs)
        if not had_gpu:  # its generators start from torch's seed
            torch.cuda.manual_seed_all(torch_seed)
