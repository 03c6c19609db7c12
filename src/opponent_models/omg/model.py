"""OMG's opponent model: combines prior, selector and inference, and conditions the policy on a subgoal."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Literal

import torch
from torch import Tensor

from ...components.rollout import Condition, Rollout
from ...components.schedules import linear
from ...config.schema import key
from ...modules.losses import sample_gaussian
from ...types import ConfigError
from ..horizon import (
    check_horizon,
    horizon_is_complete,
    random_step,
    states_ahead,
    states_reached,
    step_shares,
    steps_to_come,
)
from ..model import BaseLearner, Targets
from .inference import InferenceConfig, SubgoalInference
from .prior import SubgoalPrior, prior_file
from .selector import select, spread_of_values


@dataclass(frozen=True)
class OMGConfig(InferenceConfig):
    omg_mode: Literal["optimistic", "conservative"] = key("optimistic", help="select the highest or lowest value")
    omg_horizon: int = key(5, low=1, help="H: subgoals are states of the next H steps")
    omg_selection: Literal["value", "random", "next", "third"] = key("value", help="how one of these is selected")
    omg_input: Literal["mixture", "inferred", "prior"] = key(
        "mixture",
        help="the subgoal in training: a mixture, the inferred one, or (prior) the selected one",
    )
    omg_prior_samples: int = key(
        0, low=0, help="samples of a state's prior over which the selector averages V; 0: V of the prior's mean"
    )
    omg_value_candidates: bool = key(
        False, help="train values on prior subgoals of random candidates as well, which the selector evaluates"
    )
    omg_critic_input: Literal["inferred", "policy"] = key(
        "inferred", help="the subgoal of PPO's critic: always the inferred one, or that of the policy in training"
    )
    omg_anneal_time: int = key(200_000, low=0, help="environment steps until the mixture is the inferred subgoal")


class OMGModel(SubgoalInference):
    """Conditions the policy on a subgoal of the opponents.

    The policy acts under the inferred subgoal. It trains under the inferred or the selected one (``omg_input``).
    """

    Config = OMGConfig
    needs_prior = True

    def __init__(self, scheme: Any, args: Any) -> None:
        super().__init__(scheme, args)
        self.horizon = self.config.omg_horizon

    def prepare(self, args: Any, base: BaseLearner, steps: int, from_memory: bool) -> None:
        c = self.config
        base.check_goals(by_value=c.omg_selection == "value")
        if from_memory:  # otherwise the rollout's end shortens the horizon
            check_horizon("omg_horizon", self.horizon, steps)
        if steps <= (self.horizon if from_memory else 1):  # ``update`` never uses the first step
            raise ConfigError(
                f"rollout_steps: none of the {steps} consecutive steps of a model update counts; raise it or "
                "model_window, or lower omg_horizon"
            )
        resumed = bool(getattr(args, "checkpoint_path", ""))  # then the checkpoint contains the prior
        source = getattr(args, "source", "") or getattr(args, "pool", "")
        self.prior = SubgoalPrior(None if resumed else prior_file(source), self.info.state_shape, args)

    def _apply(self, fn: Callable[[Tensor], Tensor], recurse: bool = True) -> OMGModel:
        # moves the prior when parameters are moved to another device
        super()._apply(fn, recurse)
        if "prior" in vars(self):
            self.prior.to(str(self.fc.weight.device))
        return self

    def targets(self, batch: Rollout, base: BaseLearner) -> Targets:
        """The subgoal states s^g_t [E, T, N, S], selected by the base learner's current values.

        Steps count if an opponent acts within the horizon.
        """
        c = self.config
        reached, valid = states_reached(batch), steps_to_come(batch, self.horizon)
        values = self._values(batch, base, reached) if c.omg_selection == "value" else None
        chosen = select(c.omg_selection, c.omg_mode == "optimistic", valid, values, self.info.n_agents)
        metrics = step_shares("omg_selected_k", chosen, self.horizon)
        if values is not None:
            metrics |= spread_of_values(values, valid)
        acts = states_ahead(self.acted(batch), self._every_step(reached)).any(dim=-1)  # [E, T, H]
        counts = (acts & (valid > 0)).any(dim=-1).float()
        return Targets(states_ahead(reached, chosen), horizon_is_complete(batch, valid), metrics, counts)

    def _every_step(self, reached: Tensor) -> Tensor:
        """The numbers of all steps within the horizon, for ``states_ahead``: [E, T, H]."""
        return torch.arange(self.horizon, device=reached.device).expand(*reached.shape[:2], -1)

    def _values(self, batch: Rollout, base: BaseLearner, reached: Tensor) -> Tensor:
        """E_{g ~ p_psi(. | s)} V(s_t, g) for each of the next H states s: [E, T, N, H]."""
        steps = self._every_step(reached)
        mean, log_var = (states_ahead(each, steps) for each in self.prior.encode(reached))  # [E, T, H, Z]
        count = self.config.omg_prior_samples
        if count:
            copies = (x[:, :, :, None].expand(-1, -1, -1, count, -1) for x in (mean, log_var))
            mean = sample_gaussian(*copies).flatten(2, 3)  # [E, T, H * count, Z]
        values = base.goal_values(batch, mean[:, :, None].expand(-1, -1, self.info.n_agents, -1, -1))
        return values.unflatten(-1, (self.horizon, -1)).mean(dim=-1)

    def _subgoal(self, states: Tensor) -> Tensor:
        """A prior subgoal of each state, [..., S] -> [..., Z]: the mean or, with ``omg_prior_samples``, a sample."""
        mean, log_var = self.prior.encode(states)
        return sample_gaussian(mean, log_var) if self.config.omg_prior_samples else mean

    def condition(self, batch: Rollout, base: BaseLearner, t_env: int, targets: Targets | None) -> Condition:
        """g_t = the inferred subgoal if eta > epsilon else the selected one, eta ~ U[0, 1] at each step.

        An action-value target values the next state under this step's subgoal. A critic is conditioned on the
        inferred subgoal (``omg_critic_input``). The selected one is a future state, which depends on the action
        whose advantage is computed.

        With PPO, the policy acted under the inferred subgoal. Where the selected one replaces it, PPO's ratio
        compares the policies after and before the update under the selected subgoal. The ratio bounds the update; it
        does not correct for the different policy that acted.
        """
        inferred = super().condition(batch, base, t_env, targets)
        acting, epsilon = inferred.acting, self.epsilon(t_env)
        assert acting is not None
        if epsilon > 0.0:
            states = (self.targets(batch, base) if targets is None else targets).values
            selected = self._subgoal(states)
            swap = torch.rand(selected.shape[:-1], device=selected.device) < epsilon
            mixed = torch.where(swap[..., None], selected, acting[:, :-1])
            acting = torch.cat([mixed, acting[:, -1:]], dim=1)
        critic = inferred.critic if self.config.omg_critic_input == "inferred" else acting
        valued = self._valued(batch, acting) if self.config.omg_value_candidates else None
        if not base.keeps_condition:
            return inferred._replace(acting=acting, critic=critic, valued=valued)
        return kept(batch, acting)._replace(critic=critic, valued=valued)

    def _valued(self, batch: Rollout, acting: Tensor) -> Condition:
        """At each step a prior subgoal of one of the next H states, drawn at random, for the next state too."""
        steps = random_step(steps_to_come(batch, self.horizon), self.info.n_agents)
        goals = self._subgoal(states_ahead(states_reached(batch), steps))  # [E, T, N, Z]
        return kept(batch, torch.cat([goals, acting[:, -1:]], dim=1))

    def epsilon(self, t_env: int) -> float:
        """The probability that the policy trains under the selected subgoal."""
        if self.config.omg_input == "mixture":
            return linear(1.0, 0.0, self.config.omg_anneal_time, t_env)
        return float(self.config.omg_input == "prior")

    def training_state(self) -> dict[str, Any]:
        name = "optimiser" if self.config.omg_inference == "mlp" else "trainer"
        return {name: super().training_state()["optimiser"], "prior": self.prior.state_dict()}

    def load_training_state(self, state: Mapping[str, Any]) -> None:
        if self.config.omg_inference == "mlp":
            super().load_training_state(state)
        else:
            self.optimiser.load_state_dict(state["trainer"])
        self.prior.load_model(state["prior"])

    def inferred_places(self, features: Tensor) -> Tensor:
        """The opponents' places in the state that the inferred subgoal decodes to."""
        return self.prior.decode(self.condition_of(features))[..., self.places]


def kept(batch: Rollout, acting: Tensor) -> Condition:
    """The condition [E, T+1, N, D] of each step, which is also that of the state after the step."""
    at_ends = None if batch.ends is None else acting[batch.ends.copy, batch.ends.step]
    return Condition(acting, acting, acting[:, :-1], at_ends)
