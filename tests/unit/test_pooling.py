"""Making pools: once, however many runs begin together."""

from pathlib import Path

import pytest
from omarl import pooling
from omarl.opponents.pool import Member, write_pool
from omarl.types import ConfigError

SAID = {"env": "gymnasium", "env_args": {"key": "lbforaging:Foraging-8x8-2p-3f-v3"}, "scripts": "nearest"}


def write_one(folder: Path) -> None:
    folder.mkdir()
    member = Member("nearest", "script", "scripted", "train", script="nearest")
    write_pool(folder, SAID["env"], SAID["env_args"], [member], "")


def test_whoever_comes_second_takes_what_is_there(tmp_path, monkeypatch):
    """The other run's pool appears after this one has looked for it, before or while it makes its own."""
    before, check = tmp_path / "before", pooling.check_scripts
    make = pooling.make_pool

    def late(said):
        write_one(before)
        return make(said)

    monkeypatch.setattr(pooling, "make_pool", late)
    assert pooling.made_once({**SAID, "out": str(before)}).folder == before
    monkeypatch.setattr(pooling, "make_pool", make)
    during = tmp_path / "during"

    def slow(members, game):
        write_one(during)
        check(members, game)

    monkeypatch.setattr(pooling, "check_scripts", slow)
    assert [m.name for m in pooling.made_once({**SAID, "out": str(during)}).members] == ["nearest"]
    assert {path.name for path in tmp_path.iterdir()} == {"before", "during"}  # no drafts are left


def test_a_run_notes_where_its_pool_lies(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    values = pooling.with_pool({"mac": "basic_mac", "pool": "pools/mine", "source": ""}, None)
    assert values == {"mac": "basic_mac", "pool": str(tmp_path / "pools" / "mine"), "source": ""}


def test_an_opponent_is_of_one_split(tmp_path):
    with pytest.raises(ConfigError, match=r"scripts, test_scripts, .*'nearest' stands twice"):
        pooling.make_pool({**SAID, "test_scripts": "nearest", "out": str(tmp_path / "x")})
    assert not list(tmp_path.iterdir())


def test_what_cannot_be_made_is_still_said(tmp_path):
    with pytest.raises(ConfigError, match="script: 'nearst' is none of"):
        pooling.made_once({**SAID, "scripts": "nearst", "out": str(tmp_path / "x")})
