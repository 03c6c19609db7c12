import logging
import re

import numpy as np
import pytest
import torch
from omarl.types import ConfigError, TrainingError
from omarl.utils import checkpoints
from omarl.utils.checkpoints import (
    damage,
    find_checkpoint,
    last_checkpoints,
    left_out,
    load_checkpoint,
    load_resume_state,
    prune,
    remove_leftovers,
    save_checkpoint,
)
from omarl.utils.seeding import rng_state, seed_everything, set_rng_state, stream_seed


class Learner:
    def __init__(self, value=0.0):
        self.weight = torch.tensor(value)

    def save_models(self, path):
        torch.save(self.weight, f"{path}/agent.th")

    def load_models(self, path):
        self.weight = torch.load(f"{path}/agent.th", weights_only=True)


class Resumable(Learner):
    def state_dict(self):
        return {"weight": self.weight}

    def load_state_dict(self, state):
        self.weight = state["weight"]


def test_find_checkpoint_takes_the_last_the_nearest_or_the_given_one(tmp_path):
    for t in (100, 900, 2000):
        save_checkpoint(tmp_path, t, Learner(float(t)), {}, {})
    (tmp_path / "checkpoints" / "3000").mkdir()  # an unfinished checkpoint
    assert find_checkpoint(str(tmp_path)).name == "2000"
    assert find_checkpoint(str(tmp_path / "checkpoints"), 850).name == "900"
    assert find_checkpoint(str(tmp_path / "checkpoints" / "100")).name == "100"


def test_runs_without_checkpoint_are_left_out_with_a_warning(tmp_path, caplog, monkeypatch):
    monkeypatch.setattr(logging.getLogger("omarl"), "propagate", True)
    good, failed = tmp_path / "1", tmp_path / "2"
    folder = save_checkpoint(good, 100, Learner(), {}, {})
    failed.mkdir()
    assert last_checkpoints([failed, good], "runs") == {good: folder}
    assert f"left out: runs: {failed} holds no checkpoint" in caplog.text
    with pytest.raises(ConfigError, match=r"runs: .* holds no checkpoint"):
        last_checkpoints([failed], "runs")


@pytest.mark.parametrize("kind", [Learner, Resumable])
def test_learners_with_and_without_state_dict_are_restored(tmp_path, kind):
    folder = save_checkpoint(tmp_path, 5, kind(3.0), {"lr": 1}, {"updates": 7})
    learner = kind()
    state = load_checkpoint(folder, learner)
    assert learner.weight == 3.0 and state["updates"] == 7 and state["t_env"] == 5


def test_missing_and_damaged_checkpoints_give_a_one_line_error(tmp_path):
    with pytest.raises(ConfigError, match=r"^checkpoint_path: .*none does not exist; give a run's directory$"):
        find_checkpoint(str(tmp_path / "none"))
    with pytest.raises(ConfigError, match="holds no checkpoint"):
        find_checkpoint(str(tmp_path))
    folder = save_checkpoint(tmp_path, 5, Learner(), {}, {})
    (folder / "run.th").write_bytes(b"half a file")
    for damaged in (b"half a file", b"", (folder / "config.json").read_bytes()):
        (folder / "run.th").write_bytes(damaged)
        with pytest.raises(ConfigError, match=r"^checkpoint_path: .*run.th is damaged \(.+\)$"):
            load_checkpoint(folder, Learner())


@pytest.mark.parametrize(
    ("name", "change", "reason"),
    [
        ("agent.th", lambda b: bytes([b[0] ^ 1]) + b[1:], "agent.th has changed since it was written"),
        ("run.th", lambda b: b[:-1], r"run.th has \d+ bytes, not \d+"),
        ("config.json", None, "config.json is missing"),
        ("checkpoint.json", lambda b: b"{}", "checkpoint.json is damaged"),
        ("checkpoint.json", lambda b: b[:20], "checkpoint.json is damaged"),
    ],
)
def test_a_damaged_checkpoint_is_named_and_the_one_before_it_is_used(
    tmp_path, caplog, monkeypatch, name, change, reason
):
    monkeypatch.setattr(logging.getLogger("omarl"), "propagate", True)
    first, last = (save_checkpoint(tmp_path, t, Resumable(float(t)), {}, {}) for t in (5, 9))
    content = (last / name).read_bytes()
    (last / name).unlink()
    if change is not None:
        (last / name).write_bytes(change(content))
    assert find_checkpoint(tmp_path) == first
    assert re.search(rf"the checkpoint {last} is damaged \({reason}\); the one before it is used", caplog.text)
    for asked in ((last, 0), (tmp_path, 9)):
        with pytest.raises(ConfigError, match=rf"checkpoint_path: the checkpoint .* is damaged \({reason}\)"):
            find_checkpoint(*asked)


def test_a_run_with_only_damaged_checkpoints_is_refused(tmp_path):
    (save_checkpoint(tmp_path, 5, Learner(), {}, {}) / "config.json").unlink()
    with pytest.raises(ConfigError, match=r"all checkpoints of .* are damaged"):
        find_checkpoint(tmp_path)


def test_a_checkpoint_without_manifest_is_used_with_a_warning(tmp_path, caplog, monkeypatch):
    monkeypatch.setattr(logging.getLogger("omarl"), "propagate", True)
    folder = save_checkpoint(tmp_path, 5, Learner(2.0), {}, {})
    (folder / "checkpoint.json").unlink()
    assert find_checkpoint(tmp_path) == folder
    assert "its files are used unchecked" in caplog.text


def test_the_last_checkpoints_and_the_best_keep_the_large_state(tmp_path):
    for t, score in ((1, 0.0), (2, 5.0), (3, 1.0), (4, None), (5, 2.0)):
        save_checkpoint(tmp_path, t, Resumable(float(t)), {}, {}, {"buffer": torch.zeros(3)}, score=score)
    prune(tmp_path, 2)
    folders = [tmp_path / "checkpoints" / str(t) for t in range(1, 6)]
    assert [bool(load_resume_state(folder)) for folder in folders] == [False, True, False, True, True]
    assert [not damage(folder) for folder in folders] == [True] * 5  # all of them can still be loaded
    assert left_out(folders[0]) and not left_out(folders[4])


def test_leftovers_of_an_interrupted_write_are_removed(tmp_path):
    folder = save_checkpoint(tmp_path, 5, Learner(), {}, {})
    (tmp_path / "checkpoints" / ".9.tmp").mkdir()
    (tmp_path / ".run.json.12.tmp").write_text("x")
    remove_leftovers(tmp_path)
    assert sorted(path.name for path in tmp_path.rglob("*") if path.is_dir()) == ["5", "checkpoints"]
    assert not list(tmp_path.glob(".*")) and find_checkpoint(tmp_path) == folder


def test_a_checkpoint_of_another_learner_is_refused(tmp_path):
    class Other(Resumable):
        def load_state_dict(self, state):
            self.weight = state["networks"]

    folder = save_checkpoint(tmp_path, 5, Resumable(), {}, {})
    with pytest.raises(
        ConfigError, match=r"belongs to another learner, environment or size of network \('networks'\)"
    ):
        load_checkpoint(folder, Other())


def test_a_checkpoint_that_cannot_be_written_leaves_no_files(tmp_path, monkeypatch):
    def full(*args):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(checkpoints.torch, "save", full)
    with pytest.raises(TrainingError, match="cannot write the checkpoint"):
        save_checkpoint(tmp_path, 5, Resumable(), {}, {})
    assert not list((tmp_path / "checkpoints").iterdir())


def test_random_generator_state_is_restored():
    seed_everything(3)
    state = rng_state()
    drawn = torch.rand(3)
    set_rng_state(state)
    assert torch.equal(torch.rand(3), drawn)


def test_streams_of_one_seed_differ_and_are_reproducible():
    seeds = [stream_seed(s, k) for s in range(5) for k in range(3)]
    assert len(set(seeds)) == 15
    assert seeds == [stream_seed(s, k) for s in range(5) for k in range(3)]
    assert np.random.default_rng(seeds[0]).random() != np.random.default_rng(seeds[1]).random()
