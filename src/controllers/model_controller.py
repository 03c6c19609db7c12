"""A controller whose policy is conditioned on what an opponent model infers; without a model, the same networks."""

from dataclasses import dataclass
from typing import Any, Literal

import torch
from torch import Tensor, nn

from ..components.conditions import another_copy, shuffled
from ..components.rollout import Condition, Ends, Rollout
from ..config.schema import key, new_default, read
from ..modules.action_distributions import kind_of
from ..modules.agents.feature_agent import ConditionedHead
from ..registry import resolve
from ..types import ConfigError, feature_size
from .basic_controller import BasicMAC, BasicMACConfig


@dataclass(frozen=True)
class ModelMACConfig(BasicMACConfig):
    """Keys of ``mac: model_mac``."""

    agent: str = new_default(BasicMACConfig, "agent", "features")
    condition_at: Literal["head", "input"] = key(
        "head", help="where the policy is given the condition: at its head, or at its input too"
    )
    condition_on: Literal["model", "shuffled", "nothing"] = key(
        "model",
        help="what the policy is conditioned on: the model; shuffled: the model in another copy; nothing: the model "
        "is only an auxiliary loss of the policy's network",
    )
    head_duelling: bool = key(False, help="value and advantage heads under the condition (Wang et al. 2016)")
    opponent_model: str | None = key(None, component="opponent_model", help="the opponent model; None: none")


class ModelMAC(BasicMAC):
    """``BasicMAC`` with one head for all learners, which is given a condition; its agents may be given it too.

    The recurrent state is the agents' and, behind it, the model's. Along a ``Rollout`` the condition is
    ``batch.condition``, set by the learner that trains the model.

    Args:
        scheme, groups, args: see ``BasicMAC``; ``args.env_info`` is a ``PoolInfo`` where there is a model.
    """

    Config = ModelMACConfig
    agents_decide = False  # the head decides

    def __init__(self, scheme: Any, groups: Any, args: Any) -> None:
        config = read(ModelMACConfig, args)
        name = config.opponent_model
        model: Any = None
        if name is not None:
            if not hasattr(args.env_info, "opponents"):
                raise ConfigError(f"opponent_model: {name} models a pool's opponents; give pool=FOLDER")
            model = resolve("opponent_model", name)(scheme, args)
        condition_dim = 0 if model is None or config.condition_on == "nothing" else model.condition_dim
        conditions_input = condition_dim > 0 and config.condition_at == "input"
        super().__init__(scheme, groups, args, condition_dim if conditions_input else 0)
        self.model: Any = model  # the opponent model; None: there is none
        self.conditions_input = conditions_input  # whether the agents' input contains the condition
        self.condition_dim = condition_dim  # 0: the policy is not conditioned
        self.is_shuffled, self.seed = config.condition_on == "shuffled", getattr(args, "seed", 0)
        if model is not None and not condition_dim:
            # agents of one type share a network; the loss of the model trains those of all types
            model.share(self._trunk, list(self.agents.parameters()), self._feature_dim)
        sizes = self._feature_dim, feature_size(scheme, "obs"), self.condition_dim, self.n_actions
        numbers = len(kind_of(args).limits)
        self.head = ConditionedHead(*sizes, args, numbers, config.head_duelling)

    def _outputs_wanted(self) -> tuple[int, str]:
        return self._feature_dim, f"its {self._feature_dim} features, for the controller's own head: take features"

    @property
    def _feature_dim(self) -> int:
        """Size of an agent's features: that of its state unless it says otherwise (``hidden_dim``)."""
        return int(getattr(self.agents[0], "hidden_dim", self.width))

    def initial_carry(self, n: int) -> Tensor:
        """The recurrent state at an episode's start, [n, N, H + W]."""
        carry = super().initial_carry(n)
        return carry if self.model is None else torch.cat([carry, self.model.initial_carry(n)], dim=-1)

    def decide(self, obs: Tensor, last_actions: Tensor, carry: Tensor) -> tuple[Tensor, Tensor]:
        """See ``BasicMAC``; the condition is what the model infers."""
        mine, models = self.split_carry(carry)
        condition = None
        if self.condition_dim:
            condition, models = self.model.step(obs, models)
            if self.is_shuffled:
                condition = condition[another_copy(len(condition), self.seed)]
        features, mine = self._step(self.inputs(obs, last_actions, self._at_input(condition)), mine)
        return self.head(features, self.head.encoder(obs), condition), torch.cat([mine, models], dim=-1)

    def as_acted(self, condition: Condition, ends: Ends | None) -> Condition:
        """From what the model infers along a rollout, the condition under which the policy acted."""
        return shuffled(condition, ends, self.seed) if self.is_shuffled else condition

    def _trunk(self, batch: Any) -> Tensor:
        """The agents' features along a rollout or complete episodes: [E, T+1, N, H]."""
        return super().unroll(batch)

    def features(self, batch: Rollout) -> Tensor:
        """The agents' features along a rollout, and their encoded observations: [E, T+1, N, H + O]."""
        return torch.cat([self._trunk(batch), self.head.encoder(batch["obs"])], dim=-1)

    def unroll(self, batch: Any) -> Tensor:
        """Outputs [E, T+1, N, U] under the batch's condition."""
        return self.head(self.features(batch), batch.condition.acting)

    def unroll_ahead(self, batch: Rollout) -> Tensor:
        """Outputs [E, T, N, U] for the observation after each step, under the condition ``next``."""
        return self.head(self.features(batch)[:, 1:], batch.condition.next)

    def evaluate(self, obs: Tensor, last_actions: Tensor, carry: Tensor, condition: Tensor | None = None) -> Tensor:
        """Outputs [K, N, U] for observations [K, N, O], last actions [K, N, U], carry and conditions [K, N, D]."""
        obs = torch.as_tensor(obs)
        inputs = self.inputs(obs, last_actions, self._at_input(condition))
        return self.head(self._step(inputs, self.split_carry(carry)[0])[0], self.head.encoder(obs), condition)

    def _at_input(self, condition: Tensor | None) -> Tensor | None:
        """The condition [..., N, D] where the agents' input contains it."""
        return condition if self.conditions_input else None

    def _inputs_along(self, batch: Any, last_actions: Tensor | None) -> Tensor:
        return self.inputs(batch["obs"], last_actions, batch.condition.acting if self.conditions_input else None)

    def parameters(self, recurse: bool = True) -> Any:
        """The policy's parameters: those of the agents and the head, not the model's."""
        yield from self.agents.parameters(recurse)
        yield from self.head.parameters(recurse)

    @property
    def kept(self) -> nn.Module:
        """What files contain: agents, head and model."""
        return self
