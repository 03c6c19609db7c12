"""A base learner whose policy is told what an opponent model believes, and the model's own training beside it.

LIAM and naive modelling tell the policy their code or their forecast. OMG tells it a subgoal: in training a mixture
of what is inferred and what hindsight selects, in acting always what is inferred (Yu, Jiang and Lu, NeurIPS 2024).
No gradient passes between policy and model.
"""

from __future__ import annotations

import copy
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import torch
from torch import Tensor

from ..components.episode_batch import EpisodeBatch
from ..components.optimisers import load_optimiser, make_optimiser, optimiser_step
from ..components.rollout import Rollout
from ..components.schedules import linear
from ..config.schema import key, read
from ..modules.losses import kl_gaussians, sample_gaussian
from ..opponents.pool import read_pool
from ..registry import resolve
from ..types import ConfigError, MetricLogger, PathLike
from ..utils.metrics import Grid, IntervalStats
from .model_reports import action_accuracy, added, steps_to_adapt, subgoal_hits
from .subgoals import SubgoalPrior, select, selected, states_to_come
from .vae_trainer import VAEConfig, VAETrainer


@dataclass(frozen=True)
class OpponentModelLearnerConfig(VAEConfig):
    """Keys of ``learner: opponent_model_learner``; those of the base learner and of the model join them."""

    base_learner: str = key("ppo_learner", component="learner", help="trains the policy: ppo_learner or pqn_learner")
    model_epochs: int = key(1, low=1, help="the model's passes over each rollout")
    model_minibatches: int = key(4, low=1, help="its updates of each pass")
    source: str = key("", help="of the prior, and of opponents without pool: an omg_vae run, or a pool")
    pool: str = key("", help="the opponents")
    omg_mode: Literal["optimistic", "conservative"] = key("optimistic", help="friends, or foes")
    omg_horizon: int = key(5, low=1, help="H: subgoals are states of the next so many steps")
    omg_selection: Literal["value", "random", "next", "third"] = key("value", help="which of those")
    omg_input: Literal["mixture", "inferred", "prior"] = key(
        "mixture", help="the subgoal that the policy trains under"
    )
    omg_anneal_time: int = key(200_000, low=0, help="steps over which the mixture turns to what is inferred")
    learner_log_interval: int = key(1000, low=1, help="environment steps between logs")


class OpponentModelLearner:
    """PyMARL's learner interface, fed with rollouts.

    Args:
        mac: a ``ModelMAC`` with a model.
        scheme: PyMARL's.
        logger: ``log_stat(key, value, t)``.
        args: namespace with the declared keys.
    """

    Config = OpponentModelLearnerConfig
    on_policy = True

    def __init__(self, mac: Any, scheme: Any, logger: MetricLogger, args: Any) -> None:
        c = self.config = read(OpponentModelLearnerConfig, args)
        self.mac, self.logger = mac, logger
        self.model: Any = getattr(mac, "model", None)
        if self.model is None:
            raise ConfigError("opponent_model: the learner opponent_model_learner needs mac=model_mac and a model")
        self.base = resolve("learner", c.base_learner)(mac, scheme, logger, args)
        self.n_agents = args.n_agents
        self.stats, self.log_grid = IntervalStats(), Grid(c.learner_log_interval)
        self.parameters = list(self.model.parameters())
        self.prior: SubgoalPrior | None = None
        state_dim = args.env_info.state_shape
        if getattr(self.model, "keeps_goal", False):
            self.prior = SubgoalPrior(self._prior_file(), state_dim, args)
            self.trainer = VAETrainer(state_dim, c, network=self.model)
        self.optimiser = make_optimiser("adam", self.parameters, c.vae_lr, eps=c.optim_eps)

    def _prior_file(self) -> Path:
        source = self.config.source or self.config.pool
        for name in ("vae.th", "prior.th"):
            if (Path(source) / name).is_file():
                return Path(source) / name
        checkpoints = sorted(Path(source).glob("checkpoints/*/vae.th"), key=lambda p: int(p.parent.name))
        if checkpoints:
            return checkpoints[-1]
        file = read_pool(source).prior_file
        if file is None:
            raise ConfigError(
                f"source: {source} has no subgoal prior; make the pool with one, or give a run of omg_vae"
            )
        return file

    def train(self, batch: Rollout, t_env: int, episode_num: int) -> None:
        """The policy's updates under the beliefs that it acted on, then the model's."""
        with torch.no_grad():
            goals = self._believe(batch, t_env)
        self.base.train(batch, t_env, episode_num)
        taken = self.model.actions_taken(batch)
        copies = batch.batch_size
        for _ in range(self.config.model_epochs):
            parts = torch.randperm(copies, device=batch.device).chunk(min(self.config.model_minibatches, copies))
            for part in parts:
                self._update_model(batch.copies(part), taken[part], None if goals is None else goals[part])
        if self.log_grid.due(t_env):
            self.stats.flush(self.logger, t_env)

    def _believe(self, batch: Rollout, t_env: int) -> Tensor | None:
        """Puts the conditions into ``batch``; returns the selected subgoals' states [E, T, N, S], if any."""
        features = self.model.features(batch, self.mac.split_carry(batch.carry)[1])
        inferred = self.model.condition(features)
        batch.data["condition"] = batch.data["critic_condition"] = inferred
        if batch.ends is not None:
            e = batch.ends
            batch.ends_condition, _ = self.model.step(e.obs, self.mac.split_carry(e.carry)[1])
        if self.prior is None:
            return None
        states, codes, chosen = self._select(batch)
        if self.config.omg_input != "inferred":
            batch.data["condition"] = self._mixed(inferred, codes, t_env)
        if not hasattr(self.base, "critic"):
            # Equation 8: the next state is judged under this goal. A critic's baseline, though, must not know what
            # hindsight selects, which depends on the very action that it is to judge: it is told what is inferred.
            condition = batch.data["condition"]
            batch.next_condition = condition[:, :-1]
            if batch.ends is not None:
                batch.ends_condition = condition[batch.ends.copy, batch.ends.step]
        self.stats.add(selected(chosen, self.config.omg_horizon))
        return states

    def _select(self, batch: Rollout) -> tuple[Tensor, Tensor, Tensor]:
        """The selected states [E, T, N, S], their codes [E, T, N, Z], and which candidates they were [E, T, N]."""
        c = self.config
        assert self.prior is not None
        states, valid = states_to_come(batch, c.omg_horizon)
        goals, _ = self.prior.encode(states)
        chosen = select(c.omg_selection, c.omg_mode == "optimistic", goals, valid,
                        lambda each: self._value(batch, each), self.n_agents)  # fmt: skip

        def taken(candidates: Tensor) -> Tensor:  # [E, T, K, ...] -> [E, T, N, ...]
            index = chosen[..., None].expand(*chosen.shape, candidates.shape[-1])
            return candidates.gather(2, index)

        return taken(states), taken(goals), chosen

    def _value(self, batch: Rollout, goals: Tensor) -> Tensor:
        """V of the states now under goals [E, T, N, K, Z]: [E, T, N, K]."""
        k = goals.shape[3]
        if hasattr(self.base, "critic"):
            obs, state = batch["obs"][:, :-1], batch["state"][:, :-1].flatten(2)
            return torch.stack([self.base.critic(obs, state, goals[..., i, :]) for i in range(k)], dim=-1)
        features = self.mac.features(batch)[:, :-1, :, None].expand(-1, -1, -1, k, -1)
        return self.mac.head(features, goals).mean(dim=-1)

    def _mixed(self, inferred: Tensor, selected: Tensor, t_env: int) -> Tensor:
        """g_t: what is inferred, or the selected state's code with the probability that t_env says."""
        c = self.config
        share = 1.0 if c.omg_input == "prior" else linear(1.0, 0.0, c.omg_anneal_time, t_env)
        swap = torch.rand(selected.shape[:-1], device=selected.device) < share
        return torch.cat([torch.where(swap[..., None], selected, inferred[:, :-1]), inferred[:, -1:]], dim=1)

    def _update_model(self, batch: Rollout, taken: Tensor, states: Tensor | None) -> None:
        """One update of the model on some of the copies."""
        features = self.model.features(batch, self.mac.split_carry(batch.carry)[1])
        mask = batch["agent_mask"][:, :-1].float()
        if states is not None:
            self.stats.add(self._update_subgoals(batch, features, mask, states))
            return
        loss, numbers = self.model.losses(batch, features[:, :-1], mask, taken)
        norm = optimiser_step(self.optimiser, loss, self.parameters, self.config.grad_norm_clip)
        self.stats.add({"model_loss": loss.detach(), "model_grad_norm": norm, **numbers})

    def _update_subgoals(
        self, batch: Rollout, features: Tensor, mask: Tensor, states: Tensor
    ) -> dict[str, Tensor | float]:
        """OMG's CVAE: reconstruct the state now, stay near the prior of the selected state."""
        assert self.prior is not None
        valid = mask > 0
        valid[:, 0] = False  # the features of the step before are not here
        mu, log_var = self.model.infer(features[:, :-1][valid])
        mu_p, log_var_p = self.prior.encode(states[valid])
        kl = kl_gaussians(mu, log_var, mu_p, log_var_p)
        if self.model.inference == "mlp":  # supervised: the mean is regressed, nothing is decoded
            loss = (mu - mu_p).square().sum(dim=-1).mean()
            norm = optimiser_step(self.optimiser, loss, self.parameters, self.config.grad_norm_clip)
            return {"omg_loss": loss.detach(), "omg_kl_loss": kl.detach().sum(dim=-1).mean(), "omg_grad_norm": norm}
        goal = sample_gaussian(mu, log_var)
        before = torch.zeros_like(features[:, :-1])
        going_on = (1.0 - batch["begins"][:, 1:-1].float())[..., None]
        before[:, 1:] = features[:, :-2] * going_on
        now = batch["state"][:, :-1, None].flatten(3).expand(-1, -1, self.n_agents, -1)[valid]
        target = self.prior.standardised(now)
        numbers = self.trainer.descend(target, self.model.decode(goal, before[valid]), mu, kl)
        return {f"omg_{name.removeprefix('vae_')}": value for name, value in numbers.items()}

    def cuda(self) -> None:
        """Moves everything to the GPU."""
        self.base.cuda()
        if self.prior is not None:
            self.prior.cuda()

    def save_models(self, path: PathLike) -> None:
        """The base learner's files; the model lies in ``agent.th``."""
        self.base.save_models(path)

    def load_models(self, path: PathLike) -> None:
        """Reads what ``save_models`` wrote."""
        self.base.load_models(path)

    def state_dict(self) -> dict[str, Any]:
        """Everything the next update depends on."""
        trainer = None if self.prior is None else self.trainer.state_dict()
        return {
            "base": self.base.state_dict(),
            "model": copy.deepcopy(self.model.state_dict()),
            "optimiser": copy.deepcopy(self.optimiser.state_dict()),
            "trainer": trainer,
            "prior": None if self.prior is None else self.prior.trainer.state_dict(),
            "extra": self.model.extra_state() if hasattr(self.model, "extra_state") else None,
        }

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Takes up ``state_dict``."""
        self.base.load_state_dict(state["base"])
        self.model.load_state_dict(state["model"])
        load_optimiser(self.optimiser, state["optimiser"])
        if self.prior is not None:
            self.trainer.load_state_dict(state["trainer"])
            self.prior.trainer.load_state_dict(state["prior"])
        if state["extra"] is not None:
            self.model.load_extra_state(state["extra"])

    def evaluate(self, batches: Sequence[EpisodeBatch]) -> dict[str, float]:
        """How well the model tells opponents on whole episodes: see ``model_reports``."""
        prefix, first = ("model", "action_accuracy") if self.prior is None else ("omg", "hit_ratio")
        if self.prior is None:
            found = added([action_accuracy(self.model, batch) for batch in batches])
        else:
            horizon = self.config.omg_horizon
            found = added([subgoal_hits(self.model, self.prior, batch, horizon) for batch in batches])
        if not found or not found["count"].sum():
            return {}
        count = found["count"].sum()
        values = {first: float(found["hits"].sum() / count)}
        if "chance" in found:
            values["hit_chance"] = float(found["chance"].sum() / count)
        values["steps_to_adapt"] = steps_to_adapt(found["hits"], found["count"])
        return {f"{prefix}_{name}": value for name, value in values.items()}
