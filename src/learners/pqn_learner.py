"""PQN: parallelised Q-learning without replay or target network (Gallici et al., ICLR 2025).

Many copies, short rollouts, lambda-returns as targets, and networks that LayerNorm keeps stable. Agents learn alone
or, with ``mixer: vdn``, by the sum of their values (Sunehag et al. 2018).
"""

from __future__ import annotations

import copy
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from ..components.masks import alive_mask
from ..components.optimisers import load_optimiser, make_optimiser, optimiser_step
from ..components.returns import lambda_returns
from ..components.rollout import Rollout
from ..components.schedules import linear
from ..components.unroll import unroll
from ..config.schema import key, read
from ..modules.losses import masked_mean
from ..types import ConfigError, MetricLogger, PathLike, TrainingError
from ..utils.metrics import Grid, IntervalStats


@dataclass(frozen=True)
class PQNConfig:
    """Keys of ``learner: pqn_learner``."""

    lr: float = key(1e-3, above=0, help="learning rate")
    lr_anneal: bool = key(True, help="let the learning rate fall to 0 at t_max, in a line")
    t_max: int = key(100_000, low=1, help="environment steps of the run")
    gamma: float = key(0.99, low=0, high=1, help="discount")
    td_lambda: float = key(0.65, low=0, high=1, help="lambda of the returns: 0 one step, 1 the whole rollout")
    mixer: str | None = key(None, component="mixer", help="vdn: learn the sum of the agents' values")
    epochs: int = key(2, low=1, help="passes over each rollout")
    minibatches: int = key(4, low=1, help="updates of each pass, each on a part of the copies")
    optim_eps: float = key(1e-5, above=0, help="the optimiser's epsilon")
    grad_norm_clip: float = key(10.0, above=0, help="largest gradient norm")
    learner_log_interval: int = key(1000, low=1, help="environment steps between logs")


class PQNLearner:
    """PyMARL's learner interface, fed with rollouts.

    Args:
        mac: a controller of ours.
        scheme: not used; PyMARL hands it in.
        logger: ``log_stat(key, value, t)``.
        args: namespace or mapping with ``n_agents`` and the keys of ``PQNConfig``.
    """

    Config = PQNConfig
    on_policy = True

    def __init__(self, mac: Any, scheme: Any, logger: MetricLogger, args: Any) -> None:
        c = self.config = read(PQNConfig, args)
        if c.mixer not in (None, "vdn"):
            raise ConfigError(f"mixer: pqn_learner knows vdn alone, not {c.mixer}")
        self.mac, self.logger = mac, logger
        self.n_agents = args["n_agents"] if isinstance(args, dict) else args.n_agents
        self.parameters = list(mac.parameters())
        self.optimiser = make_optimiser("adam", self.parameters, c.lr, eps=c.optim_eps)
        self.stats = IntervalStats()
        self.log_grid = Grid(c.learner_log_interval)

    def train(self, batch: Rollout, t_env: int, episode_num: int) -> None:
        """``epochs`` passes over one rollout.

        Raises:
            TrainingError: the loss of a logged update is not finite.
        """
        c = self.config
        target = self._targets(batch)  # [E, T, N], or [E, T, 1] where mixed
        if c.lr_anneal:
            for group in self.optimiser.param_groups:
                group["lr"] = linear(c.lr, 0.0, c.t_max, t_env)
        copies = batch.batch_size
        for _ in range(c.epochs):
            for part in torch.randperm(copies, device=batch.device).chunk(min(c.minibatches, copies)):
                loss = self._update(batch.copies(part), target[part])
        if self.log_grid.due(t_env):
            self.stats.flush(self.logger, t_env)
            if not torch.isfinite(loss):
                raise TrainingError(f"the agents' loss is not finite at step {t_env}: lower lr ({c.lr:g})")

    def _update(self, batch: Rollout, target: Tensor) -> Tensor:
        alive = alive_mask(batch, self.n_agents)[:, :-1]  # [E, T, N]
        q = unroll(self.mac, batch)[:, :-1]  # [E, T, N, U]
        taken = q.gather(3, batch["actions"][:, :-1]).squeeze(3)
        if self.config.mixer == "vdn":
            taken, alive = (taken * alive).sum(dim=2, keepdim=True), alive.amax(dim=2, keepdim=True)
        td_error = taken - target
        loss = masked_mean(td_error.square(), alive)
        grad_norm = optimiser_step(self.optimiser, loss, self.parameters, self.config.grad_norm_clip)
        self.stats.add(
            {
                "loss": loss,
                "grad_norm": grad_norm,
                "td_error_abs": masked_mean(td_error.detach().abs(), alive),
                "q_taken_mean": masked_mean(taken.detach(), alive),
                "target_mean": masked_mean(target, alive),
            }
        )
        return loss.detach()

    @torch.no_grad()
    def _targets(self, batch: Rollout) -> Tensor:
        """lambda-returns from the greedy values of the network as it stands."""
        alive = alive_mask(batch, self.n_agents)
        next_value = self._joint(_greedy(unroll(self.mac, batch), batch["avail_actions"]), alive)[:, 1:].clone()
        ended = torch.maximum(batch["terminated"], batch["truncated"])[:, :-1].float()
        if batch.ends is not None:
            e = batch.ends
            outputs = self.mac.evaluate(e.obs, e.last_actions, e.carry)
            last = self._joint(_greedy(outputs, e.avail), e.agent_mask.float())
            next_value[e.copy, e.step] = last * (1.0 - batch["terminated"][e.copy, e.step].float())
        reward, c = batch["reward"][:, :-1], self.config
        # Of one's own reward only what comes before one's death: what the others get later is not its own.
        reward = reward.sum(dim=2, keepdim=True) if c.mixer == "vdn" else reward * alive[:, :-1]
        return lambda_returns(reward, next_value, ended, c.gamma, c.td_lambda)

    def _joint(self, values: Tensor, alive: Tensor) -> Tensor:
        """Values [..., N] of living agents, or their sum [..., 1]."""
        values = values * alive
        return values.sum(dim=-1, keepdim=True) if self.config.mixer == "vdn" else values

    def cuda(self) -> None:
        """Moves the networks to the GPU."""
        self.mac.cuda()

    def save_models(self, path: PathLike) -> None:
        """PyMARL's files: the agents' networks and the optimiser."""
        self.mac.save_models(path)
        torch.save(self.optimiser.state_dict(), Path(path) / "opt.th")

    def load_models(self, path: PathLike) -> None:
        """Reads what ``save_models`` wrote."""
        self.mac.load_models(path)
        device = self.parameters[0].device
        load_optimiser(self.optimiser, torch.load(Path(path) / "opt.th", map_location=device, weights_only=True))

    def state_dict(self) -> dict[str, Any]:
        """Everything the next update depends on."""
        return {
            "mac": [p.detach().clone() for p in self.mac.parameters()],
            "optimiser": copy.deepcopy(self.optimiser.state_dict()),
        }

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Takes up ``state_dict``."""
        with torch.no_grad():
            for parameter, value in zip(self.mac.parameters(), state["mac"], strict=True):
                parameter.copy_(value)
        load_optimiser(self.optimiser, state["optimiser"])


def _greedy(q: Tensor, avail: Tensor) -> Tensor:
    """The best available action's value: [..., U] -> [...]."""
    return q.masked_fill(avail == 0, -torch.inf).amax(dim=-1)
