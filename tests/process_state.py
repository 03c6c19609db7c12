"""What a call may change in the process of its caller."""

from __future__ import annotations

import logging
import os
import random
import signal
import sys
import warnings
from typing import Any

import numpy as np
import torch
from omarl.modules.compiled import threads


def process_state() -> dict[str, Any]:
    """Everything that must be as before when a call of the API returns or raises."""
    matplotlib = sys.modules.get("matplotlib")
    return {
        "python's generator": random.getstate(),
        "numpy's generator": str(np.random.get_state(legacy=False)),
        "numpy's generator, the object": id(np.random.get_bit_generator()),
        "torch's generator": torch.get_rng_state().tolist(),
        "torch's threads": torch.get_num_threads(),
        "threads of compiled functions": threads(),
        "gradients": torch.is_grad_enabled(),
        "default type": torch.get_default_dtype(),
        "numpy's errors": np.geterr(),
        "signal handlers": [signal.getsignal(s) for s in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)],
        "environment variables": dict(os.environ),
        "working directory": os.getcwd(),  # noqa: PTH109
        "sys.path": list(sys.path),
        "streams": (sys.stdout, sys.stderr),
        "warning filters": list(warnings.filters),
        "loggers": [
            (list(log.handlers), log.level, log.propagate)
            for log in (logging.getLogger(), logging.getLogger("omarl"), logging.getLogger("omarl.utils"))
        ],
        # the plain value: asking for it would choose one
        "matplotlib's backend": None if matplotlib is None else str(dict.__getitem__(matplotlib.rcParams, "backend")),
    }


def changed(before: dict[str, Any], after: dict[str, Any]) -> list[str]:
    """Names of what differs; a matplotlib that was not there before has no backend to compare."""
    fresh = {"matplotlib's backend"} if before["matplotlib's backend"] is None else set()
    return [name for name in before if before[name] != after[name] and name not in fresh]


def unusual_settings() -> None:
    """A caller whose generators, threads and pending normal number are not the defaults."""
    random.seed(11)
    np.random.seed(12)
    np.random.randn()  # NumPy draws two and keeps one
    torch.manual_seed(13)
    torch.set_num_threads(2)
