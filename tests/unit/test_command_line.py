"""Commands, options and the help of keys."""

import logging
import re

import pytest
from omarl.command_line import commands_in
from omarl.commands import COMMANDS, keys_of
from omarl.configuration.parts import collect, reference
from omarl.experiment import configuration, make_experiment
from omarl.run import RunConfig
from omarl.types import ConfigError


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        (["t_max=100"], "t_max=100: settings come after `with`: with t_max=100"),
        (["--config=iql", "--config", "vdn"], "--config: given twice"),
        (["--confg=omg_vae"], "--confg: no such option; did you mean '--config'?"),
        (["-uz", "with", "t_max=5"], "-z: no such option"),
        (["evalute", "with", "t_max=5"], "evalute: no such command; did you mean 'evaluate'? (known: "),
        (["train", "evaluate"], "evaluate: only one command can be given"),
        (["help", "trian"], "trian: no such command; did you mean 'train'?"),
        (["compare", "with", "seed=abc"], "seed: 'abc' is not an integer (command line)"),
        (["diagnose", "with", "seed=1.5"], "seed: 1.5 is not an integer (command line)"),
    ],
)
def test_a_mistake_gets_one_line(words, expected):
    with pytest.raises(ConfigError) as error:
        configuration(["main.py", *words])
    assert str(error.value).startswith(expected) and "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("words", "command"),
    [
        ([], ["train"]),
        (["with", "evaluate=True"], ["train"]),
        (["evaluate", "-u", "with", "a=b"], ["evaluate"]),
        (["-c", "evaluate", "-F", "help", "--name=pool"], ["train"]),  # values of options are not commands
        (["--comm", "evaluate", "-uc", "help", "-lDEBUG"], ["train"]),  # abbreviated, joined
        (["help", "pool"], ["help", "pool"]),
        (["-p"], ["train"]),
    ],
)
def test_the_command_is_found_among_options(words, command):
    assert commands_in(["main.py", *words], COMMANDS) == command


@pytest.mark.parametrize("name", ["omg_vae", "qmix", "mappo", "omg", "place_prediction", "object_prediction", "liam"])
def test_help_lists_every_key_that_a_configuration_reads(name):
    values = configuration(["main.py", "help", "train", f"--config={name}"]).values
    listed = reference(RunConfig, values).splitlines()
    keys = {line.split()[0] for line in listed if line.startswith("  ")}
    assert set(values) <= keys
    assert f"  t_max = {values['t_max']}" in {line[: len(f"  t_max = {values['t_max']}")] for line in listed}
    (gamma,) = (line for line in listed if line.startswith("  gamma = "))
    assert re.search(r"  discount \(a number from 0 to 1\)$", gamma)


@pytest.mark.parametrize("command", COMMANDS)
def test_help_fits_a_terminal_of_80_columns(command):
    root = keys_of(command)
    for values in ({}, configuration(["main.py", "help", "train", "--config=liam"]).values):
        assert max(len(line) for line in reference(root, values, RunConfig, width=80).splitlines()) <= 80


def test_the_usage_fits_a_terminal_of_80_columns(monkeypatch):
    monkeypatch.setattr("omarl.experiment.console_logger", logging.getLogger)  # ours would stay with the process
    layers = configuration(["main.py"])
    _, usage, _ = make_experiment(layers, 0.0).get_usage("main.py")
    assert [line for line in usage.splitlines() if len(line) > 80 and not re.match(r"  -\w ", line)] == []  # Sacred's


def test_help_of_a_command_lists_its_own_keys_first():
    own, run_keys = reference(keys_of("ablate"), {}, RunConfig).split("Keys of the run:")
    assert own.startswith("Keys of the command:") and "ablate_seeds = 10" in own and "t_max" not in own
    assert "  t_max = " in run_keys and "ablate_" not in run_keys


@pytest.mark.parametrize("command", COMMANDS)
def test_every_key_is_explained(command):
    for name, found in collect(keys_of(command), {}).declarations.items():
        assert found.spec.metadata["help"], name
