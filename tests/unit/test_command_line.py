"""What is typed: commands, options, and what help says of keys."""

import re

import pytest
from omarl.command_line import commands_in
from omarl.config.reference import reference
from omarl.config.schema import collect
from omarl.experiment import COMMANDS, ROOTS, configuration
from omarl.run import RunConfig
from omarl.types import ConfigError


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        (["t_max=100"], "t_max=100: settings stand after the word with: with t_max=100"),
        (["--config=iql", "--config", "vdn"], "--config: given twice"),
        (["--confg=omg_vae"], "--confg: no such option; did you mean '--config'?"),
        (["-uz", "with", "t_max=5"], "-z: no such option"),
        (["evalute", "with", "t_max=5"], "evalute: no such command; did you mean 'evaluate'? (there is: "),
        (["train", "evaluate"], "evaluate: one command at a time"),
        (["help", "trian"], "trian: no such command; did you mean 'train'?"),
        (["compare", "with", "seed=abc"], "seed: 'abc' is not a whole number (command line)"),
        (["diagnose", "with", "seed=1.5"], "seed: 1.5 is not a whole number (command line)"),
    ],
)
def test_slips_are_one_line(words, expected):
    with pytest.raises(ConfigError) as error:
        configuration(["main.py", *words])
    assert str(error.value).startswith(expected) and "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("words", "command"),
    [
        ([], ["train"]),
        (["with", "evaluate=True"], ["train"]),
        (["evaluate", "-u", "with", "a=b"], ["evaluate"]),
        (["-c", "evaluate", "-F", "help", "--name=pool"], ["train"]),  # what options take is no command
        (["--comm", "evaluate", "-uc", "help", "-lDEBUG"], ["train"]),  # cut short, stuck together
        (["help", "pool"], ["help", "pool"]),
        (["-p"], ["train"]),
    ],
)
def test_options_and_commands_are_told_apart(words, command):
    assert commands_in(["main.py", *words], COMMANDS) == command


@pytest.mark.parametrize("name", ["omg_vae", "qmix", "mappo", "omg", "omg_categorical", "omg_objects", "liam"])
def test_help_lists_every_key_that_a_configuration_reads(name):
    values = configuration(["main.py", "help", "train", f"--config={name}"]).values
    listed = reference(RunConfig, values).splitlines()
    keys = {line.split()[0] for line in listed if line.startswith("  ")}
    assert set(values) <= keys
    assert f"  t_max = {values['t_max']}" in {line[: len(f"  t_max = {values['t_max']}")] for line in listed}
    (gamma,) = (line for line in listed if line.startswith("  gamma = "))
    assert re.search(r"  discount \(a number, at least 0, at most 1\)$", gamma)


@pytest.mark.parametrize("root", [RunConfig, *ROOTS.values()], ids=lambda root: root.__name__)
def test_every_key_is_explained(root):
    for name, declarations in collect(root, {}).declarations.items():
        assert all(d.spec.metadata["help"] for d in declarations), name
