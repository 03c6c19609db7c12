"""Environments as arrays: copies of one environment, stepped at once (see ``types.VecEnv``)."""

from .make import make_vec_env

__all__ = ["make_vec_env"]
