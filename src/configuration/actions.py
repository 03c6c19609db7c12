"""The base learner of ``omg_vae`` where actions are not discrete."""

from dataclasses import replace

from ..config.files import read_chain
from ..envs.make import action_kind
from ..modules.action_distributions import SPACES
from ..run import RunConfig
from ..types import OmarlError
from .layers import STORED, Layers, complete, from_files

FOR_DISCRETE, FOR_OTHERS = "omg_vae", "omg_vae_ppo"  # configurations


def suited_to_actions(layers: Layers) -> tuple[Layers, str]:
    """Replaces the Q-learning of ``omg_vae`` by IPPO if the environment's actions are not discrete.

    Keys that the user or the environment's file has set are kept. A learner that the user has chosen is kept, too: it
    refuses actions that it cannot learn.

    Returns:
        The layers, and a line about the replacement; "" if nothing was replaced.
    """
    values = layers.values
    is_default = (values.get("learner"), values.get("base_learner")) == ("omg_vae_learner", "q_learner")
    is_stored = layers.source.get("base_learner", "").endswith(STORED)
    if not is_default or is_stored or {"learner", "base_learner"} & layers.by_user:
        return layers, ""
    try:
        kind = action_kind(values["env"], values["env_args"], values["env_timeout"])
    except OmarlError:  # reported when the run makes its environment
        return layers, ""
    if kind.name == "discrete":
        return layers, ""
    of_q_learning = {path.name for path, _ in read_chain("algs", FOR_DISCRETE)}
    given = {name: source for name, source in layers.source.items() if source not in of_q_learning and name in values}
    suited = replace(from_files(FOR_OTHERS, None), named=layers.named, foreign=layers.foreign)
    for is_users in (False, True):
        suited.add({name: values[name] for name in given if (name in layers.by_user) == is_users}, "", is_users)
    suited.source |= given
    if "name" not in given:
        suited.values["name"] = values["name"]
    full = complete(suited, RunConfig, read_elsewhere=values)
    unused = [name for name in layers.by_user if name in values and name not in full.values]
    full.values |= {"evaluate": values["evaluate"]}
    full.renamed |= layers.renamed
    if "seed" not in values:
        full.values.pop("seed", None)
    line = (
        f"base_learner: {SPACES[kind.name]} actions; ippo trains the agents instead of q_learner (omg_vae_ppo.yaml)"
    )
    return full, f"{line}; without use: {', '.join(sorted(unused))}" if unused else line
