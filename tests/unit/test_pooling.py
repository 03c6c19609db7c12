"""Making pools: once, however many runs begin together."""

from pathlib import Path

import pytest
import torch
from omarl import default_pool, pooling
from omarl.components.vae_trainer import VAEConfig, VAETrainer
from omarl.opponents.pool import Member, write_pool
from omarl.types import ConfigError

SAID = {"env": "gymnasium", "env_args": {"key": "lbforaging:Foraging-8x8-2p-3f-v3"}, "scripts": "nearest"}


def write_one(folder: Path) -> None:
    folder.mkdir()
    member = Member("nearest", "script", "scripted", "train", script="nearest")
    write_pool(folder, SAID["env"], SAID["env_args"], [member], "")


def test_a_pool_made_meanwhile_by_another_run_is_taken(tmp_path, monkeypatch):
    """It appears after this run has looked for it, before or while this run makes its own."""
    before, check = tmp_path / "before", pooling.check_scripts
    make = pooling.make_pool

    def late(values):
        write_one(before)
        return make(values)

    monkeypatch.setattr(pooling, "make_pool", late)
    assert pooling.make_or_read_pool({**SAID, "out": str(before)}).folder == before
    monkeypatch.setattr(pooling, "make_pool", make)
    during = tmp_path / "during"

    def slow(members, values):
        write_one(during)
        check(members, values)

    monkeypatch.setattr(pooling, "check_scripts", slow)
    assert [m.name for m in pooling.make_or_read_pool({**SAID, "out": str(during)}).members] == ["nearest"]
    assert {path.name for path in tmp_path.iterdir()} == {"before", "during"}  # no drafts are left


def test_the_path_of_a_pool_becomes_absolute(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    values = default_pool.with_pool({"mac": "basic_mac", "pool": "pools/mine", "source": ""}, None)
    assert values == {"mac": "basic_mac", "pool": str(tmp_path / "pools" / "mine"), "source": ""}


def test_a_script_in_two_splits_is_refused(tmp_path):
    with pytest.raises(ConfigError, match=r"scripts, test_scripts, .*'nearest' is named twice"):
        pooling.make_pool({**SAID, "test_scripts": "nearest", "out": str(tmp_path / "x")})
    assert not list(tmp_path.iterdir())


def test_an_unknown_script_is_named(tmp_path):
    with pytest.raises(ConfigError, match="script: 'nearst' is none of"):
        pooling.make_or_read_pool({**SAID, "scripts": "nearst", "out": str(tmp_path / "x")})


@pytest.mark.parametrize("wanted, notices", [(0, 0), (16, 1), (5, 0)])
def test_a_run_has_as_many_latents_as_its_prior(tmp_path, wanted, notices):
    write_one(tmp_path / "pool")
    torch.save(VAETrainer(12, VAEConfig(vae_latent_dim=5)).state_dict(), tmp_path / "pool" / "prior.th")
    lines = []
    values = {"opponent_model": "omg", "source": "", "pool": str(tmp_path / "pool"), "vae_latent_dim": wanted}
    assert default_pool.with_latents(values, lines.append) == {**values, "vae_latent_dim": 5}
    assert len(lines) == notices and all("instead of 16" in line for line in lines)
    for other in ({"opponent_model": "liam"}, {"checkpoint_path": "a run"}):
        assert default_pool.with_latents({**values, **other}, lines.append) == {**values, **other}


def test_a_damaged_prior_is_refused(tmp_path):
    write_one(tmp_path / "pool")
    torch.save({"vae": {}}, tmp_path / "pool" / "prior.th")
    values = {"opponent_model": "omg", "source": "", "pool": str(tmp_path / "pool"), "vae_latent_dim": 16}
    with pytest.raises(ConfigError, match="is no subgoal prior"):
        default_pool.with_latents(values, print)
