"""Films of environments whose layout is unknown: pictures that their own ``render`` makes."""

import logging
from dataclasses import replace

import numpy as np
import omarl
import pytest
from omarl.config.schema import read
from omarl.configuration.request import from_keywords
from omarl.envs.make import make_vec_env
from omarl.replay import Frames, drawn_args, replay
from omarl.run import RunConfig
from omarl.types import ConfigError
from omarl.utils.metrics import Logger
from PIL import Image

SMALL = {"t_max": 40, "test_interval": 0, "batch_size": 2, "batch_size_run": 2, "env_workers": 0, "hidden_dim": 8,
         "use_tensorboard": False}  # fmt: skip


def test_an_environment_without_layout_is_shown_by_its_own_pictures(tmp_path):
    """One frame for each step and one for the start; those of the episode before are left out."""
    run = omarl.train("iql", env={"key": "classic/tictactoe"}, path=tmp_path / "run", **SMALL)
    asked = from_keywords({"checkpoint_path": run.path, "seed": 1}, command="replay").values
    paths = replay({**asked, "out": str(tmp_path / "film"), "opponent": ""}, Logger(logging.getLogger("test")))
    with Image.open(tmp_path / "film" / "episode.gif") as gif:
        assert 6 <= gif.n_frames <= 10  # five to nine moves
        last = int(paths[-1].stem.removeprefix("step_"))
        assert gif.n_frames == last + 1


def test_the_first_copy_is_watched_after_each_reset_and_step():
    arguments = {"key": "classic/tictactoe", "render_mode": "rgb_array"}
    env = make_vec_env("pettingzoo", arguments, 2, 0, 0)
    frames = Frames()
    assert env.watch(frames.take)
    observation = env.reset()
    for moves in (1, 2):
        actions = observation.avail[..., :].argmax(axis=-1)
        observation = env.step(actions).observation
        assert len(frames.taken) == moves + 1
    env.close()
    assert all(not np.array_equal(one, other) for one, other in zip(frames.taken, frames.taken[1:], strict=False))


def test_copies_that_are_arrays_cannot_be_watched():
    env = make_vec_env("pettingzoo", {"key": "mpe2.simple_spread_v3"}, 1, 0, 0)
    assert not env.watch(print)
    env.close()


def test_an_environment_that_cannot_be_drawn_is_named():
    config = replace(read(RunConfig, {}), env="tests.outside:Corridor", env_args={})
    with pytest.raises(
        ConfigError, match=r"game: tests\.outside:Corridor cannot be drawn: its render returns no pict"
    ):
        drawn_args(config)
