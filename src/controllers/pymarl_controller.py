"""Adapts a controller with PyMARL's interface to environment copies at different steps of their episodes."""

from typing import Any

import torch
from torch import Tensor

from ..components.episode_batch import EpisodeBatch, Scheme
from ..types import DISCRETE, ConfigError, Observation


class PyMARLController:
    """Adds ``initial_carry`` and ``act`` to a controller that has ``init_hidden`` and ``select_actions``.

    PyMARL's controllers read step ``t`` of a batch and the action of step ``t - 1``, and store the recurrent state in
    ``self.hidden_states``. Each decision is therefore presented as step 1 of a batch of two steps, and step 0 has the
    last action (zeros at the start of an episode). The recurrent state is set before the call and read after it, so a
    learner may unroll the same controller between two decisions.
    """

    def __init__(self, mac: Any, scheme: Scheme, groups: dict[str, int], device: Any) -> None:
        if scheme["actions"].get("kind", DISCRETE) != DISCRETE:
            raise ConfigError(
                f"mac: {type(mac).__name__} has PyMARL's interface, for Discrete actions; use basic_mac"
            )
        self.mac, self.scheme, self.groups, self.device = mac, scheme, groups, device

    def initial_carry(self, n: int) -> Tensor:
        """The recurrent state at the start of an episode, as set by ``init_hidden``, [n, ...]."""
        self.mac.init_hidden(n)
        hidden = getattr(self.mac, "hidden_states", None)
        return torch.zeros(n, 1, 1) if hidden is None else hidden.detach().clone()

    @torch.no_grad()
    def act(
        self, observation: Observation, last_actions: Tensor, carry: Tensor, t_env: int, test_mode: bool
    ) -> tuple[Tensor, Tensor]:
        """See ``BasicMAC.act``."""
        batch = self._two_steps(observation, last_actions)
        self.mac.hidden_states = carry
        actions = self.mac.select_actions(batch, t_ep=1, t_env=t_env, bs=slice(None), test_mode=test_mode)
        hidden = getattr(self.mac, "hidden_states", None)
        carry = carry if hidden is None else hidden.reshape(carry.shape).detach()
        return actions.reshape(actions.shape[0], -1), carry

    def _two_steps(self, observation: Observation, last_actions: Tensor) -> EpisodeBatch:
        """A batch with the last actions at step 0 and the observation at step 1."""

        def second(array: Any) -> Tensor:
            now = torch.as_tensor(array, device=self.device)
            return torch.stack([torch.zeros_like(now), now], dim=1)

        data = {
            "obs": second(observation.obs),
            "state": second(observation.state),
            "avail_actions": second(observation.avail),
            "agent_mask": second(observation.agent_mask),
            "filled": torch.ones(len(observation.obs), 2, 1, dtype=torch.uint8, device=self.device),
            "actions_onehot": torch.stack([last_actions, torch.zeros_like(last_actions)], dim=1),
            "actions": last_actions.argmax(dim=-1, keepdim=True).unsqueeze(1).expand(-1, 2, -1, -1),
        }
        return EpisodeBatch(self.scheme, self.groups, data)
