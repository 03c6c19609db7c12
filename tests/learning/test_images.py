"""Short trainings on images, in which only agents that see where they are, and where their lamp is, come near it."""

from __future__ import annotations

from typing import Any

import numpy as np
import omarl
import pytest
from lights import Lights

KEYS: dict[str, Any] = {"seed": 1, "env_workers": 0, "use_tensorboard": False, "save_model": False, "t_max": 9000,
                        "env_args": {"side": 5}, "test_interval": 9000, "test_nepisode": 64, "gamma": 0.8,
                        "batch_size_run": 32, "rollout_steps": 12, "epochs": 4, "lr": 5e-3, "hidden_dim": 32,
                        "critic_hidden_dim": 32}  # fmt: skip


def test_agents_learn_to_fly_to_the_lamp_that_they_see(tmp_path):
    """Two moths are 3.2 cells away from their lamps on average, so 6.4 is the best return. Random moths gain nothing.
    Moths that do not see their lamp gain 1.6 at most: they fly to the middle, which is 2.4 cells away from lamps."""
    run = omarl.train("mappo", "tests.lights:Lights", path=tmp_path / "run", **KEYS)
    tests = np.array(run.metrics["test_return_mean"].values, dtype=float)
    assert tests[0] < 1.7 and tests[-1] > 3.5


@pytest.mark.parametrize("encoder", ["cnn", "mlp"])
def test_the_key_encoder_chooses_the_first_layers(tmp_path, encoder):
    keys = {**KEYS, "t_max": 400, "test_interval": 0, "save_model": True}
    run = omarl.train("ippo", "tests.lights:Lights", path=tmp_path / "run", encoder=encoder, **keys)
    policy = omarl.load(run, trust=True)
    has_convolutions = any("convolutions" in name for name in policy._actor.agents.state_dict())
    assert has_convolutions == (encoder == "cnn")


def test_a_policy_stacks_the_observations_of_an_environment_as_in_training(tmp_path):
    arguments = {"side": 4, "frame_stack": 3}
    keys = {**KEYS, "t_max": 400, "test_interval": 0, "save_model": True, "env_args": arguments}
    run = omarl.train("ippo", "tests.lights:Lights", path=tmp_path / "run", **keys)
    one, other = omarl.load(run, trust=True), omarl.load(run, trust=True)
    env, raw = omarl.make_env("tests.lights:Lights", seed=2, env_args=arguments), Lights(side=4)
    stacked, (seen, _) = env.reset(), raw.reset()
    copy = env.env._backend._copies[0]._adapter.env
    raw.places, raw.lamps = copy.places.copy(), copy.lamps.copy()
    seen = raw._observe()
    for _ in range(raw.max_cycles - 1):
        actions = one.act(seen)
        assert list(actions.values()) == other.act_arrays(stacked.obs)[0].tolist()
        stacked, seen = env.step(np.array([list(actions.values())])).observation, raw.step(actions)[0]
