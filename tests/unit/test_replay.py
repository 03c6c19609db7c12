"""Films of environments whose layout is unknown: pictures that their own ``render`` makes."""

import logging
from dataclasses import replace
from io import BytesIO

import numpy as np
import omarl
import pytest
from omarl.analysis.video import even, gif, mp4
from omarl.config.schema import read
from omarl.configuration.request import from_keywords
from omarl.envs.make import make_vec_env
from omarl.replay import Frames, ReplayConfig, drawn_args, layout_for, replay, target_of
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


def test_a_file_name_selects_the_format_and_the_environment_can_draw_a_known_game_itself(tmp_path):
    """simple_tag's own pictures as an MP4, which is read back: one frame for each step, not all the same."""
    imageio_ffmpeg = pytest.importorskip("imageio_ffmpeg")
    run = omarl.train("iql", env="simple_tag", path=tmp_path / "run", **{**SMALL, "env_args": {"max_cycles": 6}})
    values = from_keywords({"checkpoint_path": run.path, "seed": 1}, command="replay").values
    asked = {"out": str(tmp_path / "film.mp4"), "fps": 2, "drawing": "env"}
    assert replay({**values, **asked}, Logger(logging.getLogger("test"))) == [tmp_path / "film.mp4"]
    assert sorted(path.name for path in tmp_path.iterdir()) == ["film.mp4", "run"]
    video = imageio_ffmpeg.read_frames(str(tmp_path / "film.mp4"))
    about = next(video)
    frames = [np.frombuffer(frame, np.uint8) for frame in video]
    assert about["codec"] == "h264" and about["pix_fmt"].startswith("yuv420p") and about["fps"] == 2
    assert len(frames) == 7 and np.abs(frames[0].astype(int) - frames[-1]).max() > 50
    data = (tmp_path / "film.mp4").read_bytes()
    assert data.index(b"moov") < data.index(b"mdat")  # a browser can begin before it has all


def test_the_environment_draws_on_request_and_a_board_needs_a_layout():
    keys = ("mpe2.simple_tag_v3", "classic/tictactoe")
    known, unknown = (from_keywords({}, "iql", {"key": key}).values for key in keys)
    config = read(ReplayConfig, {})
    assert layout_for(config, known) is not None and layout_for(config, unknown) is None
    assert layout_for(replace(config, drawing="env"), known) is None
    with pytest.raises(ConfigError, match="drawing: board needs the layout of the state, which is unknown"):
        layout_for(replace(config, drawing="board"), unknown)


def test_both_formats_have_the_same_frames_and_odd_sizes_become_even():
    pytest.importorskip("imageio_ffmpeg")
    frames = [np.full((31, 17, 3), 60 * i, np.uint8) for i in range(4)]
    assert even(frames[0]).shape == (32, 18, 3)
    with Image.open(BytesIO(gif(iter(frames), 4))) as film:
        assert (film.n_frames, film.size, film.info["duration"]) == (4, (17, 31), 250)
    assert mp4(iter(frames), 4)[4:8] == b"ftyp"


def test_formats_are_checked_before_anything_is_played(tmp_path, monkeypatch):
    monkeypatch.setattr("omarl.analysis.video.find_spec", lambda name: name)
    config = read(ReplayConfig, {"out": str(tmp_path), "formats": "[gif,mp4]", "checkpoint_path": str(tmp_path)})
    assert target_of(config, tmp_path)[1:] == ("episode", ["gif", "mp4"], True)
    assert target_of(replace(config, out=str(tmp_path / "a.GIF")), tmp_path)[1:] == ("a", ["gif"], False)
    with pytest.raises(ConfigError, match=r"out: film\.webm has an unknown format; give a folder or a file"):
        target_of(replace(config, out=str(tmp_path / "film.webm")), tmp_path)
    monkeypatch.setattr("omarl.analysis.video.find_spec", lambda name: None)
    with pytest.raises(
        ConfigError, match=r"^formats: mp4 needs a package that is missing; pip install imageio-ffmpeg$"
    ):
        target_of(config, tmp_path)
    target_of(replace(config, formats=["gif"]), tmp_path)


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
    config = replace(read(ReplayConfig, {}), env="tests.outside:Corridor", env_args={})
    with pytest.raises(ConfigError, match=r"drawing: the render of tests\.outside:Corridor returns no picture"):
        drawn_args(replace(config, drawing="env"))
    with pytest.raises(
        ConfigError, match=r"game: tests\.outside:Corridor cannot be drawn: its render returns no pict"
    ):
        drawn_args(config)
