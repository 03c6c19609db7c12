"""Layers of configuration: default.yaml < envs/*.yaml < algs/*.yaml < ``with`` of the command line.

When a run is tested or resumed, the config.json of its checkpoint replaces the YAML files.
"""

import logging
import re
from collections.abc import Callable, Collection, Mapping, Sequence
from copy import deepcopy
from dataclasses import dataclass, field, replace
from difflib import get_close_matches
from pathlib import Path
from typing import Any

from ..config.files import CONFIG_DIR, read_chain, read_json, read_yaml
from ..config.keys import TrustKeys
from ..config.provenance import CLASS, ENV_KEY, KNOWN_PACKAGES, Foreign, module_of, texts_in
from ..config.schema import check, read
from ..registry import REGISTRY, current_name, only_in_files, warn_renamed
from ..types import ConfigError
from .parts import Declaration, Schema, collect, owners_elsewhere

log = logging.getLogger(__name__)

COMMAND_LINE = "command line"
STORED = "config.json"  # the configuration of a checkpoint
KEYWORD = "keyword argument"
SACRED_KEYS = {"__doc__", "seed"}
# keys of a checkpoint that are not used: how that run began, where it wrote, and what its user trusted
OF_THAT_RUN = ("checkpoint_path", "load_step", "evaluate", "local_results_path", "observers", "out", "trust")
HOSTS_KEYS = {"optim_alpha"}  # of PyMARL's users; accepted in every run, whatever its optimisers read


@dataclass
class Layers:
    """A configuration, and where each top-level key was set last."""

    values: dict[str, Any] = field(default_factory=dict)  # of every key
    source: dict[str, str] = field(default_factory=dict)  # where each was set, in the order in which they were set
    # the keys that the user has set, on the command line or in a file of their own
    by_user: set[str] = field(default_factory=set)
    # old -> new names of keys that were given by an old name. A key whose value was the old name of a part is listed
    # with itself.
    renamed: dict[str, str] = field(default_factory=dict)
    foreign: str = ""  # the file of a layer that the user did not write; "" if there is none
    named: set[str] = field(default_factory=set)  # every text in the layers that the user has set

    def add(self, values: Mapping[str, Any], source: str, by_user: bool = False) -> None:
        """Adds a layer on top. Mappings are merged; other values are replaced.

        Another environment does not inherit ``env_args`` of the layers below. To name a checkpoint's environment
        again, which permits its import, changes nothing.
        """
        if by_user:
            self.named = self.named | texts_in(values)
            only_in_files.difference_update(
                module for text in self.named for module in (text, text.rpartition(":")[0])
            )
        if _names_environment(values) and not (self.foreign and _same_environment(values, self.values)):
            self.values.pop("env_args", None)
        merge(self.values, values)
        for name in values:
            self.source.pop(name, None)
            self.source[name] = source
        self.by_user = self.by_user | set(values) if by_user else self.by_user - set(values)


def _names_environment(values: Mapping[str, Any]) -> bool:
    return "env" in values or "key" in _arguments(values)


def _same_environment(values: Mapping[str, Any], below: Mapping[str, Any]) -> bool:
    key = _arguments(below).get("key")
    return values.get("env", below.get("env")) == below.get("env") and _arguments(values).get("key", key) == key


def _arguments(values: Mapping[str, Any]) -> Mapping[str, Any]:
    arguments = values.get("env_args")
    return arguments if isinstance(arguments, Mapping) else {}


def merge(into: dict[str, Any], values: Mapping[str, Any]) -> None:
    """Updates ``into`` recursively with copies of the values."""
    for name, value in values.items():
        if isinstance(value, Mapping) and isinstance(into.get(name), dict):
            merge(into[name], value)
        else:
            into[name] = deepcopy(dict(value) if isinstance(value, Mapping) else value)


def from_files(config: str, env_config: str | None) -> Layers:
    """default.yaml < the environment's file, if any < the algorithm's file, each after the files that it extends."""
    layers = Layers()
    files = [(CONFIG_DIR / "default.yaml", read_yaml(CONFIG_DIR / "default.yaml"))]
    environment = read_chain("envs", env_config) if env_config else []
    for path, values in [*files, *environment, *read_chain("algs", config)]:
        ours = path.is_relative_to(CONFIG_DIR)
        layers.add(values, path.name if ours else str(path), by_user=not ours)
    return layers


def from_checkpoint(path: Path) -> Layers:
    """default.yaml < the configuration that a checkpoint was made with."""
    layers = Layers(foreign=str(path / STORED))
    layers.add(read_yaml(CONFIG_DIR / "default.yaml"), "default.yaml")
    stored = read_json(path / STORED)
    layers.add({name: value for name, value in stored.items() if name not in OF_THAT_RUN}, layers.foreign)
    return layers


def complete(layers: Layers, root: type, read_elsewhere: Collection[str] = ()) -> Layers:
    """Checks every key and value, and fills in the defaults of the keys that ``root`` and the run's parts declare.

    Keys in ``read_elsewhere`` are read by other runs of the same sweep.

    Raises:
        ConfigError: one line naming the key, where it was set, and the nearest valid key.
    """
    named = _with_named_model(layers)
    schema = collect(root, named.values, _import_check(named))
    given = _with_new_names(named, schema)
    full = Layers(schema.defaults(), dict(given.source), set(given.by_user), dict(given.renamed))
    for name, value in given.values.items():
        source = given.source[name]
        if name in schema.declarations:
            full.values[name] = _checked(schema.declarations[name], value, source)
            if isinstance(full.values[name], str) and full.values[name] != value:
                full.renamed[name] = name
        elif name in SACRED_KEYS:  # Sacred reads a seed for every command
            if name == "seed" and (not isinstance(value, int) or isinstance(value, bool)):
                raise ConfigError(f"seed: {value!r} is not an integer ({source})")
            full.values[name] = value
        elif name not in read_elsewhere and _is_refused(name, given, schema):
            raise ConfigError(_unknown(name, source, [*schema.declarations, *read_elsewhere]))
        elif schema.undeclared or name in HOSTS_KEYS:
            full.values[name] = value
    if "trust" in full.values:
        full.values["trust"] = full.values["trust"] is True or _names(named) or False
    _report_checkpoint(layers, given, full)
    return full


def _names(layers: Layers) -> list[str]:
    """The names of code outside omarl that the user gave, by ``trust`` or as the value of another key."""
    trust = read(TrustKeys, layers.values).trust
    given = {trust} if isinstance(trust, str) else set() if isinstance(trust, bool) else {*trust}
    env, key = layers.values.get("env"), _arguments(layers.values).get("key")
    named = {text for text in layers.named if CLASS.fullmatch(text) or (text == key and module_of(ENV_KEY, key, env))}
    return sorted(given | {name for name in named if re.split("[.:]", name)[0] not in KNOWN_PACKAGES})


def _import_check(layers: Layers) -> Callable[[str, Any], None] | None:
    """Checks the names of a checkpoint's parts, and at once those of its environment and game; None without one."""
    if not layers.foreign:
        return None
    foreign = Foreign(layers.foreign, _names(layers), read(TrustKeys, layers.values).trust is True)
    env = layers.values.get("env")

    def check(key: str, name: Any) -> None:  # a command with keys of its own, such as crossplay, has only trust
        foreign.check(key, name, key if layers.by_user else "trust", env)

    parts = [("game", layers.values.get("game")), ("env", env)]
    for key, name in [*parts, *(("observers", name) for name in texts_in(layers.values.get("observers")))]:
        check(key, name)
    if str(env) in REGISTRY["env"]:
        check(ENV_KEY, _arguments(layers.values).get("key"))
    return check


def _report_checkpoint(layers: Layers, given: Layers, full: Layers) -> None:
    """Three warnings at most: a checkpoint's old names, keys that this version does not know, and keys it lacks."""
    stored = {name for name, source in layers.source.items() if source.endswith(STORED)}
    old = [f"{name} (now {given.renamed[name]})" for name in given.renamed if name in stored]
    unknown = [name for name in given.values if name in stored - full.values.keys() and not owners_elsewhere(name)]
    if old:
        log.warning("the checkpoint uses old names of keys: %s", ", ".join(old))
    if unknown:
        log.warning("the checkpoint has keys that this version does not know: %s", ", ".join(unknown))
    lacking = (
        sorted(full.values.keys() - given.values.keys() - SACRED_KEYS - set(OF_THAT_RUN) - {"run"}) if stored else []
    )
    if lacking:
        named = ", ".join(lacking[:5]) + (f" and {len(lacking) - 5} more" if len(lacking) > 5 else "")
        log.info("the checkpoint lacks keys, which have their defaults: %s", named)


def complete_all(several: Sequence[Layers], root: type) -> list[Layers]:
    """``complete`` for the runs of a sweep: the user may set a key that only some of them read.

    Raises:
        ConfigError: see ``complete``; a key that the user has set is refused where none of the runs reads it.
    """
    several = [_with_named_model(layers) for layers in several]
    known = {name for layers in several for name in collect(root, layers.values, _import_check(layers)).declarations}
    return [complete(layers, root, known) for layers in several]


def _with_named_model(layers: Layers) -> Layers:
    """The layers without ``omg_latents``, which chose between two opponent models that now have names."""
    if "omg_latents" not in layers.values:
        return layers
    found = replace(layers, values=dict(layers.values), source=dict(layers.source), by_user=set(layers.by_user))
    found.renamed = dict(layers.renamed)
    latents, source = found.values.pop("omg_latents"), found.source.pop("omg_latents")
    model = "place_prediction" if latents == "categorical" else "omg"
    if not source.endswith(STORED):
        warn_renamed(f"omg_latents={latents}", f"opponent_model={model}", source)
    found.values["opponent_model"], found.source["opponent_model"] = model, source
    found.renamed["omg_latents"] = "opponent_model"
    if "omg_latents" in found.by_user:
        found.by_user = found.by_user - {"omg_latents"} | {"opponent_model"}
    return found


def _with_new_names(layers: Layers, schema: Schema) -> Layers:
    """The layers with old names of keys replaced. Where old and new name are given, the later layer wins."""
    found = Layers(dict(layers.values), dict(layers.source), set(layers.by_user), dict(layers.renamed))
    order = list(layers.source)
    for old, new in schema.renamed.items():
        source = layers.source.get(old, "")
        if old in schema.declarations or not (old in layers.by_user or source.endswith(STORED)):
            continue  # it is a key of another part of the run, or a file of ours sets it for a part not in use
        if layers.source.get(new) == source and old in layers.by_user:
            raise ConfigError(f"{old}: the old name of {new}, which is set as well; keep {new} ({source})")
        if not source.endswith(STORED):
            warn_renamed(old, new, source)
        found.renamed[old] = new
        value = found.values.pop(old)
        del found.source[old]
        found.by_user.discard(old)
        if new not in order or order.index(new) < order.index(old):
            found.values[new], found.source[new] = value, source
            found.by_user = found.by_user | {new} if old in layers.by_user else found.by_user - {new}
    return found


def _checked(declaration: Declaration, value: Any, source: str) -> Any:
    """The value in its declared type, and the current name where it is the old name of a part."""
    try:
        typed = check(declaration.config, declaration.spec, value)
    except ConfigError as error:
        raise ConfigError(f"{error} ({source})") from None
    return current_name(declaration.spec.metadata["component"], typed)


def _is_refused(name: str, given: Layers, schema: Schema) -> bool:
    """Whether a key that no part of the run declares is an error.

    It is accepted from a checkpoint, where a file of ours sets it for a part that the user has replaced, and where a
    part from outside declares no keys: it may read any key.
    """
    if name in HOSTS_KEYS or given.source[name].endswith(STORED):
        return False
    if owners_elsewhere(name):
        return name in given.by_user and not schema.undeclared
    return not schema.undeclared or bool(get_close_matches(name, schema.declarations, n=1, cutoff=0.85))


def _unknown(name: str, source: str, known: Sequence[str]) -> str:
    elsewhere = owners_elsewhere(name)
    if elsewhere:
        return f"{name}: no part of this run reads it; it is a key of {', '.join(elsewhere)} ({source})"
    near = get_close_matches(name, known, n=1)
    hint = f"; did you mean {near[0]!r}?" if near else "; help COMMAND lists the keys"
    return f"{name}: unknown key{hint} ({source})"
