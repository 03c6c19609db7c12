"""The OMG VAE learner: a base learner trains the agents, and a state VAE is trained on the same batches.

The VAE is the subgoal prior of OMG (Yu, Jiang and Lu, NeurIPS 2024, section 4.1): it maximises
``E_q[log p(s|g)] - KL(q(g|s) || N(0, I))`` over the states of the agents' training. Agents and VAE share only the
batch: no gradient passes between them.
"""

from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import torch
from torch import Tensor

from ..components.state_sample import StateSample
from ..components.vae_config import VAEConfig
from ..components.vae_trainer import VAETrainer
from ..config.keys import BaseLearnerKeys
from ..config.schema import key, read, user_keys
from ..modules.encoder import as_features, as_stored
from ..types import Batch, Block, Controller, MetricLogger, PathLike, feature_size
from ..utils.metrics import Grid, IntervalStats
from ..utils.tensor_files import load_tensors
from .agent_learner import load_log_state, log_state
from .base_learner import make_base_learner
from .vae_watch import VAEWatch

# numbers of ``VAETrainer.describe`` that are logged about test episodes
TESTED = ("vae_explained_variance", "vae_r2", "vae_accuracy", "vae_active_units", "vae_recon_loss", "vae_kl_loss")


@dataclass(frozen=True)
class OMGVAEConfig(VAEConfig, BaseLearnerKeys):
    """Keys of ``learner: omg_vae_learner``, in addition to the base learner's."""

    vae_input: Literal["state", "obs"] = key("state", help="the VAE models the state or each agent's observation")
    vae_updates: int = key(1, low=1, help="VAE updates for each batch; short runs make more unless it is set")
    vae_keep_states: int = key(
        0, low=0, help="states of the whole run that checkpoints keep, for a prior of several runs (command pool)"
    )
    vae_watch: Literal["off", "warn", "act"] = key("off", help="report, or correct, the VAE's faults at every log")


class OMGVAELearner:
    """PyMARL's learner interface around a base learner and a ``VAETrainer``.

    ``scheme["state"]["vshape"]`` gives S; ``args`` is a namespace or mapping with the declared keys.
    """

    Config = OMGVAEConfig

    def __init__(self, mac: Controller, scheme: Any, logger: MetricLogger, args: Any) -> None:
        self.config = read(OMGVAEConfig, args)
        self.logger = logger
        self.base = make_base_learner(self.config.base_learner, mac, scheme, logger, args)
        self.on_policy = bool(getattr(self.base, "on_policy", False))
        self.trainer = VAETrainer(features_of(scheme, self.config.vae_input, args), self.config)
        kept = self.config.vae_keep_states
        self.sample = StateSample(kept, getattr(args, "seed", None) or 0) if kept else None
        self.stats = IntervalStats()
        self.log_grid = Grid(self.config.learner_log_interval)
        self.watch = VAEWatch(self.trainer, logger, acts=self.config.vae_watch == "act")
        set_by_user = user_keys(args)  # keys that omarl's or a host's files set need no notice
        for line in self.config.notices():
            if "optim_alpha" in set_by_user or not line.startswith("optim_alpha="):
                logger.console_logger.info(line)

    def train(self, batch: Batch, t_env: int, episode_num: int) -> None:
        """One update of the agents, then those of the VAE on the batch's real states.

        Raises:
            TrainingError: updates of the agents or of the VAE are not finite (``components/optimisers.py``).
        """
        self.base.train(batch, t_env, episode_num)
        states = self.real_states(batch)
        self.trainer.collect(states)
        if self.sample is not None:
            self.sample.add(states)
        for _ in range(self.config.vae_updates):
            self.stats.add(self.trainer.update())
        if self.log_grid.due(t_env):
            self._log(states, t_env)

    def real_states(self, batch: Batch) -> Tensor:
        """The VAE's data in a batch: with final steps, without padding and dead agents, [M, S]; pixels as bytes.

        In a rollout, the last observations of episodes that ended are not among its steps, and are added.
        """
        filled = batch["filled"].squeeze(-1) > 0  # [B, T+1]
        ends = getattr(batch, "ends", None)
        stored = getattr(batch, "stored", batch.__getitem__)  # a host's batch has no bytes
        if self.config.vae_input == "state":
            states = stored("state").flatten(2)[filled]
            return states if ends is None else torch.cat([states, as_stored(ends.state.flatten(1), states.dtype)])
        obs = stored("obs").flatten(3)  # [B, T+1, N, O]
        alive = filled[..., None].expand(obs.shape[:3])
        with suppress(KeyError):  # a host's batch has no agent_mask
            alive = alive & (batch["agent_mask"].reshape(alive.shape) > 0)
        if ends is None:
            return obs[alive]
        return torch.cat([obs[alive], as_stored(ends.obs.flatten(2)[ends.agent_mask > 0], obs.dtype)])

    def evaluate(self, batches: list[Batch]) -> dict[str, float]:
        """Metrics of coding held-out episodes: see ``VAETrainer.describe``."""
        described = self.trainer.describe(torch.cat([self.real_states(batch) for batch in batches]))
        return {name: described[name] for name in TESTED if name in described}

    def _log(self, states: Tensor, t_env: int) -> None:
        logged = self.stats.flush(self.logger, t_env)
        state = self.trainer.describe(states)
        for name in ("vae_recon_loss", "vae_kl_loss", "vae_r2"):  # the losses of the updates are logged
            state.pop(name, None)
        state |= {"vae_lr": self.trainer.optimiser.param_groups[0]["lr"], "updates": self.trainer.updates}
        for name, value in {**state, "vae_skipped_updates": self.trainer.skipped.count}.items():
            self.logger.log_stat(name, value, t_env)
        if self.config.vae_watch != "off":
            self.watch.look({**logged, **state}, t_env)

    def cuda(self) -> None:
        """Moves both learners to the GPU."""
        self.base.cuda()
        self.trainer.to("cuda")

    def save_models(self, path: PathLike) -> None:
        """Writes the base learner's files, and ``vae.th``: the VAE, its optimiser and the state statistics."""
        self.base.save_models(path)
        torch.save(self.trainer.state_dict(), Path(path) / "vae.th")
        if self.sample is not None:
            torch.save(as_features(self.sample.states), Path(path) / "states.th")

    def load_models(self, path: PathLike) -> None:
        self.base.load_models(path)
        device = self.trainer.parameters[0].device
        self.trainer.load_state_dict(load_tensors(Path(path) / "vae.th", device))

    def state_dict(self) -> dict[str, Any]:
        """All that the next update depends on, with the base learner's state if it provides one."""
        base = self.base.state_dict() if hasattr(self.base, "state_dict") else None
        kept = None if self.sample is None else self.sample.state_dict()
        own = {"vae": self.trainer.state_dict(), "watch": self.watch.state_dict(), "sample": kept}
        return {"base": base, **own, **log_state(self)}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        if state["base"] is not None:
            self.base.load_state_dict(state["base"])
        self.trainer.load_state_dict(state["vae"])
        if "watch" in state:
            self.watch.load_state_dict(state["watch"])
        if self.sample is not None and state.get("sample") is not None:
            self.sample.load_state_dict(state["sample"])
        load_log_state(self, state)


def features_of(scheme: Any, what: str, args: Any) -> int | Sequence[Block]:
    """The blocks of the ``state`` or ``obs`` that the VAE models, or the number of features if none are known."""
    info = getattr(args, "env_info", None)  # a host's arguments lack it
    blocks: Sequence[Block] = () if info is None else info.blocks_of(what)
    size, vshape = feature_size(scheme, what), scheme[what]["vshape"]
    if sum(block.size for block in blocks) == size:
        return blocks
    return [Block(size, shape=tuple(vshape))] if isinstance(vshape, tuple) and len(vshape) == 3 else size
