"""Configurations that are replaced where the environment does not suit them."""

from __future__ import annotations

from typing import Any

import pytest
from fakes import ClockEnv, env_info
from omarl.configuration.actions import suited_to_actions
from omarl.configuration.request import configured
from omarl.types import ActionKind


class Arrays(ClockEnv):
    """A vectorised environment whose argument states the kind of its actions."""

    vectorised = True
    made = 0  # copies that exist

    def __init__(self, n_envs: int, seed: int, limits: list[float], key: str = "") -> None:
        kind = ActionKind("continuous", limits=tuple(limits)) if limits else ActionKind()
        super().__init__([[3]] * n_envs, info=env_info(actions=kind))
        type(self).made += n_envs

    def close(self) -> None:
        type(self).made -= self.n_envs


@pytest.mark.parametrize("limits, base", [([], "q_learner"), ([1.0, 1.0], "ppo_learner")])
def test_omg_vae_asks_an_environment_of_arrays_for_its_actions(limits: list[float], base: str) -> None:
    arguments: dict[str, Any] = {"limits": limits, "key": "arrays", "frame_stack": 2}
    keys = {"env": f"{__name__}:Arrays", "env_args": arguments}
    layers, line = suited_to_actions(configured(keys, "omg_vae"))
    assert layers.values["base_learner"] == base
    assert line.startswith("base_learner: Box actions") == bool(limits)
    assert Arrays.made == 0
