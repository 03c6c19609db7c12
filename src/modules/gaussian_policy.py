"""Networks of Gaussian policies: the means are outputs, the log standard deviations parameters."""

from typing import Any

import torch
from torch import Tensor, nn


class WithLogStd(nn.Module):
    """An agent whose outputs are followed by trained log standard deviations, 0 at first.

    Its output layer, ``fc2`` in PyMARL, starts small: see ``shrink``.
    """

    def __init__(self, agent: Any, size: int) -> None:
        super().__init__()
        self.agent, self.log_std = agent, nn.Parameter(torch.zeros(size))
        if hasattr(agent, "fc2"):
            shrink(agent.fc2)
        self.is_recurrent = getattr(agent, "is_recurrent", True)
        if hasattr(agent, "unroll"):
            self.unroll = self._unroll
        self.restarts = getattr(agent, "restarts", None)

    def init_hidden(self) -> Tensor:
        """The agent's recurrent state at the start of an episode."""
        return self.agent.init_hidden()

    def forward(self, inputs: Tensor, hidden: Tensor) -> tuple[Tensor, Tensor]:
        """Inputs [M, I], hidden [M, H] -> outputs followed by log standard deviations [M, U + D], hidden [M, H]."""
        return self._completed(*self.agent(inputs, hidden))

    def _unroll(self, inputs: Tensor, hidden: Tensor, *begins: Tensor) -> tuple[Tensor, Tensor]:
        return self._completed(*self.agent.unroll(inputs, hidden, *begins))

    def _completed(self, outputs: Tensor, hidden: Tensor) -> tuple[Tensor, Tensor]:
        return with_log_std(outputs, self.log_std), hidden


@torch.no_grad()
def shrink(layer: nn.Module) -> None:
    """Multiplies the parameters of a policy's output layer by 0.01, so that the first policy hardly depends on the
    observation (Andrychowicz et al. 2021, section 3.2)."""
    for parameter in layer.parameters():
        parameter.mul_(0.01)


def with_log_std(outputs: Tensor, log_std: Tensor) -> Tensor:
    """Outputs [..., U] followed by the same log standard deviations [D] everywhere: [..., U + D]."""
    return torch.cat([outputs, log_std.expand(*outputs.shape[:-1], -1)], dim=-1)
