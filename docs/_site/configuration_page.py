"""Pages about the configuration, generated from the keys that the code declares and from its YAML files."""

from collections.abc import Iterable
from dataclasses import fields
from typing import Any

from omarl.commands import COMMANDS, TOOLS, keys_of
from omarl.config.files import find, packaged
from omarl.config.schema import default_of
from omarl.configuration.parts import Declaration, type_of
from omarl.registry import REGISTRY, resolve

INTRODUCTION = """# Configuration keys

Every key with its default, meaning, type and range, as the code declares them. A run reads the keys of a run, and
those of the parts that its configuration names. A configuration can set another value than the default of the code:
`python main.py help train --config=NAME` shows the values in use, and [Configuration files](files.md) the files.
[Configuration](../configuration.md) explains how to set keys.
"""
KIND_NAMES = {
    "learner": "Learners",
    "mac": "Controllers",
    "agent": "Networks of the agents",
    "runner": "Runners",
    "action_selector": "Action selectors",
    "opponent_model": "Opponent models",
    "mixer": "Mixers",
}


def keys_page() -> str:
    """The configuration reference."""
    run = keys_of("train")
    parts = [INTRODUCTION, "## A run", _table(run)]
    for kind, title in KIND_NAMES.items():
        found = {name: getattr(resolve(kind, name), "Config", None) for name in REGISTRY[kind]}
        if any(found.values()):
            parts += [f"## {title}", f"Chosen by `{kind}`."]
        for name, config in found.items():
            if config is not None:
                parts += [f"### {name}", _table(config)]
    parts += ["## Commands", "`train` reads the keys of a run."]
    for name in COMMANDS[1:]:
        config, about = keys_of(name), TOOLS[name].help if name in TOOLS else "Continues a run in its own folder."
        reads_run = issubclass(config, run)
        parts += [f"### {name} (command)", about + (" It also reads the keys of a run." if reads_run else "")]
        parts.append(_table(config, leave_out={spec.name for spec in fields(run)} if reads_run else ()))
    return "\n\n".join(parts) + "\n"


def _table(config: type, leave_out: Iterable[str] = ()) -> str:
    """A table of the keys of a dataclass."""
    rows = []
    for spec in fields(config):
        if spec.name not in leave_out:
            meaning, values = _cell(spec.metadata["help"]), _cell(type_of(Declaration(config, spec, "")))
            rows.append(f"| `{spec.name}` | `{default_of(spec)!r}` | {meaning} | {values} |")
    return "\n".join(["| key | default | meaning | values |", "|---|---|---|---|", *rows] if rows else [])


def _cell(text: Any) -> str:
    return str(text).replace("|", r"\|").replace("*", r"\*").replace("<", "&lt;")


def files_page() -> str:
    """Every YAML file of the package."""
    parts = ["# Configuration files", "The files behind `--config` and `--env-config`. Later sources win: "
             "`default.yaml` < environment < algorithm < `with`."]  # fmt: skip
    for folder, title in (("algs", "Algorithms"), ("envs", "Environments")):
        parts.append(f"## {title}")
        for name in packaged(folder):
            text = find(folder, name).read_text(encoding="utf-8")
            parts += [f"### {name}", f"```yaml\n{text}```"]
    return "\n\n".join(parts) + "\n"
