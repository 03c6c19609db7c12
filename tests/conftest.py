"""Sets one torch thread per test process, and keeps omarl's logger as it is between tests.

The networks are small. On a busy machine, two threads that wait for each other can be 100 times slower than one.
"""

import logging

import pytest
import torch

torch.set_num_threads(1)


@pytest.fixture(autouse=True)
def logger_kept():
    """A handler that a test leaves at omarl's logger would print in later tests."""
    logger = logging.getLogger("omarl")
    handlers, level, propagate = list(logger.handlers), logger.level, logger.propagate
    yield
    logger.handlers[:], logger.propagate = handlers, propagate
    logger.setLevel(level)
