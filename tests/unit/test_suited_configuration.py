"""Configurations that are replaced where the environment does not suit them."""

from __future__ import annotations

from typing import Any

import pytest
from fakes import ClockEnv, env_info
from omarl.configuration.request import configured
from omarl.configuration.suited import suited
from omarl.default_pool import information_for
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
    layers, lines = suited(configured(keys, "omg_vae"))
    assert layers.values["base_learner"] == base
    assert [line.partition(":")[0] for line in lines] == (["base_learner"] if limits else [])
    assert Arrays.made == 0


@pytest.mark.parametrize("config", ["ippo", "mappo", "ppo_history"])
@pytest.mark.parametrize("limits", [[], [1.0, 1.0]])
def test_ppo_has_other_defaults_for_numbers(config: str, limits: list[float]) -> None:
    keys = {"env": f"{__name__}:Arrays", "env_args": {"limits": limits, "key": "arrays"}}
    before = configured(keys, config)
    layers, lines = suited(before)
    changed = {name for name, value in layers.values.items() if value != before.values[name]}
    assert changed == ({"entropy_coef"} if limits else set())
    line = "actions: some are numbers (Box), so entropy_coef=0.0 (instead of 0.01); a value that you set is kept"
    assert lines == ([line] if limits else [])
    assert suited(configured({**keys, "entropy_coef": 0.02}, config))[0].values["entropy_coef"] == 0.02
    assert Arrays.made == 0


@pytest.mark.parametrize("key, name", [
    ("mpe2.simple_spread_v3", "place_prediction"),
    ("lbforaging:Foraging-2s-8x8-2p-2f-v3", "place_prediction"),  # players see a part of the board
    ("lbforaging:Foraging-8x8-2p-3f-v3", "object_prediction"),
])  # fmt: skip
def test_object_prediction_gives_way_to_place_prediction_where_no_objects_are_known(key: str, name: str) -> None:
    keys = {"env_args": {"key": key}, "model_horizon": 7, "seed": 1}
    layers, lines = suited(configured(keys, "object_prediction"))
    assert layers.values["opponent_model"] == layers.values["name"] == name
    assert layers.values["model_horizon"] == 7 and layers.values["seed"] == 1
    assert layers.values["model_hidden_dim"] == (24 if name == "object_prediction" else 128)
    needs = "needs the foods of foraging whose players see everything (--env-config=foraging)"
    expected = f"opponent_model: object_prediction {needs}; this run is one of place_prediction"
    assert lines == ([] if name == "object_prediction" else [expected])


def test_an_opponent_model_that_the_user_names_is_kept() -> None:
    keys = {"env_args": {"key": "mpe2.simple_spread_v3"}, "opponent_model": "object_prediction"}
    layers, lines = suited(configured(keys, "object_prediction"))
    assert layers.values["opponent_model"] == "object_prediction" and not lines


def test_object_prediction_observes_what_it_reads() -> None:
    values = {"opponent_information": ["actions"], "opponent_model": "object_prediction"}
    assert information_for(values) == ["actions", "offsets"]
    assert information_for({**values, "opponent_model": None}) == ["actions"]
