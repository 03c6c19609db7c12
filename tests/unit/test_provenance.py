"""Names of code in a checkpoint's configuration: imported only if the user names or trusts them."""

import json
import sys

import pytest
from omarl import registry
from omarl.config.files import read_yaml
from omarl.config.provenance import Foreign
from omarl.configuration.request import from_keywords
from omarl.experiment import configuration
from omarl.types import ConfigError

CORRIDOR = "tests.outside:Corridor"


@pytest.fixture
def checkpoint(tmp_path):
    def make(**values):
        folder = tmp_path / "run" / "checkpoints" / "5"
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "config.json").write_text(json.dumps(values))
        (folder / "run.th").write_bytes(b"")
        return folder

    return make


@pytest.fixture
def canary(tmp_path, monkeypatch):
    """A module in the working directory that writes a file when it is imported."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", list(sys.path))
    (tmp_path / "canary_module.py").write_text("open('executed', 'w').close()\nparallel_env = Env = dict\n")
    yield tmp_path / "executed"
    sys.modules.pop("canary_module", None)
    registry.only_in_files.clear()


HOSTILE = [
    ({"env": "canary_module:Env"}, "env", "canary_module:Env"),
    ({"mac": "canary_module:Env"}, "mac", "canary_module:Env"),
    ({"learner": "canary_module:Env"}, "learner", "canary_module:Env"),
    ({"runner": "canary_module:Env"}, "runner", "canary_module:Env"),
    ({"agent": "canary_module:Env"}, "agent", "canary_module:Env"),
    ({"cell": "canary_module:Env"}, "cell", "canary_module:Env"),
    ({"action_selector": "canary_module:Env"}, "action_selector", "canary_module:Env"),
    ({"mixer": "canary_module:Env"}, "mixer", "canary_module:Env"),
    ({"game": "canary_module:Env"}, "game", "canary_module:Env"),
    ({"mac": "model_mac", "opponent_model": "canary_module:Env"}, "opponent_model", "canary_module:Env"),
    ({"learner": "omg_vae_learner", "base_learner": "canary_module:Env"}, "base_learner", "canary_module:Env"),
    ({"env": "pettingzoo", "env_args": {"key": "canary_module"}}, "env_args.key", "canary_module"),
    ({"env": "gymnasium", "env_args": {"key": "canary_module:X-v0"}}, "env_args.key", "canary_module:X-v0"),
    ({"env_args": {"key": "canary_module:X-v0"}}, "env_args.key", "canary_module:X-v0"),
    ({"env": "gymnasium", "env_args": {"key": "GymV26Environment-v0", "env_id": "canary_module:X"}}, "env_args.key",
     "GymV26Environment-v0"),
    ({"env": "gymnasium", "env_args": {"key": "gymnasium:make", "id": "canary_module:X-v0"}}, "env_args.key",
     "gymnasium:make"),
]  # fmt: skip


@pytest.mark.parametrize(("values", "key", "name"), HOSTILE, ids=[str(values) for values, *_ in HOSTILE])
def test_a_name_that_only_the_file_gives_is_not_imported(checkpoint, canary, values, key, name):
    folder = checkpoint(**values)
    with pytest.raises(ConfigError) as error:
        configuration(["main.py", "evaluate", "with", f"checkpoint_path={folder}"])
    expected = f"{key}: {folder / 'config.json'} names {name}; to import it, add {key}={name}, or trust=True to trust"
    assert str(error.value).startswith(expected)
    assert not canary.exists() and "canary_module" not in sys.modules


@pytest.mark.parametrize(("values", "key", "name"), HOSTILE[:3])
def test_the_words_of_the_message_permit_the_import(checkpoint, canary, values, key, name):
    words = ["main.py", "with", f"checkpoint_path={checkpoint(**values)}", f"{key}={name}"]
    found = configuration(words).values
    assert found[key] == name and canary.exists() and name in found["trust"]


def test_naming_a_checkpoints_environment_keeps_its_arguments(checkpoint):
    folder = checkpoint(env=CORRIDOR, env_args={"fault": "nan"})
    named = from_keywords({"checkpoint_path": folder, "env": CORRIDOR}).values
    assert named["env_args"] == {"fault": "nan"}
    other = from_keywords({"checkpoint_path": folder, "env": "tests.outside:Matrix"}).values
    assert other["env_args"] == {}


def test_a_users_own_file_may_name_code(checkpoint, canary, tmp_path):
    (tmp_path / "mine.yaml").write_text("extends: iql\nmac: canary_module:Env\n")
    assert configuration(["main.py", f"--config={tmp_path}/mine.yaml"]).values["trust"] == ["canary_module:Env"]


def test_a_trusted_name_is_not_imported_from_the_working_directory(checkpoint, canary, monkeypatch, tmp_path):
    folder = checkpoint(env="canary_module:Env")
    for place in ("", str(tmp_path), "."):
        monkeypatch.syspath_prepend(place)
    with pytest.raises(ConfigError, match="is not imported from the working directory unless you name it too"):
        configuration(["main.py", "with", f"checkpoint_path={folder}", "trust=True"])
    assert not canary.exists()
    configuration(["main.py", "with", f"checkpoint_path={folder}", "trust=True", "env=canary_module:Env"])
    assert canary.exists()


def test_trust_imports_an_installed_class_and_is_not_inherited(checkpoint):
    folder = checkpoint(env=CORRIDOR, trust=True)
    with pytest.raises(ConfigError, match=r"names tests\.outside:Corridor"):
        from_keywords({"checkpoint_path": folder})
    for trust in (True, CORRIDOR, [CORRIDOR]):
        assert from_keywords({"checkpoint_path": folder, "trust": trust}).values["env"] == CORRIDOR


def test_packages_of_known_environments_need_no_trust():
    foreign = Foreign("config.json")
    for env, key in (("pettingzoo", "mpe2.simple_tag_v3"), ("pettingzoo", "sisl/pursuit-v5"),
                     ("gymnasium", "lbforaging:Foraging-8x8-2p-3f-v3"), ("gymnasium", "CartPole-v1")):  # fmt: skip
        foreign.check("env_args.key", key, env=env)
    foreign.check("env", "pettingzoo")
    foreign.check("mixer", None)


def test_a_checkpoint_does_not_say_where_to_write(checkpoint, tmp_path):
    folder = checkpoint(learner="q_learner", local_results_path="/elsewhere", out="/elsewhere", trust=True)
    values = configuration(["main.py", "replay", "with", f"checkpoint_path={folder}"]).values
    assert (values["local_results_path"], values["out"], values["trust"]) == ("results", "", False)


@pytest.mark.parametrize("text", [
    "[" * 10**5, "[" * 900 + "]" * 900, '{"a": ' * 300 + "1" + "}" * 300, "[]", "3", '{"name": "a\\u0000"}',
    '{"name": "\\ud800"}', "9" * 5000, '{"a": [' + "1," * 110_000 + "1]}", " " * 3 * 2**20, '{"name": "a/../b"}',
    '{"name": "a\\nb"}', '{"env": "a\\nb:C"}',
])  # fmt: skip
def test_damaged_and_absurd_configurations_are_one_line(checkpoint, text):
    folder = checkpoint()
    (folder / "config.json").write_text(text)
    with pytest.raises(ConfigError) as error:
        configuration(["main.py", "with", f"checkpoint_path={folder}"])
    assert "\n" not in str(error.value) and len(str(error.value)) < 600


@pytest.mark.parametrize("text", [
    "a: " + "9" * 5000, "a: 2001-99-99", "? [a]\n: 1", "a: \x01", "[" * 10**4, "a: &a [*a]",
    "a: !!python/name:os.system",
    "".join(f"a{i}: 1\n" for i in range(150_000)), "a: 1\na: 2", "a" * 3 * 2**20,
], ids=range(10))  # fmt: skip
def test_damaged_and_absurd_yaml_is_one_line(tmp_path, text):
    (tmp_path / "a.yaml").write_text(text)
    with pytest.raises(ConfigError) as error:
        read_yaml(tmp_path / "a.yaml")
    assert "\n" not in str(error.value)


def test_yaml_with_a_few_aliases_is_read(tmp_path):
    (tmp_path / "a.yaml").write_text("a: &a {x: 1}\nb: {<<: *a, y: 2}\nc: [*a, *a]\n")
    assert read_yaml(tmp_path / "a.yaml") == {"a": {"x": 1}, "b": {"x": 1, "y": 2}, "c": [{"x": 1}, {"x": 1}]}
