"""Adds the VAE learner to a PyMARL fork, the host, or says which lines to add.

The host gets two lines in its ``learners/__init__.py`` and one more YAML file. Nothing else of it is changed.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, fields
from pathlib import Path
from textwrap import indent
from typing import NamedTuple

import yaml

from .config.schema import default_of, key
from .learners.omg_vae_learner import OMGVAEConfig
from .types import ConfigError, OmarlError
from .utils.files import write_atomically

MARK = "# added by omarl"
BACKUP = ".omarl-backup"
LINES = (
    f"from omarl.learners.omg_vae_learner import OMGVAELearner  {MARK}",
    f'REGISTRY["omg_vae_learner"] = OMGVAELearner  {MARK}',
)
ALGORITHM = "omg_vae"
PREFERRED = ("iql", "iql_ns", "vdn", "qmix")  # the host's algorithm that trains the agents: the first one it has

HEADING = "# --- the state VAE of OMG (omarl) ---"
# The keys of the VAE in the host's YAML. Their values are the defaults, except these: a host makes few updates, one
# for each collection.
KEYS = ("vae_lr", "omg_vae_alpha", "vae_alpha_ramp", "vae_updates", "optim_alpha", "grad_norm_clip", "vae_latent_dim",
        "vae_watch", "learner_log_interval")  # fmt: skip
VALUES = {"vae_alpha_ramp": 400, "vae_updates": 8}
SHARED = ("optim_alpha", "grad_norm_clip")  # these keep the host's value if the host's learner reads them
COMMENTS = 30  # column where comments begin


@dataclass(frozen=True)
class PluginConfig:
    """Keys of the command ``plugin``."""

    host: str = key("", help="folder of the fork")
    base: str = key("", help="name of the fork's algorithm whose learner trains the agents; empty: iql")
    apply: bool = key(False, help="make the changes")
    undo: bool = key(False, help="undo the changes")


class Host(NamedTuple):
    """A PyMARL fork, as far as it is needed."""

    root: Path
    package: Path  # the folder that holds learners/ and config/
    registry: Path  # learners/__init__.py
    base: Path  # the YAML of the algorithm that trains the agents
    base_learner: str  # its learner's class as ``package.module:Class``

    @property
    def algorithm(self) -> Path:
        """The YAML that the plugin writes."""
        return self.base.with_name(f"{ALGORITHM}.yaml")


def plugin(config: PluginConfig) -> str:
    """Describes, makes or undoes the changes; returns the text to print.

    Raises:
        ConfigError: the folder is not a PyMARL fork, or its files cannot be interpreted.
        OmarlError: a file cannot be written.
    """
    if not config.host:
        raise ConfigError("host: give the fork's folder, host=/path/to/fork")
    if config.apply and config.undo:
        raise ConfigError("undo: apply=True and undo=True contradict each other; give one")
    host = look_at(Path(config.host).expanduser(), config.base)
    try:
        if config.undo:
            return _undone(host)
        return _applied(host) if config.apply else _described(host)
    except OSError as error:
        raise OmarlError(f"host: {error.filename} cannot be written ({error.strerror})") from None


def look_at(root: Path, base: str) -> Host:
    """Finds the places of the changes in a fork.

    Args:
        root: the fork's folder.
        base: name of the algorithm that trains the agents; if empty, the one of an earlier ``apply=True``.

    Raises:
        ConfigError: the folder is not a PyMARL fork, or its files cannot be interpreted.
    """
    if not root.is_dir():
        raise ConfigError(f"host: there is no folder {root}")
    inside = sorted(p.parents[1] for p in root.glob("*/learners/__init__.py"))
    places = [p for p in (root / "src", root, *inside) if (p / "learners" / "__init__.py").is_file()]
    if not places:
        raise ConfigError(f"host: {root} is not a PyMARL fork: it has no learners/__init__.py")
    package = places[0]
    registry = package / "learners" / "__init__.py"
    text = registry.read_text(encoding="utf-8")
    if not re.search(r"^REGISTRY\b.*=", text, flags=re.MULTILINE):
        raise ConfigError(f"host: {registry} has no REGISTRY; add the learner there by hand: {' / '.join(LINES)}")
    algorithms = package / "config" / "algs"
    ours = algorithms / f"{ALGORITHM}.yaml"  # its first line names the algorithm that it was made from
    made = re.match(rf"{MARK}: (\S+)\.yaml ", ours.read_text(encoding="utf-8")) if ours.is_file() else None
    path = _algorithm(algorithms, base or (made[1] if made else ""))
    values = _mapping(path)
    if "learner" not in values:
        raise ConfigError(f"base: {path} names no learner; choose another with base=NAME")
    return Host(root, package, registry, path, _class_of(text, str(values["learner"]), registry))


def _algorithm(folder: Path, wanted: str) -> Path:
    there = sorted(p.stem for p in folder.glob("*.yaml") if p.stem != ALGORITHM) if folder.is_dir() else []
    if not there:
        raise ConfigError(f"host: {folder} holds no algorithm's YAML")
    if wanted and wanted not in there:
        raise ConfigError(f"base: the host has no {wanted}.yaml (known: {', '.join(there)})")
    return folder / f"{wanted or next((name for name in PREFERRED if name in there), there[0])}.yaml"


def _mapping(path: Path) -> dict[str, object]:
    try:
        values = yaml.safe_load(path.read_text(encoding="utf-8"))
    except yaml.YAMLError as error:
        raise ConfigError(f"base: {path} is not YAML ({' '.join(str(error).split())})") from None
    return values if isinstance(values, dict) else {}


def _class_of(text: str, name: str, registry: Path) -> str:
    """``learners.q_learner:QLearner`` from the text of the host's registry, which is not imported."""
    quoted = rf"[\"']{re.escape(name)}[\"']"
    entry = re.search(rf"^(?:REGISTRY\[{quoted}\]\s*=|\s*{quoted}\s*:)\s*(\w+)", text, flags=re.MULTILINE)
    if entry is None:
        raise ConfigError(f"host: {registry} does not register the learner {name!r} in a line that can be read")
    imported = re.search(
        rf"^from\s+\.?([\w.]+)\s+import\s+(?:(\w+)\s+as\s+{entry[1]}|({entry[1]}))\b", text, flags=re.MULTILINE
    )
    if imported is None:
        raise ConfigError(f"host: {registry} does not import {entry[1]} in a line that can be read")
    package = registry.parents[1]
    main = package / "main.py"  # a host that is installed as a package imports its own parts by that name
    installed = main.is_file() and f"from {package.name}." in main.read_text(encoding="utf-8")
    start = f"{package.name}.learners" if installed else "learners"
    return f"{start}.{imported[1].rpartition('learners.')[2]}:{imported[2] or imported[3]}"


def algorithm_of(host: Host) -> str:
    """The YAML: the keys of the host's algorithm with the learner replaced, then the keys of the VAE."""
    text = host.base.read_text(encoding="utf-8")
    learner = f'learner: "omg_vae_learner"\nbase_learner: "{host.base_learner}"'
    text, swapped = re.subn(r"^learner:.*$", learner, text, flags=re.MULTILINE)
    text, named = re.subn(r"^name:.*$", f'name: "{ALGORITHM}"', text, flags=re.MULTILINE)
    if swapped != 1:
        raise ConfigError(f"base: {host.base} does not set learner in one line that can be read")
    text = re.sub(rf"^({'|'.join(KEYS)}):.*\n?", "", text, flags=re.MULTILINE)  # they follow below
    tail = "" if named else f'\nname: "{ALGORITHM}"\n'
    keys = "\n".join(vae_keys(host))
    return (
        f"{MARK}: {host.base.name} with the OMG VAE learner beside it\n{text.rstrip()}\n{tail}\n{HEADING}\n{keys}\n"
    )


def vae_keys(host: Host) -> list[str]:
    """The lines of ``KEYS``. A key that the host's learner reads, too, keeps the host's value."""
    specs = {spec.name: spec for spec in fields(OMGVAEConfig)}
    default = host.package / "config" / "default.yaml"
    theirs = {**(_mapping(default) if default.is_file() else {}), **_mapping(host.base)}
    lines = []
    for name in KEYS:
        value, comment = VALUES.get(name, default_of(specs[name])), specs[name].metadata["help"]
        if name in SHARED and name in theirs and _learner_reads(host, name):
            value, comment = theirs[name], f"{comment}; the host's own value"
        line = yaml.safe_dump({name: value}).rstrip()
        lines.append(f"{line:{COMMENTS}} # {comment}")
    return lines


def _learner_reads(host: Host, name: str) -> bool:
    """Whether the file of the host's learner contains the name of the key; True if there is no such file."""
    module = host.base_learner.partition(":")[0].rpartition("learners.")[2]
    path = host.registry.parent.joinpath(*module.split(".")).with_suffix(".py")
    return name in path.read_text(encoding="utf-8") if path.is_file() else True


def _command(host: Host) -> str:
    inside = "" if host.package == host.root else f"{host.package.name}/"
    return f"python {inside}main.py --config={ALGORITHM} --env-config=... with ..."


def _described(host: Host) -> str:
    added, algorithm = (indent("\n".join(lines), "    ") for lines in (LINES, algorithm_of(host).splitlines()))
    return (
        f"In {host.registry}, at the end:\n\n{added}\n\nAs {host.algorithm}:\n\n{algorithm}\n\n"
        f"Then, in the host: {_command(host)}\napply=True makes these changes, undo=True takes them back."
    )


def _applied(host: Host) -> str:
    if host.algorithm.is_file() and not _is_ours(host.algorithm):
        raise ConfigError(f"host: {host.algorithm} exists and was not written by omarl; move it away first")
    lines: list[str] = []
    text = host.registry.read_text(encoding="utf-8")
    if all(line in text for line in LINES):
        lines.append(f"{host.registry}: already there")
    else:
        backup = host.registry.with_name(host.registry.name + BACKUP)
        if not backup.exists():
            write_atomically(backup, text)
        write_atomically(host.registry, _without_ours(text).rstrip("\n") + "\n\n" + "\n".join(LINES) + "\n")
        lines.append(f"{host.registry}: two lines added (original: {backup.name})")
    wanted = algorithm_of(host)
    if host.algorithm.is_file() and host.algorithm.read_text(encoding="utf-8") != wanted:
        lines.append(f"{host.algorithm}: left as it is; you have changed it, or an earlier version wrote it")
    else:
        write_atomically(host.algorithm, wanted)
        lines.append(f"{host.algorithm}: written for {host.base.stem} ({host.base_learner})")
    return "\n".join([*lines, f"Now, in the host: {_command(host)}"])


def _undone(host: Host) -> str:
    lines: list[str] = []
    text = host.registry.read_text(encoding="utf-8")
    backup = host.registry.with_name(host.registry.name + BACKUP)
    if MARK in text:
        before = backup.read_text(encoding="utf-8") if backup.is_file() else ""
        plain = _without_ours(text)
        write_atomically(host.registry, before if before.rstrip() == plain.rstrip() else plain.rstrip("\n") + "\n")
        lines.append(f"{host.registry}: restored")
    backup.unlink(missing_ok=True)
    if host.algorithm.is_file() and _is_ours(host.algorithm):
        if host.algorithm.read_text(encoding="utf-8") == algorithm_of(host):
            host.algorithm.unlink()
            lines.append(f"{host.algorithm}: removed")
        else:
            lines.append(f"{host.algorithm}: kept, because you have changed it")
    return "\n".join(lines or ["there is nothing to undo"])


def _is_ours(path: Path) -> bool:
    return path.read_text(encoding="utf-8").startswith(MARK)


def _without_ours(text: str) -> str:
    return "".join(line for line in text.splitlines(keepends=True) if MARK not in line)
