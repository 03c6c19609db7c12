"""Old names of keys, parts and configurations work for one release, each with one line of warning."""

import json
import logging
from dataclasses import dataclass
from types import SimpleNamespace
from typing import ClassVar

import pytest
from omarl.config import files
from omarl.config.schema import key, read
from omarl.configuration.layers import complete, from_checkpoint
from omarl.experiment import configuration
from omarl.registry import REGISTRY, RENAMED, resolve, warn_renamed
from omarl.run import RunConfig
from omarl.types import ConfigError


@dataclass(frozen=True)
class Base:
    renamed: ClassVar[dict[str, str]] = {"old_rate": "model_rate"}
    model_rate: float = key(0.1, above=0, help="rate")


@dataclass(frozen=True)
class Config(Base):
    renamed: ClassVar[dict[str, str]] = {"vae_lr": "model_lr"}
    model_lr: float = key(1e-3, above=0, help="learning rate of the model")


class Learner:
    Config = Config


LEARNER = f"learner={__name__}:Learner"


@pytest.fixture(autouse=True)
def lines(caplog, monkeypatch):
    warn_renamed.cache_clear()
    caplog.set_level(logging.WARNING, "omarl")
    monkeypatch.setattr(logging.getLogger("omarl"), "propagate", True)
    return lambda: [record.getMessage() for record in caplog.records]


def configured(*words):
    return configuration(["main.py", *words])


def test_an_old_key_on_the_command_line_sets_the_new_one(lines):
    argv = ["main.py", "--config=iql", "with", LEARNER, "vae_lr=0.5", "old_rate=2"]
    layers = configuration(argv)
    assert (layers.values["model_lr"], layers.values["model_rate"]) == (0.5, 2.0)
    assert not {"vae_lr", "old_rate"} & set(layers.values)
    assert {"model_lr", "model_rate"} <= layers.by_user and "vae_lr" not in layers.by_user
    assert argv[-2:] == ["model_lr=0.5", "model_rate=2"]  # what Sacred reads and records
    assert sorted(lines()) == [
        "old_rate is now model_rate; the old name works until the next release (command line)",
        "vae_lr is now model_lr; the old name works until the next release (command line)",
    ]


def test_the_value_of_an_old_key_is_checked_under_the_new_name():
    with pytest.raises(ConfigError, match=r"model_lr: -1.0 is out of range, it must be above 0 \(command line\)"):
        configured("--config=iql", "with", LEARNER, "vae_lr=-1")


def test_of_an_old_and_a_new_name_the_later_layer_wins(tmp_path):
    (tmp_path / "new.yaml").write_text(f"extends: iql\n{LEARNER.replace('=', ': ')}\nmodel_lr: 0.2\n")
    (tmp_path / "old.yaml").write_text("extends: new.yaml\nvae_lr: 0.3\n")
    assert configured(f"--config={tmp_path}/old.yaml").values["model_lr"] == 0.3
    assert configured(f"--config={tmp_path}/old.yaml", "with", "model_lr=0.4").values["model_lr"] == 0.4


def test_old_and_new_name_in_one_place_are_refused():
    expected = "vae_lr: the old name of model_lr, which is set as well; keep model_lr (command line)"
    with pytest.raises(ConfigError) as error:
        configured("--config=iql", "with", LEARNER, "vae_lr=0.5", "model_lr=0.5")
    assert str(error.value) == expected


def test_a_name_that_another_part_of_the_run_reads_is_not_an_old_name(lines):
    values = configured("with", "base_learner=" + LEARNER.partition("=")[2], "vae_lr=0.5").values
    assert (values["vae_lr"], values["model_lr"]) == (0.5, 1e-3)
    assert lines() == []


def test_a_key_that_our_own_file_sets_for_a_replaced_part_is_not_an_old_name(lines):
    assert configured("--config=omg_vae", "with", LEARNER).values["model_lr"] == 1e-3
    assert lines() == []


def checkpoint(tmp_path, **values):
    (tmp_path / "config.json").write_text(json.dumps(values))
    layers = from_checkpoint(tmp_path)
    layers.add({"trust": values["learner"]}, "command line", by_user=True)
    return complete(layers, RunConfig)


def test_a_checkpoint_with_old_and_removed_keys_loads(tmp_path, lines):
    found = checkpoint(tmp_path, learner=LEARNER.partition("=")[2], vae_lr=0.5, vae_mu_l2=0.0, removed_key=3)
    assert found.values["model_lr"] == 0.5 and "removed_key" not in found.values
    assert lines() == [
        "the checkpoint uses old names of keys: vae_lr (now model_lr)",
        "the checkpoint has keys that this version does not know: removed_key",
    ]


def test_a_checkpoint_keeps_the_keys_of_a_learner_from_outside(tmp_path, lines):
    outside = "tests.outside:CountingLearner"  # it declares no keys
    assert checkpoint(tmp_path, learner=outside, its_own=3, batch_siz=4).values["its_own"] == 3
    assert lines() == []


def test_a_host_may_use_old_names(lines):
    for args in ({"vae_lr": 0.5}, SimpleNamespace(vae_lr=0.5), {"vae_lr": 0.7, "model_lr": 0.5}):
        assert read(Config, args) == Config(model_lr=0.5)
    assert len(lines()) == 1


def test_old_names_of_parts(monkeypatch, tmp_path, lines):
    monkeypatch.setitem(RENAMED, "learner", {"queue_learner": "q_learner"})
    argv = ["main.py", "--config=iql", "with", "learner=queue_learner"]
    assert configuration(argv).values["learner"] == "q_learner" and argv[-1] == "learner=q_learner"
    assert checkpoint(tmp_path, learner="queue_learner").values["learner"] == "q_learner"
    assert resolve("learner", "queue_learner") is resolve("learner", "q_learner")
    assert lines() == ["queue_learner is now q_learner; the old name works until the next release (learner)"]


def test_old_names_of_configurations(monkeypatch, tmp_path, lines):
    monkeypatch.setitem(files.RENAMED_CONFIGURATIONS["algs"], "independent", "iql")
    monkeypatch.setitem(files.RENAMED_CONFIGURATIONS["envs"], "tag", "simple_tag")
    (tmp_path / "mine.yaml").write_text("extends: independent\n")
    new = configured("--config=iql", "--env-config=simple_tag").values
    assert configured("--config=independent", "--env-config=tag").values == new
    assert configured(f"--config={tmp_path}/mine.yaml", "--env-config=simple_tag").values == new
    assert lines() == [
        "tag is now simple_tag; the old name works until the next release (--env-config)",
        "independent is now iql; the old name works until the next release (--config)",
    ]


def test_new_names_exist_and_old_names_do_not():
    for kind, names in RENAMED.items():
        assert set(names.values()) <= set(REGISTRY[kind]) and not set(names) & set(REGISTRY[kind])
    for folder, names in files.RENAMED_CONFIGURATIONS.items():
        assert set(names.values()) <= set(files.packaged(folder)) and not set(names) & set(files.packaged(folder))


@pytest.mark.parametrize(("latents", "model"), [("categorical", "place_prediction"), ("gaussian", "omg")])
def test_omg_latents_is_the_old_way_to_choose_a_model(tmp_path, lines, latents, model):
    argv = ["main.py", "--config=omg_ppo", "with", f"omg_latents={latents}"]
    found = configuration(argv)
    assert found.values["opponent_model"] == model and "omg_latents" not in found.values
    assert argv[-1] == f"opponent_model={model}"
    change = f"omg_latents={latents} is now opponent_model={model}"
    assert lines() == [f"{change}; the old name works until the next release (command line)"]


def test_a_checkpoint_of_omg_categorical_is_one_of_place_prediction(tmp_path):
    old = {"learner": "opponent_model_learner", "mac": "model_mac", "opponent_model": "subgoal", "omg_codes": 7,
           "omg_latents": "categorical", "omg_horizon": 9, "vae_lr": 2e-3, "omg_selection": "random",
           "vae_window": 4, "pool": "p"}  # fmt: skip
    values = checkpoint(tmp_path, **old).values
    assert values["opponent_model"] == "place_prediction"
    assert (values["model_horizon"], values["model_places"], values["model_lr"]) == (9, 7, 2e-3)
    assert not any(name.startswith(("omg_h", "omg_s", "omg_c", "vae_")) for name in values)


@pytest.mark.parametrize("algorithm", ["liam", "naive_om", "object_prediction"])
def test_opponent_models_that_are_no_vaes_accept_vae_lr(lines, algorithm):
    assert configured(f"--config={algorithm}", "with", "vae_lr=0.25").values["model_lr"] == 0.25
    assert lines() == ["vae_lr is now model_lr; the old name works until the next release (command line)"]
    with pytest.raises(ConfigError, match="vae_mu_l2: no part of this run reads it"):
        configured(f"--config={algorithm}", "with", "vae_mu_l2=0.1")
