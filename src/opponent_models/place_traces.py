"""The memory of place prediction: exponential traces of the places at which opponents were."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.functional import threshold

from ..modules.compiled import is_compiled, kernels
from ..modules.encoder import encoder_for
from ..modules.hidden import hidden_layer
from ..modules.linear import Linear

KERNELS = "place_kernels"
# Smaller numbers become 0. Below 1e-38 floats are denormal, and a processor takes many times as long for them.
LEAST_PROBABILITY, LEAST_TRACE = 1e-8, 1e-20


def probabilities(logits: Tensor) -> Tensor:
    """Softmax over the last dimension, with 0 for probabilities below ``LEAST_PROBABILITY``."""
    return threshold(logits.softmax(dim=-1), LEAST_PROBABILITY, 0.0)


class PlaceTraces(nn.Module):
    """Encodes ``(o_0, ..., o_t)`` without a learned memory.

    A classifier infers from each observation alone where each opponent is now, a probability for each place. The
    memory is, for each opponent, place and decay d, the trace ``m_t = d m_{t-1} + p_t`` of these probabilities p. The
    features are the observation and the scaled traces. No gradient passes through time, so that an update costs what
    it costs without memory. Source: memory traces of observations (Eberhard, Muehlebach and Vernade 2025); here the
    traces are of inferred places.

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
        self.n_features = size + self.state_size
        self.slots, self.by_decay = (n_slots, n_places), (len(decays), n_slots * n_places)
        each = torch.tensor(decays, dtype=torch.float32)
        self.decays = nn.Buffer(each, persistent=False)  # [K]
        # the trace of independent inputs of variance 1 has variance 1 / (1 - d^2)
        self.scale = nn.Buffer((1 - each.square()).sqrt(), persistent=False)  # [K]

    def init_hidden(self) -> Tensor:
        """Zeros, [1, S]."""
        return self.now1.weight.new_zeros(1, self.state_size)

    def present(self, inputs: Tensor) -> Tensor:
        """Observations [..., I] -> logits of the places at which each opponent is now, [..., M, C]."""
        return self._present(self.encoder(inputs))

    def _present(self, encoded: Tensor) -> Tensor:
        return hidden_layer(encoded, self.now1, head=self.now2.pair).unflatten(-1, self.slots)

    def _probabilities(self, encoded: Tensor) -> Tensor:
        """The probabilities of present places, without gradient: [..., M * C]."""
        with torch.no_grad():
            return probabilities(self._present(encoded.detach())).flatten(-2)

    def step(self, inputs: Tensor, hidden: Tensor) -> tuple[Tensor, Tensor]:
        """One step: inputs [..., I], hidden [..., S] -> features [..., I + S], hidden."""
        features, last = self.unroll(inputs.flatten(0, -2)[:, None], hidden.flatten(0, -2))
        return features.view(*inputs.shape[:-1], -1), last.view_as(hidden)

    forward = step

    def restarts(self, inputs: Tensor) -> bool:
        """``unroll`` takes ``begins``."""
        return True

    def unroll(self, inputs: Tensor, hidden: Tensor, begins: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """A sequence: inputs [R, T, I], hidden [R, S] -> features [R, T, I + S], the last hidden.

        Where ``begins``, bool [R, T], is true, the traces are empty before the step.
        """
        encoded = self.encoder(inputs)
        now = self._probabilities(encoded)
        joined, last = self._joined(encoded.transpose(0, 1), now.transpose(0, 1), hidden, begins)
        return joined.transpose(0, 1), last

    def _joined(self, encoded: Tensor, now: Tensor, hidden: Tensor, begins: Tensor | None) -> tuple[Tensor, Tensor]:
        """Observations [T, R, I] joined with the traces of places [T, R, M * C]: [T, R, I + S]; the last traces."""
        traces = hidden.unflatten(-1, self.by_decay)
        fresh = torch.zeros(now.shape[:2], dtype=torch.bool, device=now.device) if begins is None else begins.t()
        if is_compiled(KERNELS, now) and not (encoded.requires_grad and torch.is_grad_enabled()):
            out = now.new_empty(*now.shape[:2], self.n_features)
            last = traces.clone(memory_format=torch.contiguous_format)
            given = encoded.detach(), now, fresh.to(torch.uint8), self.decays, self.scale
            arrays = [each.contiguous().numpy() for each in given]
            kernels(KERNELS).remember(*arrays, np.float32(LEAST_TRACE), last.numpy(), out.numpy())
            return out, last.flatten(-2)
        kept, each = self.decays[:, None] * (~fresh)[..., None, None], []  # [T, R, K, 1]
        for t in range(len(now)):
            traces = threshold(kept[t] * traces + now[t, :, None], LEAST_TRACE, 0.0)
            each.append((traces * self.scale[:, None]).flatten(-2))
        return torch.cat([encoded, torch.stack(each)], dim=-1), traces.flatten(-2)
