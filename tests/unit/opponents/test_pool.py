"""Manifests of pools: reading, writing, and one-line errors for damaged ones."""

import logging
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


def trained_pool(folder: Path) -> Member:
    (folder / "a").mkdir()
    (folder / "a" / "agent.th").write_bytes(b"one")
    (folder / "a" / "config.json").write_text("{}")
    digests = {"sha256": digest(folder / "a" / "agent.th"), "config_sha256": digest(folder / "a" / "config.json")}
    member = Member("a", "iql", "checkpoint", "train", file="a/agent.th", **digests)
    write_pool(folder, "e", {}, [member], "")
    return member


def test_a_changed_configuration_of_a_member_is_refused(tmp_path):
    trained_pool(tmp_path)
    (tmp_path / "a" / "config.json").write_text('{"agent": "my_pkg:Agent"}')
    with pytest.raises(ConfigError, match=r"a: a/config\.json differs from its sha256"):
        read_pool(tmp_path)


def test_a_pool_without_digests_of_configurations_gives_one_warning(tmp_path, caplog, monkeypatch):
    monkeypatch.setattr(logging.getLogger("omarl"), "propagate", True)
    trained_pool(tmp_path)
    assert not caplog.text
    manifest = tmp_path / "pool.yaml"
    manifest.write_text("\n".join(line for line in manifest.read_text().splitlines() if "config_sha256" not in line))
    for _ in range(2):
        read_pool(tmp_path)
    assert caplog.text.count("has no config_sha256") == 1


@pytest.mark.parametrize("file", ["../x/a/agent.th", "{outside}/a/agent.th", "link/agent.th", "a/../a/agent.th"])
def test_files_outside_the_folder_are_refused(tmp_path, file):
    inner, outer = tmp_path / "pool", tmp_path / "x"
    for folder in (inner, outer):
        folder.mkdir()
        member = trained_pool(folder)
    (inner / "link").symlink_to(outer / "a")
    entry = {**vars(member), "file": file.format(outside=outer)}
    (inner / "pool.yaml").write_text(yaml.safe_dump({"env": "e", "env_args": {}, "opponents": [entry]}))
    with pytest.raises(ConfigError, match="is outside"):
        read_pool(inner)


@pytest.mark.parametrize("entry", [
    {"file": "\n"}, {"file": "x" * 5000}, {"file": 5}, {"file": "a/other.th"}, {"name": "a\nb"}, {"sha256": ""},
    {"noise": float("nan")}, {"noise": 10**400},
])  # fmt: skip
def test_absurd_entries_are_one_line(tmp_path, entry):
    member = trained_pool(tmp_path)
    content = {"env": "e", "env_args": {}, "opponents": [{**vars(member), **entry}]}
    (tmp_path / "pool.yaml").write_text(yaml.safe_dump(content))
    with pytest.raises(ConfigError) as error:
        read_pool(tmp_path)
    assert "\n" not in str(error.value)
