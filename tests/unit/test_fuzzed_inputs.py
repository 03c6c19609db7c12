"""Inputs that random search found to end in a traceback: each is refused in one line, or accepted."""

import json
from pathlib import Path

import omarl
import pytest
from omarl import experiment
from omarl.analysis.groups import predecessor
from omarl.config.files import usable_path
from omarl.configuration.request import from_keywords
from omarl.types import ConfigError, OmarlError

LONG, NULL, HALF = "x" * 5000, "a\0b", "a\udcff"


def run_in(folder, folder_name, /, **config):
    """A run's folder with a few points and the configuration ``config``."""
    run = folder / folder_name
    run.mkdir(parents=True)
    lines = [json.dumps({"t_env": 1000 * i, "test_return_mean": 1.0, "vae_kl_loss": 2.0}) for i in range(12)]
    (run / "metrics.jsonl").write_text("\n".join(lines))
    (run / "config.json").write_text(json.dumps({"env_args": {"key": "e"}, **config}))


@pytest.mark.parametrize("key", ["model_memory", "t_max", "lr", "batch_size"])
def test_an_integer_beyond_the_floats_is_no_number(key):
    with pytest.raises(ConfigError, match=rf"^{key}: 1000.* is not a(n integer| number)"):
        from_keywords({key: 10**400}, "omg" if key == "model_memory" else "iql")


def test_help_of_help_is_refused(capsys):
    with pytest.raises(SystemExit) as stop:
        experiment.main(["main.py", "help", "help"])
    assert stop.value.code == 1
    assert capsys.readouterr().err == "error: help: name another command, or none\n"


def test_a_value_with_keys_below_it_is_refused(capsys):
    with pytest.raises(SystemExit):
        experiment.main(["main.py", "plugin", "with", "diagnose=1", "diagnose.x=kl"])
    assert capsys.readouterr().err == "error: with: a key is given both a value and keys below it (a=1 a.b=2)\n"


@pytest.mark.parametrize("content", ["[{}]", "{}", '{"a": "text"}', '[{"a": null}]'])
def test_a_file_without_numbers_is_refused(tmp_path, content):
    (tmp_path / "log.json").write_text(content)
    with pytest.raises(OmarlError):
        omarl.diagnose(tmp_path / "log.json")


@pytest.mark.parametrize(
    "value", [[1], {"a": 1}, 10**400, None, "\ud800"], ids=["list", "mapping", "huge", "null", "half"]
)
@pytest.mark.parametrize("key", ["name", "label", "seed", "env", "env_args", "checkpoint_path"])
def test_runs_with_odd_configurations_are_compared(tmp_path, key, value):
    for name in ("a", "b"):
        run_in(tmp_path, name, **{key: value})
    assert sum(row.seeds for row in omarl.compare([tmp_path]).rows) == 2


@pytest.mark.parametrize("seed", [[1], {"a": 1}])
def test_repeated_seeds_that_are_no_numbers_are_reported(tmp_path, caplog, seed):
    for name in ("a", "b"):
        run_in(tmp_path, name, seed=seed)
    omarl.compare([tmp_path])
    assert "2 runs have the seed" in caplog.text and f"{tmp_path / 'a'}, {tmp_path / 'b'}" in caplog.text


def test_a_predecessor_with_an_impossible_path_is_unknown():
    assert predecessor(LONG, {}) is None and predecessor(NULL, {}) is None


@pytest.mark.parametrize("path", [LONG, "x" * 300, NULL, HALF], ids=["long", "long name", "null", "half"])
@pytest.mark.parametrize(
    "call",
    [
        lambda path: from_keywords({"checkpoint_path": path}),
        lambda path: from_keywords({}, path),
        lambda path: from_keywords({}, f"./{path}.yaml"),
        lambda path: from_keywords({}, None, path),
        lambda path: omarl.load(path),
        lambda path: omarl.evaluate(path),
        lambda path: omarl.diagnose(path),
        lambda path: omarl.compare([path]),
        lambda path: omarl.Run(path).metrics,
        lambda path: omarl.train("iql", path=path, t_max=1),
        lambda path: omarl.make_env(pool=path),
    ],
    ids=[
        "checkpoint_path",
        "config",
        "yaml",
        "env",
        "load",
        "evaluate",
        "diagnose",
        "compare",
        "Run",
        "train",
        "pool",
    ],
)
def test_a_path_that_no_file_can_have_is_refused_in_one_line(tmp_path, monkeypatch, call, path):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(OmarlError) as error:
        call(path)
    assert "\n" not in str(error.value)
    assert not list(tmp_path.iterdir())


def test_a_usable_path_is_returned_with_its_home_folder():
    assert usable_path("~/a", "path") == Path.home() / "a"
    with pytest.raises(ConfigError, match=r"^path: 'x{60}\.\.\.' cannot be used as a path \(File name too long\)$"):
        usable_path(LONG, "path")


def test_a_run_that_logs_zero_updates_is_diagnosed(tmp_path):
    lines = [json.dumps({"t_env": 1000 * i, "vae_kl_loss": 6.0 - i / 50, "vae_recon_loss": 9.0, "updates": 0})
             for i in range(60)]  # fmt: skip
    (tmp_path / "metrics.jsonl").write_text("\n".join(lines))
    assert "updates" in str(omarl.diagnose(tmp_path))
