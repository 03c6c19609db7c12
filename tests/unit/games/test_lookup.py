"""Lookup of an environment's game: by the key of the run, the environment's class, or patterns of packages."""

import subprocess
import sys
from dataclasses import replace

import numpy as np
import pytest
from fakes import env_info, pool_of
from omarl.envs.make import make_vec_env
from omarl.envs.single import declared_game
from omarl.games.foraging import Foraging
from omarl.games.game import Game
from omarl.games.lookup import game_of, is_game, layout_of, packaged, part_of, place_indices
from omarl.games.spread import Spread
from omarl.games.tag import Tag
from omarl.opponents.pool_env import PoolEnv
from omarl.run import TRAIN_STREAM, RunConfig, make_env
from omarl.types import ConfigError
from outside import CorridorGame, Walkers


@pytest.mark.parametrize("key, game", [
    ("lbforaging:Foraging-8x8-2p-3f-v3", Foraging), ("Foraging-2s-10x10-3p-4f-coop-v3", Foraging),
    ("mpe2.simple_tag_v3", Tag), ("mpe2.simple_spread_v3", Spread),
    ("my_simple_tag_v3", None), ("mpe2.simple_tag_v30", None), ("foraging", None), ("mpe2.simple_adversary_v3", None),
])  # fmt: skip
def test_keys_match_complete_patterns_only(key, game):
    assert game_of(env_info(key=key)) is game


def test_the_packages_are_found_by_their_folder():
    assert packaged() == {"foraging": Foraging, "spread": Spread, "tag": Tag}


@pytest.mark.parametrize("workers", [0, 1])
def test_the_class_of_an_environment_names_its_game(workers):
    with make_vec_env("outside:Corridor", {}, 2, workers, 0) as env:
        assert env.info.game is CorridorGame
        layout, state = layout_of(env.info), env.reset().state[0]
        assert (layout.places < len(state)).all() and layout.objects(state) == [(1.0, 1.0, "+1")]
        assert place_indices(env.info, ["walker_1"]) == ([1, 1], 1 / 16)
        assert part_of(env.info, "scripts") is Walkers
        pool = PoolEnv(env, pool_of("right"), "train", ["walker_0"], ["actions"], 0, False)
        assert game_of(pool.info) is CorridorGame
        start = pool.reset().state[:, 1].copy()
        step = pool.step(np.zeros((2, 1), np.int64))
        np.testing.assert_allclose(step.final.state[:, 1], start + 1 / 8)


def test_the_key_of_the_run_has_priority_over_the_class():
    corridor = {"env": "outside:Corridor", "env_workers": 0}
    assert make_env(RunConfig(**corridor), 1, TRAIN_STREAM).info.game is CorridorGame
    assert make_env(RunConfig(**corridor, game="spread"), 1, TRAIN_STREAM).info.game is Spread
    named = make_env(RunConfig(**corridor, game="omarl.games.tag:Tag"), 1, TRAIN_STREAM)
    assert is_game(named.info, "tag") and not is_game(named.info, "foraging")


@pytest.mark.parametrize("name, message", [
    ("forraging", "game: unknown name 'forraging'; did you mean 'foraging'"),
    ("outside:Walkers", "is no subclass of omarl.games.game.Game"),
    ("outside:Nothing", "game: module 'outside' has no 'Nothing'"),
])  # fmt: skip
def test_a_game_that_does_not_exist_is_refused(name, message):
    with pytest.raises(ConfigError, match=message):
        make_env(RunConfig(env="outside:Corridor", env_workers=0, game=name), 1, TRAIN_STREAM)


def test_a_missing_part_of_a_game_is_named():
    info = env_info(key="mpe2.simple_spread_v3")
    with pytest.raises(ConfigError, match=r"no scripts known for mpe2.simple_spread_v3 \(known for foraging, tag\)"):
        part_of(info, "scripts")
    with pytest.raises(ConfigError, match="no observer known for fake"):
        part_of(env_info(), "observer")
    assert layout_of(env_info()) is None and place_indices(env_info(), ["a_0"]) == ([], 0.0)


def test_a_subclass_of_a_game_counts_as_that_game():
    class Larger(Foraging):
        pass

    info = replace(env_info(key="mine:env"), game=Larger)
    assert game_of(info) is Larger and is_game(info, "foraging")


def test_an_attribute_game_of_another_kind_is_ignored():
    """Environments of other packages may use the name for something else."""
    for value in ("pong", 3, property(lambda self: 0), object):
        assert declared_game(type("Other", (), {"game": value})()) is None
    assert declared_game(type("Mine", (), {"game": Game})()) is Game


def test_layouts_are_found_without_compiling_anything():
    code = (
        "import sys; from omarl.games.lookup import packaged; packaged();"
        "print([m for m in ('torch', 'numba') if m in sys.modules])"
    )
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert result.stdout.strip() == "[]"
