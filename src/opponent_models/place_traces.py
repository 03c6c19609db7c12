"""Where opponents have been: exponential traces of their places, and a network of observation and traces."""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn

from ..modules.encoder import encoder_for
from ..modules.hidden import hidden_layer
from ..modules.linear import Linear


class PlaceTraces(nn.Module):
    """Encodes ``(o_0, ..., o_t)`` without a learned memory.

    A classifier infers from each observation alone where each opponent is now, a probability for each place. The
    memory is, for each opponent, place and decay d, the trace ``m_t = d m_{t-1} + p_t`` of these probabilities p. The
    features are a hidden layer over the observation and the traces. No gradient passes through time, so that an
    update costs what it costs without memory. Related: eligibility traces as a memory (Elman 1990 for learned ones;
    Tallec and Ollivier 2018 and Voelker et al. 2019 for fixed time scales).

    It has the interface of an agent (``modules/unrolling.py``); its state has S = K * M * C numbers.

    Args:
        input_shape: I, size of an observation.
        args: namespace with ``hidden_dim``, W, and what ``encoder_for`` reads.
        n_slots: M, opponents.
        n_places: C, places of an opponent.
        decays: K decays, from 0 to below 1.
    """

    def __init__(self, input_shape: int, args: Any, n_slots: int, n_places: int, decays: Sequence[float]) -> None:
        super().__init__()
        self.encoder, size = encoder_for(args, "obs", input_shape)
        self.now1, self.now2 = Linear(size, args.hidden_dim), Linear(args.hidden_dim, n_slots * n_places)
        self.state_size = len(decays) * n_slots * n_places
        self.fc1 = Linear(size + self.state_size, args.hidden_dim)
        self.slots, self.by_decay = (n_slots, n_places), (len(decays), n_slots * n_places)
        self.decays = nn.Buffer(torch.tensor(decays, dtype=torch.float32)[:, None], persistent=False)  # [K, 1]
        # the trace of independent inputs of variance 1 has variance 1 / (1 - d^2)
        scale = (1 - self.decays.square()).sqrt().repeat_interleave(n_slots * n_places)
        self.scale = nn.Buffer(scale, persistent=False)  # [S]

    def init_hidden(self) -> Tensor:
        """Zeros, [1, S]."""
        return self.fc1.weight.new_zeros(1, self.state_size)

    def present(self, inputs: Tensor) -> Tensor:
        """Observations [..., I] -> logits of the places at which each opponent is now, [..., M, C]."""
        return self._present(self.encoder(inputs))

    def _present(self, encoded: Tensor) -> Tensor:
        return hidden_layer(encoded, self.now1, head=self.now2.pair).unflatten(-1, self.slots)

    def _probabilities(self, encoded: Tensor) -> Tensor:
        """The probabilities of present places, without gradient: [..., M * C]."""
        with torch.no_grad():
            return self._present(encoded.detach()).softmax(dim=-1).flatten(-2)

    def _features(self, encoded: Tensor, traces: Tensor) -> Tensor:
        """Traces [..., S] -> features [..., W]."""
        return hidden_layer(torch.cat([encoded, traces * self.scale], dim=-1), self.fc1)

    def step(self, inputs: Tensor, hidden: Tensor) -> tuple[Tensor, Tensor]:
        """One step: inputs [..., I], hidden [..., S] -> features [..., W], hidden."""
        encoded = self.encoder(inputs)
        now = self._probabilities(encoded)
        traces = now[..., None, :] + self.decays * hidden.unflatten(-1, self.by_decay)
        return self._features(encoded, traces.flatten(-2)), traces.flatten(-2)

    forward = step

    def restarts(self, inputs: Tensor) -> bool:
        """``unroll`` takes ``begins``."""
        return True

    def unroll(self, inputs: Tensor, hidden: Tensor, begins: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """A sequence: inputs [R, T, I], hidden [R, S] -> features [R, T, W], the last hidden.

        Where ``begins``, bool [R, T], is true, the traces are empty before the step.
        """
        encoded = self.encoder(inputs)
        now = self._probabilities(encoded).transpose(0, 1)[:, :, None].contiguous()  # [T, R, 1, M * C]
        kept = self.decays.expand(*inputs.shape[1::-1], -1, -1)  # [T, R, K, 1]
        if begins is not None:
            kept = kept * (~begins).t()[..., None, None]
        traces = now.new_empty(*now.shape[:2], *self.decays.shape[:1], now.shape[-1])
        last = hidden.unflatten(-1, self.by_decay)
        for t, each in enumerate(traces):
            last = torch.addcmul(now[t], kept[t], last, out=each)
        return self._features(encoded, traces.flatten(-2).transpose(0, 1)), last.flatten(-2)
