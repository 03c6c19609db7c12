"""Manifests of pools: reading, writing, and one-line errors for damaged ones."""

from pathlib import Path

import pytest
import yaml
from omarl.opponents.pool import Member, digest, read_pool, write_pool
from omarl.types import ConfigError


def script(name, split="train", **values):
    return Member(name, "script", "scripted", split, script=values.pop("script", name), **values)


def test_a_manifest_is_read_as_written(tmp_path):
    members = [script("nearest"), script("last:0.1", "test", script="last", noise=0.1)]
    pool = write_pool(tmp_path, "gymnasium", {"key": "k"}, members, "")
    assert pool.members == tuple(members)
    assert [member.name for member in read_pool(tmp_path).split("test")] == ["last:0.1"]
    assert pool.prior_file is None
    with pytest.raises(ConfigError, match="no opponent for 'validation'"):
        pool.split("validation")


def test_an_opponent_in_two_splits_is_an_error(tmp_path):
    with pytest.raises(ConfigError, match=r"again \(test\) plays the same as nearest \(train\)"):
        write_pool(tmp_path, "e", {}, [script("nearest"), script("again", "test", script="nearest")], "")
    assert not (tmp_path / "pool.yaml").exists()


def test_a_changed_or_missing_checkpoint_is_refused(tmp_path):
    (tmp_path / "a").mkdir()
    file = tmp_path / "a" / "agent.th"
    file.write_bytes(b"one")
    member = Member("a", "iql", "checkpoint", "train", file="a/agent.th", sha256=digest(file))
    assert write_pool(tmp_path, "e", {}, [member], "").members == (member,)
    twin = Member("b", "iql", "checkpoint", "test", file="a/agent.th", sha256=member.sha256)
    with pytest.raises(ConfigError, match="an opponent must be in one split"):
        write_pool(tmp_path, "e", {}, [member, twin], "")
    file.write_bytes(b"another")
    with pytest.raises(ConfigError, match="differs from its sha256"):
        read_pool(tmp_path)
    file.unlink()
    with pytest.raises(ConfigError, match=r"agent\.th is missing"):
        read_pool(tmp_path)


@pytest.mark.parametrize(
    "text, message",
    [
        ("opponents: 3", "is not the manifest of a pool"),
        ("][", "is not the manifest of a pool"),
        (yaml.safe_dump({"env": "e", "env_args": {}, "opponents": [{"nam": "x"}]}), "unexpected keyword"),
        (yaml.safe_dump({"env": "e", "env_args": {}, "opponents": [
            {"name": "x", "family": "f", "kind": "scripted", "split": "trian"}]}), "x: unknown split or kind"),
        (yaml.safe_dump({"env": "e", "env_args": {}, "opponents": [{"name": "x", "noise": "0,1"}]}), "0,1"),
        (yaml.safe_dump({"env": "e", "env_args": {}, "opponents": ["x"]}), "is not the manifest of a pool"),
        (yaml.safe_dump({"env": "e", "env_args": {}, "opponents": [
            {"name": "x", "family": "f", "kind": "scripted", "split": "train", "noise": 10}]}),
         "x: noise 10 is not between 0 and 1"),
        (yaml.safe_dump({"env": "e", "env_args": {}, "opponents": [], "prior": 5}), "prior: 5 is missing"),
    ],
)  # fmt: skip
def test_damaged_manifests_are_refused_in_one_line(tmp_path: Path, text, message):
    (tmp_path / "pool.yaml").write_text(text)
    with pytest.raises(ConfigError, match=message) as error:
        read_pool(tmp_path)
    assert "\n" not in str(error.value)
    with pytest.raises(ConfigError, match="cannot be read"):
        read_pool(tmp_path / "elsewhere")
