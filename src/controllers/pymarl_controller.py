"""A controller that knows PyMARL's interface alone, made to act for copies that stand at different steps."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from ..components.episode_batch import EpisodeBatch, Scheme
from ..types import Observation


class PyMARLController:
    """Gives ``initial_carry`` and ``act`` to a controller that has ``init_hidden`` and ``select_actions``.

    PyMARL's controllers read step ``t`` of a batch and the action of ``t - 1``, and keep the recurrent state
    in ``self.hidden_states``. So each decision is shown to them as step 1 of a batch of two steps, whose step
    0 holds the last action (none at an episode's start), with the recurrent state set before and taken after:
    a learner that unrolls the same controller in between disturbs nothing.

    Args:
        mac: the controller.
        scheme, groups: see ``components.episode_batch.make_scheme``.
        device: where the controller's networks are.
    """

    def __init__(self, mac: Any, scheme: Scheme, groups: dict[str, int], device: Any) -> None:
        self.mac, self.scheme, self.groups, self.device = mac, scheme, groups, device

    def initial_carry(self, n: int) -> Tensor:
        """The recurrent state at an episode's start: what ``init_hidden`` leaves, [n, ...]."""
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
        return actions.reshape(actions.shape[0], -1), carry if hidden is None else hidden.reshape(
            carry.shape
        ).detach()

    def _two_steps(self, observation: Observation, last_actions: Tensor) -> EpisodeBatch:
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
