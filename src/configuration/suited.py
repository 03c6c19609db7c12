"""Configurations that are replaced by others, or have other defaults, where the environment does not suit them."""

from dataclasses import replace
from typing import Any

from ..config.files import find
from ..envs.make import described
from ..games.lookup import game_named
from ..modules.action_distributions import SPACES
from ..registry import resolve
from ..run import RunConfig, agents_config
from ..types import ConfigError, EnvInfo, OmarlError
from .layers import STORED, Layers, complete, from_files

Suggestion = tuple[str, bool, str]  # a configuration, whether the run gets its name, and the line about it
NOTHING: Suggestion = ("", False, "")
BOX = "the learner's defaults for Box actions"  # the source of such values


def suited(layers: Layers) -> tuple[Layers, list[str]]:
    """Replaces a configuration that cannot run in the environment, and defaults that do not suit its actions.

    Keys that the user has set are kept, and in a replacement those of the environment's file. A learner or an
    opponent model that the user has chosen is kept, too: it refuses an environment that it cannot learn in.

    Returns:
        The layers, and a line about each change.
    """
    lines = []
    for suggest in (_for_actions, _for_models):
        name, is_renamed, line = suggest(layers)
        if name:
            layers, unused = _replaced(layers, name, is_renamed)
            lines.append(f"{line}; without use: {', '.join(unused)}" if unused else line)
            break
    layers, line = _with_box_defaults(layers)
    return layers, [*lines, line] if line else lines


def _with_box_defaults(layers: Layers) -> tuple[Layers, str]:
    """The defaults that the agents' learner has if actions contain numbers: ``Config.with_box_actions``."""
    values = layers.values
    defaults = getattr(agents_config(values), "with_box_actions", {})
    wanted = {name: value for name, value in defaults.items() if _may_change(layers, name) and values[name] != value}
    info = _info(layers) if wanted else None
    if info is None or not info.actions.limits:
        return layers, ""
    changes = ", ".join(f"{name}={value} (instead of {values[name]})" for name, value in wanted.items())
    full = replace(layers, values={**values, **wanted}, source={**layers.source, **dict.fromkeys(wanted, BOX)})
    return full, f"actions: some are numbers (Box), so {changes}; a value that you set is kept"


def _for_actions(layers: Layers) -> Suggestion:
    """``omg_vae`` trains its agents by IPPO instead of Q-learning where actions are not discrete."""
    values = layers.values
    is_default = (values.get("learner"), values.get("base_learner")) == ("omg_vae_learner", "q_learner")
    if not is_default or not _may_change(layers, "learner", "base_learner"):
        return NOTHING
    info = _info(layers)
    if info is None or info.actions.name == "discrete":
        return NOTHING
    what = f"{SPACES[info.actions.name]} actions; ippo trains the agents instead of q_learner"
    return "omg_vae_ppo", False, f"base_learner: {what} (omg_vae_ppo.yaml)"


def _for_models(layers: Layers) -> Suggestion:
    """The configuration that an opponent model names for environments which do not suit it (``fallback``)."""
    values = layers.values
    if not values.get("opponent_model") or not _may_change(layers, "opponent_model"):
        return NOTHING
    model: Any = resolve("opponent_model", values["opponent_model"])
    info = _info(layers) if getattr(model, "fallback", "") else None
    if info is None:
        return NOTHING
    try:
        model.check_environment(info)
    except ConfigError as error:
        return model.fallback, True, f"{error}; this run is one of {model.fallback}"
    return NOTHING


def _may_change(layers: Layers, *names: str) -> bool:
    """Whether neither the user nor a checkpoint has set these keys."""
    is_stored = any(layers.source.get(name, "").endswith(STORED) for name in names)
    return not is_stored and not {*names} & layers.by_user


def _info(layers: Layers) -> EnvInfo | None:
    """The environment's; None for an environment that cannot be made, which is reported when the run makes it."""
    values = layers.values
    try:
        info = described(values["env"], values["env_args"], values["env_timeout"])
        return replace(info, game=game_named(values["game"])) if values.get("game") else info
    except OmarlError:
        return None


def _replaced(layers: Layers, name: str, is_renamed: bool) -> tuple[Layers, list[str]]:
    """``name`` under the keys of the user and of the environment, and keys of the user that it does not read."""
    values = layers.values
    ours = {path.name for path in find("algs", name).parent.iterdir()}
    given = {key: source for key, source in layers.source.items() if source not in ours and key in values}
    found = replace(from_files(name, None), named=layers.named, foreign=layers.foreign)
    for is_users in (False, True):
        found.add({key: values[key] for key in given if (key in layers.by_user) == is_users}, "", is_users)
    found.source |= given
    if not is_renamed and "name" not in given:
        found.values["name"] = values["name"]
    full = complete(found, RunConfig, read_elsewhere=values)
    full.values |= {"evaluate": values["evaluate"]}
    full.renamed |= layers.renamed
    if "seed" not in values:
        full.values.pop("seed", None)
    return full, sorted(key for key in layers.by_user if key in values and key not in full.values)
