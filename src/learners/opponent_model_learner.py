"""A base learner whose policy is told what an opponent model believes, and the model's own training beside it.

LIAM and naive modelling tell the policy their code or their forecast. OMG tells it a subgoal: in training a mixture
of what is inferred and what hindsight selects, in acting always what is inferred (Yu, Jiang and Lu, NeurIPS 2024).
No gradient passes between policy and model.
"""

from __future__ import annotations

import copy
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any, Literal

import torch
from torch import Tensor
from torch.nn import functional as F

from ..components.episode_batch import EpisodeBatch
from ..components.optimisers import load_optimiser, make_optimiser, optimiser_step
from ..components.rollout import Rollout
from ..components.rollout_memory import RolloutMemory
from ..components.schedules import linear
from ..components.vae_optimiser import VAEOptimiser
from ..components.vae_trainer import VAEConfig
from ..config.keys import BaseLearnerKeys, PoolKeys, RolloutKeys
from ..config.schema import key, new_default, read
from ..modules.losses import calibrated_nll, kl_gaussians, sample_gaussian, squared_error
from ..opponents.models.history_model import HorizonKeys
from ..opponents.pool import read_pool
from ..types import ConfigError, MetricLogger, PathLike
from ..utils.metrics import Grid, IntervalStats
from .base_learner import make_base_learner
from .model_reports import added, steps_to_adapt, subgoal_hits
from .subgoals import (
    PlacePrior,
    SubgoalPrior,
    horizon_shown,
    select,
    selected,
    states_ahead,
    states_reached,
    steps_to_come,
)


@dataclass(frozen=True)
class OpponentModelLearnerConfig(VAEConfig, BaseLearnerKeys, PoolKeys, RolloutKeys, HorizonKeys):
    """Keys of ``learner: opponent_model_learner``; those of the base learner and of the model join them."""

    base_learner: str = new_default(BaseLearnerKeys, "base_learner", "ppo_learner")
    model_epochs: int = key(1, low=1, help="the model's passes over each rollout")
    model_minibatches: int = key(4, low=1, help="its updates of each pass")
    model_memory: int = key(1, low=1, help="rollouts that it learns from, the newest and those before")
    model_window: int = key(1, low=1, help="rollouts in a row that one pass goes along")
    model_tau: float = key(
        1.0, above=0, high=1, help="how far what the policy is told by follows what is trained, at each update"
    )
    source: str = key("", help="of the prior, and of opponents without pool: an omg_vae run, or a pool")
    omg_mode: Literal["optimistic", "conservative"] = key("optimistic", help="friends, or foes")
    omg_selection: Literal["value", "random", "next", "third"] = key("value", help="which of those")
    omg_input: Literal["mixture", "inferred", "prior"] = key(
        "mixture", help="the subgoal that the policy trains under"
    )
    omg_anneal_time: int = key(200_000, low=0, help="steps over which the mixture turns to what is inferred")


# what models that are no VAE read of its keys, and what its prior is made by where they are none but have one
MODEL_KEYS = {"vae_lr", "optim_eps", "grad_norm_clip"}
PRIOR_KEYS = {"vae_latent_dim", "vae_hidden_dim", "vae_encoder", "vae_log_var_bound", "vae_log_var_limit"}
STATE_VAE_KEYS = {"vae_log_var_init", "vae_likelihood", "vae_feature_types", "vae_formula", "vae_batch_states",
                  "vae_window"}  # fmt: skip


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
    trains_model = True

    def __init__(self, mac: Any, scheme: Any, logger: MetricLogger, args: Any) -> None:
        c = self.config = read(OpponentModelLearnerConfig, args)
        self.mac, self.logger = mac, logger
        self.model: Any = getattr(mac, "model", None)
        if self.model is None:
            raise ConfigError("opponent_model: the learner opponent_model_learner needs mac=model_mac and a model")
        self.base = make_base_learner(c.base_learner, mac, scheme, logger, args)
        if not getattr(self.base, "on_policy", False):
            raise ConfigError(
                f"base_learner: {c.base_learner} learns from whole episodes, and models from rollouts: take "
                "ppo_learner or pqn_learner (--config=omg is OMG on Q-learning)"
            )
        if mac.told_first and not hasattr(self.base, "critic"):
            why = "judges the next state under the goal of this one, which the input cannot hold"
            raise ConfigError(f"condition_at: {c.base_learner} {why}: take head")
        self.n_agents = args.n_agents
        self.stats, self.log_grid = IntervalStats(), Grid(c.learner_log_interval)
        # what is trained; what the policy is told by is the same network, or follows it slowly
        self.student: Any = self.model if c.model_tau == 1.0 else copy.deepcopy(self.model)
        remembers = c.model_memory > 1 or c.model_window > 1
        self.memory = RolloutMemory(c.model_memory, c.model_window) if remembers else None
        self.parameters = list(self.student.parameters())
        self.prior: SubgoalPrior | PlacePrior | None = None
        self.trainer: VAEOptimiser | None = None
        self._check_horizon()
        state_dim = args.env_info.state_shape
        if self.model.keeps_goal:
            if self.model.is_categorical:
                self.prior = PlacePrior(self.model.codebook, self.model.places, state_dim)
            else:
                self.prior = SubgoalPrior(
                    self._prior_file(bool(getattr(args, "checkpoint_path", ""))), state_dim, args
                )
                self.trainer = VAEOptimiser(self.student, c)
        self.optimiser = make_optimiser("adam", self.parameters, c.vae_lr, eps=c.optim_eps)
        for line in self._notices():
            logger.console_logger.info(line)

    def _check_horizon(self) -> None:
        """Refuses what could teach nothing, or less than is asked for.

        Raises:
            ConfigError: the steps that one pass goes along are fewer than the horizon, or the base's critic cannot
                be asked about goals.
        """
        c = self.config
        if c.model_window > c.model_memory:
            raise ConfigError(f"model_window: {c.model_window} rollouts in a row are more than model_memory keeps, "
                              f"{c.model_memory}; raise the one or lower the other")  # fmt: skip
        shown = c.rollout_steps * (c.model_window if self.memory is not None else 1)
        cut = self.model.looks_ahead or (self.model.keeps_goal and self.memory is not None)
        if cut and shown < c.omg_horizon:
            raise ConfigError(
                f"omg_horizon: {c.omg_horizon} steps are more than the {shown} that the model sees in a row; raise "
                "rollout_steps or model_window, or lower it"
            )
        first = self.model.keeps_goal and not self.model.is_categorical  # of which it is not taught, for want of more
        if first and shown - (c.omg_horizon if cut else 1) < 1:
            raise ConfigError(
                f"rollout_steps: of the {shown} that the model sees in a row it is taught none; raise it or "
                "model_window, or lower omg_horizon"
            )
        if (
            self.model.keeps_goal
            and c.omg_selection == "value"
            and getattr(getattr(self.base, "critic", None), "is_recurrent", 0)
        ):
            raise ConfigError(
                "critic_use_rnn: a critic with a memory cannot be asked about goals that it was not told; set it to "
                "False, or take another omg_selection than value"
            )

    def _notices(self) -> list[str]:
        """What the user should know about the configuration, a line each."""
        unread = {each.name for each in fields(VAEConfig)} - MODEL_KEYS
        if self.trainer is not None:
            unread = unread - PRIOR_KEYS if self.model.inference == "mlp" else STATE_VAE_KEYS
        usual = VAEConfig()
        changed = sorted(name for name in unread if getattr(self.config, name) != getattr(usual, name))
        return [f"not read by this opponent model: {', '.join(changed)}"] if changed else []

    def _prior_file(self, resumed: bool) -> Path | None:
        """``vae.th`` or ``prior.th``; none where a checkpoint is to bring the prior."""
        if resumed:
            return None
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
        """The policy's updates under the conditions of ``_believe``, then the model's."""
        if isinstance(self.prior, PlacePrior):
            self.prior.fit(batch["state"].flatten(2))
        with torch.no_grad():
            goals = self._believe(batch, t_env)
        self.base.train(batch, t_env, episode_num)
        if self.memory is not None:
            self.memory.insert(batch)
        for _ in range(self.config.model_epochs):
            self._teach(batch, goals)
        if self.log_grid.due(t_env):
            self.stats.flush(self.logger, t_env)

    def _teach(self, batch: Rollout, goals: Tensor | None) -> None:
        """One pass of the model over the rollout, or over a window of those in memory."""
        shown = None
        if self.memory is not None:
            batch = self.memory.sample()
            if self.prior is not None:
                with torch.no_grad():
                    goals, shown = self._select(batch)
        lesson = self.student.lesson(batch) if goals is None else None
        copies, device = batch.batch_size, batch["obs"].device
        for part in torch.randperm(copies, device=device).chunk(min(self.config.model_minibatches, copies)):
            some = (None if each is None else each[part] for each in (lesson, goals, shown))
            self._update_model(batch.copies(part), *some)
            self._follow()

    @torch.no_grad()
    def _follow(self) -> None:
        """What the policy is told by moves towards what is trained."""
        if self.student is not self.model:
            for told, trained in zip(self.model.parameters(), self.student.parameters(), strict=True):
                told.lerp_(trained, self.config.model_tau)

    def _believe(self, batch: Rollout, t_env: int) -> Tensor | None:
        """Puts the conditions into ``batch``; returns the selected subgoals' states [E, T, N, S], if any.

        Where a selected subgoal takes an inferred one's place, PPO's ratio is between the policies before and after
        the update under the selected one: how far the update goes is bounded, and the difference to the policy that
        acted is not made up for.
        """
        features = self.model.features(batch, self.mac.split_carry(batch.carry)[1])
        inferred = self.model.condition(features)
        batch.data["condition"] = batch.data["critic_condition"] = inferred
        if batch.ends is not None:
            e = batch.ends
            batch.ends_condition, _ = self.model.step(e.obs, self.mac.split_carry(e.carry)[1])
        if self.prior is None:
            return None
        share, states = self._share_selected(t_env), None
        if self.memory is None or share > 0.0:  # what a memory teaches is selected when it is taught
            states, _ = self._select(batch)
            if share > 0.0:
                batch.data["condition"] = self._mixed(inferred, self.prior.encode(states)[0], share)
        self._keep_goal(batch)
        return states

    def _keep_goal(self, batch: Rollout) -> None:
        """Equation 8: the next state is judged under this goal, where the base learns action values.

        A critic's baseline must not know what hindsight selects, which depends on the very action that it is to
        judge: it is told what is inferred.
        """
        if not hasattr(self.base, "critic"):
            condition = batch.data["condition"]
            batch.next_condition = condition[:, :-1]
            if batch.ends is not None:
                batch.ends_condition = condition[batch.ends.copy, batch.ends.step]

    def _select(self, batch: Rollout) -> tuple[Tensor, Tensor]:
        """The selected states [E, T, N, S], and 1 where all candidates were there to select from [E, T]."""
        c = self.config
        reached, valid = states_reached(batch), steps_to_come(batch, c.omg_horizon)
        chosen = select(c.omg_selection, c.omg_mode == "optimistic", valid,
                        lambda: self._value(batch, reached), self.n_agents)  # fmt: skip
        self.stats.add(selected(chosen, c.omg_horizon))
        return states_ahead(reached, chosen), horizon_shown(batch, valid)

    def _value(self, batch: Rollout, reached: Tensor) -> Tensor:
        """V of the states now under each of the next K of the states reached [E, T, S]: [E, T, N, K]."""
        assert self.prior is not None
        each = torch.arange(self.config.omg_horizon, device=reached.device).expand(*reached.shape[:2], -1)
        candidates = states_ahead(reached, each)
        goals, _ = self.prior.encode(candidates)
        goals, k = goals[:, :, None].expand(-1, -1, self.n_agents, -1, -1), candidates.shape[2]
        if hasattr(self.base, "critic"):
            obs, state = batch["obs"][:, :-1], batch["state"][:, :-1].flatten(2)
            return torch.stack([self.base.critic(obs, state, goals[..., i, :]) for i in range(k)], dim=-1)
        features = self.mac.features(batch)[:, :-1, :, None].expand(-1, -1, -1, k, -1)
        return self.mac.head(features, goals).mean(dim=-1)

    def _share_selected(self, t_env: int) -> float:
        """The probability that the policy trains under the selected subgoal."""
        c = self.config
        if c.omg_input == "mixture":
            return linear(1.0, 0.0, c.omg_anneal_time, t_env)
        return float(c.omg_input == "prior")

    def _mixed(self, inferred: Tensor, selected: Tensor, share: float) -> Tensor:
        """g_t: what is inferred, or the selected state's code with the probability ``share``."""
        swap = torch.rand(selected.shape[:-1], device=selected.device) < share
        return torch.cat([torch.where(swap[..., None], selected, inferred[:, :-1]), inferred[:, -1:]], dim=1)

    def _update_model(
        self, batch: Rollout, lesson: Tensor | None, states: Tensor | None, shown: Tensor | None = None
    ) -> None:
        """One update of the model on some of the copies, from its ``lesson`` or from selected states.

        Steps count where ``shown`` [E, T] is 1.
        """
        mask = batch["agent_mask"][:, :-1].float()
        if shown is not None:
            mask = mask * shown[..., None]
        features = self.student.features(batch, self.mac.split_carry(batch.carry)[1])
        if states is not None:
            self.stats.add(self._update_subgoals(batch, features, mask, states))
            return
        loss, numbers = self.student.losses(batch, features[:, :-1], mask, lesson)
        self.stats.add({"model_loss": loss.detach(), "model_grad_norm": self._descend(loss), **numbers})

    def _descend(self, loss: Tensor) -> Tensor:
        """One step of the optimiser; returns the gradient's norm."""
        return optimiser_step(self.optimiser, loss, self.parameters, self.config.grad_norm_clip)

    def _update_subgoals(
        self, batch: Rollout, features: Tensor, mask: Tensor, states: Tensor
    ) -> dict[str, Tensor | float]:
        """OMG's inference: reconstruct the state now, stay near the prior of the selected state."""
        valid = mask > 0
        if isinstance(self.prior, PlacePrior):
            logits = self.student.logits(features[:, :-1][valid])
            kl = F.cross_entropy(logits.flatten(0, 1), self.prior.codes(states[valid]).flatten())
            return {"omg_loss": kl.detach(), "omg_kl_loss": kl.detach(), "omg_grad_norm": self._descend(kl)}
        assert self.prior is not None and self.trainer is not None
        valid[:, 0] = False  # the features of the step before are not here
        mu, log_var = self.student.infer(features[:, :-1][valid])
        mu_p, log_var_p = self.prior.encode(states[valid])
        kl = kl_gaussians(mu, log_var, mu_p, log_var_p)
        if self.student.inference == "mlp":  # supervised: the mean is regressed, nothing is decoded
            loss = (mu - mu_p).square().sum(dim=-1).mean()
            norm = self._descend(loss)
            return {"omg_loss": loss.detach(), "omg_kl_loss": kl.detach().sum(dim=-1).mean(), "omg_grad_norm": norm}
        goal = sample_gaussian(mu, log_var)
        before = torch.zeros_like(features[:, :-1])
        going_on = (1.0 - batch["begins"][:, 1:-1].float())[..., None]
        before[:, 1:] = features[:, :-2] * going_on
        now = batch["state"][:, :-1, None].flatten(3).expand(-1, -1, self.n_agents, -1)[valid]
        target = self.prior.standardised(now)
        decoded = self.student.decode(goal, before[valid])
        fit = calibrated_nll(decoded, target) if self.config.vae_decoder == "calibrated" else None
        numbers = self.trainer.descend(squared_error(decoded, target).mean(), mu, kl, fit)
        return {f"omg_{name.removeprefix('vae_')}": value for name, value in numbers.items()}

    def cuda(self) -> None:
        """Moves everything to the GPU."""
        self.base.cuda()
        self.student.cuda()
        if isinstance(self.prior, SubgoalPrior):
            self.prior.cuda()

    def save_models(self, path: PathLike) -> None:
        """The base learner's files; the model lies in ``agent.th``."""
        self.base.save_models(path)

    def load_models(self, path: PathLike) -> None:
        """Reads what ``save_models`` wrote; what is trained goes on from what the policy was told by."""
        self.base.load_models(path)
        self.student.load_state_dict(self.model.state_dict())

    def state_dict(self) -> dict[str, Any]:
        """Everything the next update depends on, but for the rollouts in memory, which a resumed run fills anew."""
        trained_prior = self.prior.state_dict() if isinstance(self.prior, SubgoalPrior) else None
        return {
            "base": self.base.state_dict(),
            "model": copy.deepcopy(self.model.state_dict()),
            "student": copy.deepcopy(self.student.state_dict()),
            "optimiser": copy.deepcopy(self.optimiser.state_dict()),
            "trainer": None if self.trainer is None else self.trainer.state_dict(),
            "prior": trained_prior,
            "extra": self.student.extra_state() if hasattr(self.student, "extra_state") else None,
        }

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Takes up ``state_dict``."""
        self.base.load_state_dict(state["base"])
        self.model.load_state_dict(state["model"])
        self.student.load_state_dict(state.get("student", state["model"]))
        load_optimiser(self.optimiser, state["optimiser"])
        if self.trainer is not None:
            self.trainer.load_state_dict(state["trainer"])
        if isinstance(self.prior, SubgoalPrior):
            self.prior.load_state_dict(state["prior"])
        if state["extra"] is not None:
            self.student.load_extra_state(state["extra"])

    def evaluate(self, batches: Sequence[EpisodeBatch]) -> dict[str, float]:
        """How well the model tells opponents on whole episodes: see ``model_reports``, or the model's ``hits``."""
        measure, horizon = self.model.measure, self.config.omg_horizon
        if self.prior is not None:
            measure = "omg_hit_ratio"
            found = added([subgoal_hits(self.model, self.prior, batch, horizon) for batch in batches])
        else:
            found = added([self.model.hits(batch) for batch in batches])
        if not found or not found["count"].sum():
            return {}
        count, prefix = found["count"].sum(), measure.partition("_")[0]
        values = {measure: float(found["hits"].sum() / count)}
        if "chance" in found:
            values[f"{prefix}_hit_chance"] = float(found["chance"].sum() / count)
        values[f"{prefix}_steps_to_adapt"] = steps_to_adapt(found["hits"], found["count"])
        return values
