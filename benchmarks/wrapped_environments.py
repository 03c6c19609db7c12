"""Environments in wrappers of SuperSuit, each made by a function.

``env_args.key=benchmarks.wrapped_environments:stacked_spread`` names the first one.
"""

from typing import Any


def stacked_spread() -> Any:
    """simple_spread with the last three observations of each agent in one."""
    import supersuit
    from mpe2 import simple_spread_v3

    return supersuit.frame_stack_v1(simple_spread_v3.parallel_env(), 3)


def padded_listener() -> Any:
    """simple_speaker_listener with observations and actions padded to the same sizes."""
    import supersuit
    from mpe2 import simple_speaker_listener_v4

    return supersuit.pad_action_space_v0(supersuit.pad_observations_v0(simple_speaker_listener_v4.parallel_env()))
