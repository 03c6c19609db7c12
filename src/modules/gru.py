"""``nn.GRU`` for sequences on a CPU, in about half the time: see ``gru_kernels``.

Without numba, on a GPU, and for sequences of one step, ``nn.GRU`` itself is used.
"""

from collections.abc import Sequence
from functools import partial
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.autograd import Function
from torch.nn import functional as F

from .compiled import Array, Arrays, for_groups, is_compiled, kernels
from .linear import Linear, linear, under_vmap

KERNELS = "gru_kernels"
Pair = tuple[Tensor, Tensor]
NO_SCALES = [torch.empty(0)] * 4  # no normalisation


class Given(NamedTuple):
    """What a decision depends on, in arrays: see ``step_kernels.step``."""

    obs: Array
    last_actions: Array
    identities: int
    members: NDArray[np.int64]
    hidden: Array


class Around(NamedTuple):
    """The layers around a GRU for ``GRU.decision``.

    Args:
        layer: the linear layer before it, which has a rectifier.
        head: weight [U, H] and bias of a linear layer, then those of a value [1, H] if there is one; or nothing.
        norms: the normalisation before the rectifier and that of the GRU's output; nothing: none.
    """

    layer: Linear
    head: Sequence[Tensor] = ()
    norms: Sequence[nn.LayerNorm] = ()


class _Pass:
    """One forward pass of ``_Recurrence``: its outputs, and what computes them group by group."""

    def __init__(self, learns: bool, x: Tensor, begins: Tensor, first: Tensor, parameters: Sequence[Tensor]) -> None:
        w_enc, b_enc, w_in, w_rec, b_in, b_rec, w_out, b_out = (each.detach() for each in parameters)
        (steps, rows, _), width = x.shape, first.shape[1]
        self.hidden, self.out = x.new_empty(steps + 1, rows, width), x.new_empty(steps, rows, len(b_out))
        self.hidden[0] = first
        kept = steps * rows if learns else 0
        self.kept = [x.new_empty(kept * size) for size in (len(b_enc), 3 * width, width)]
        shift = b_in.clone()
        shift[: 2 * width] += b_rec[: 2 * width]
        packed = kernels(KERNELS).pack_forward(*(w.numpy() for w in (w_enc, w_in, w_rec, w_out)))
        others = (a.numpy() for a in (b_enc, shift, b_rec[2 * width :], b_out, self.hidden, self.out, *self.kept))
        self.arrays = x.detach().numpy(), begins.numpy(), *packed, *others
        self.learns, self.groups = learns, kernels(KERNELS).groups_of(rows)

    def run(self, group: int) -> None:
        """Computes the rows of one group."""
        kernels(KERNELS).forward(*self.arrays, self.learns, group, self.groups)


class Network(NamedTuple):
    """A network along sequences: a linear layer with a rectifier, a GRU, and a linear layer that reads its states.

    Args:
        x, first: the inputs [T, M, I], contiguous, and the first state [M, H].
        parameters: of the layer, the GRU and the last layer; those of a layer are empty where there is none.
        beside: the parameters of another network of the same sizes with the same inputs; empty for none.
    """

    x: Tensor
    first: Tensor
    parameters: Sequence[Tensor]
    beside: Sequence[Tensor] = ()


class _Gradient:
    """One backward pass of ``_Recurrence``: what computes it group by group, and its results."""

    def __init__(self, saved: Sequence[Tensor], grads: Sequence[Tensor | None], of_inputs: bool) -> None:
        x, begins, w_enc, w_in, w_rec, w_out, hidden = saved[:7]
        none = x.new_empty(0, 0, 0)
        self.d_x, self.d_first = torch.empty_like(x) if of_inputs else none, torch.empty_like(hidden[0])
        self.groups = kernels(KERNELS).groups_of(x.shape[1])
        shapes = [shape for w in (w_enc, w_in, w_rec, w_out) for shape in (w.shape, w.shape[:1])]
        self.sums = [x.new_zeros(self.groups, *shape) for shape in shapes]
        given = (none if grad is None else grad.contiguous() for grad in grads)
        packed = kernels(KERNELS).pack_backward(*(w.numpy() for w in (w_enc, w_in, w_rec, w_out)))
        others = (a.numpy() for a in (hidden, *saved[7:], *given, self.d_x, self.d_first))
        self.arrays, self.by_group = (
            (x.numpy(), begins.numpy(), *packed, *others),
            [total.numpy() for total in self.sums],
        )

    def run(self, group: int) -> None:
        """Computes the gradients of one group."""
        sums = (total[group] for total in self.by_group)
        kernels(KERNELS).backward(*self.arrays, *sums, group, self.groups)

    def results(self) -> tuple[Tensor | None, ...]:
        """The gradients of ``_Recurrence``'s tensors of this network."""
        e_w, e_b, in_w, in_b, rec_w, rec_b, out_w, out_b = (
            total[0] if self.groups == 1 else total.sum(dim=0) for total in self.sums
        )
        d_x = self.d_x if self.d_x.numel() else None
        return d_x, None, self.d_first, e_w, e_b, in_w, rec_w, in_b, rec_b, out_w, out_b


PER_NETWORK = 11  # tensors of a network: inputs, where episodes begin, first state, parameters


class _Recurrence(Function):
    """Hidden states [T, M, H] and outputs [T, M, U] of each network, then those outputs of the networks beside them.

    The latter have no gradient. All networks are computed at the same time. ``tensors`` are each network's ``x``,
    ``begins``, ``first`` and ``parameters``; ``beside`` has the parameters of the networks beside them.
    """

    @staticmethod
    def forward(ctx: Any, learns: bool, beside: Sequence[Sequence[Tensor]], *tensors: Tensor) -> tuple[Tensor, ...]:
        given = [tensors[i : i + PER_NETWORK] for i in range(0, len(tensors), PER_NETWORK)]
        own = [_Pass(learns, x, begins, first, parameters) for x, begins, first, *parameters in given]
        pairs = zip(given, beside, strict=True)
        others = [_Pass(False, x, begins, first, other) for (x, begins, first, *_), other in pairs if other]
        _run_all([*own, *others])
        if learns:
            saved = [
                (x, begins, w_enc, w_in, w_rec, w_out, each.hidden, *each.kept)
                for (x, begins, _, w_enc, _, w_in, w_rec, _, _, w_out, _), each in zip(given, own, strict=True)
            ]
            ctx.save_for_backward(*(tensor for each in saved for tensor in each))
            ctx.set_materialize_grads(False)
        ctx.mark_non_differentiable(*(each.out for each in others))
        return *(tensor for each in own for tensor in (each.hidden[1:], each.out)), *(each.out for each in others)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor | None) -> tuple[Tensor | None, ...]:
        networks = (len(ctx.needs_input_grad) - 2) // PER_NETWORK
        saved, size = ctx.saved_tensors, len(ctx.saved_tensors) // networks
        found = [
            _Gradient(
                saved[i * size : (i + 1) * size], grads[2 * i : 2 * i + 2], ctx.needs_input_grad[2 + i * PER_NETWORK]
            )
            for i in range(networks)
        ]
        _run_all(found)
        return None, None, *(result for each in found for result in each.results())


def _run_all(passes: Sequence[_Pass | _Gradient]) -> None:
    """Runs all groups of all passes, in several threads if there are."""
    jobs = [partial(each.run, group) for each in passes for group in range(each.groups)]
    for_groups(lambda job: jobs[job](), len(jobs))


def nowhere(steps: int) -> Tensor:
    """``begins`` if no episode begins, [T, 0]."""
    return torch.empty(steps, 0, dtype=torch.bool)


def beside(networks: Sequence[Network]) -> tuple[list[Tensor], list[Tensor]]:
    """The outputs [T, M, U] of networks and, without gradient, of those beside them, all at the same time."""
    tensors = (t for each in networks for t in (each.x, nowhere(len(each.x)), each.first, *each.parameters))
    results = _Recurrence.apply(torch.is_grad_enabled(), [tuple(each.beside) for each in networks], *tensors)
    count = len(networks)
    return list(results[1 : 2 * count : 2]), list(results[2 * count :])


class GRU(nn.GRU):
    """One layer of ``nn.GRU``, batch first, with the same parameters, the same function and the same state dict."""

    weight_ih_l0: Tensor
    weight_hh_l0: Tensor
    bias_ih_l0: Tensor
    bias_hh_l0: Tensor

    def __init__(self, input_size: int, hidden_size: int) -> None:
        super().__init__(input_size, hidden_size, batch_first=True)
        self.state_size = hidden_size
        self._arrays = Arrays()
        self._no_layer = torch.empty(0, 0), torch.empty(0)

    def output(self, state: Tensor) -> Tensor:
        """See ``cell``: the state itself."""
        return state

    @property
    def weights(self) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """All parameters."""
        own: Any = self._parameters  # a fifth of the time of attributes
        return own["weight_ih_l0"], own["weight_hh_l0"], own["bias_ih_l0"], own["bias_hh_l0"]

    def restarts(self, input: Tensor) -> bool:
        """Whether ``forward`` and ``encoded`` take ``begins`` for such inputs."""
        return is_compiled(KERNELS, input)

    def forward(  # type: ignore[override]
        self, input: Tensor, hx: Tensor, begins: Tensor | None = None
    ) -> tuple[Tensor, Tensor]:
        """A sequence [M, T, I] from hidden [1, M, H] -> hidden states [M, T, H] and the last one [1, M, H].

        The state before a step is zeros where ``begins``, bool [M, T], is true; only where ``restarts``, and not in
        the first step.
        """
        if input.shape[1] == 1 or not is_compiled(KERNELS, input):
            assert begins is None or input.shape[1] == 1, "begins: only where ``restarts``"
            return super().forward(input, hx)
        return self._along(input, hx, self._no_layer, self._no_layer, begins)[1:]

    def encoded(
        self, layer: nn.Linear, input: Tensor, hx: Tensor, head: Pair | None = None, begins: Tensor | None = None
    ) -> tuple[Tensor, Tensor]:
        """``self(relu(layer(input)), hx, begins)``, in one call where it is compiled.

        With the weight [U, H] and bias of a linear layer ``head``, its outputs [M, T, U] replace the hidden states.
        """
        if input.shape[1] == 1 or not is_compiled(KERNELS, input):
            states, last = self(F.relu(layer(input)), hx, begins)
            return states if head is None else linear(states, *head), last
        out, states, last = self._along(input, hx, (layer.weight, layer.bias), head or self._no_layer, begins)
        return states if head is None else out, last

    def decides(self, input: Tensor) -> bool:
        """Whether ``decision`` computes a step for such inputs: compiled, and without gradients."""
        return not torch.is_grad_enabled() and is_compiled(KERNELS, input) and not under_vmap(self.weight_ih_l0)

    def decision(self, around: Around, given: Given, after: Array, out: Array) -> None:
        """One step with the layers around it, in one call.

        Args:
            around: these layers.
            given: the agents' inputs and states.
            after, out: the outputs, new states [E, N, H] and the head's [E, N, U] (U = H without one), of the
                agents in ``given.members``.
        """
        norms, head = around.norms, around.head
        scales = [part for norm in norms for part in (norm.weight, norm.bias)] or NO_SCALES
        layers = [*around.layer.pair, *self.weights, *scales, *head, *(2 * self._no_layer)[len(head) :]]
        eps = np.float32(norms[0].eps if norms else 0.0)
        kernels("step_kernels").step(*given, *self._arrays.of(layers), eps, after, out)

    def _along(
        self, input: Tensor, hx: Tensor, layer: Pair, head: Pair, begins: Tensor | None
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Outputs of the head [M, T, U], hidden states [M, T, H] and the last one [1, M, H]."""
        by_time = input.transpose(0, 1).contiguous()
        where = nowhere(len(by_time)) if begins is None else begins.t().contiguous()
        tensors = by_time, where, hx[0].contiguous(), *layer, *self.weights, *head
        hidden, out = _Recurrence.apply(torch.is_grad_enabled(), [()], *tensors)
        return out.transpose(0, 1), hidden.transpose(0, 1), hidden[-1:]

    def step(self, input: Tensor, hidden: Tensor) -> Tensor:
        """One step: [M, I], [M, H] -> [M, H]; costs a sixth of a sequence of one step."""
        weights = self.weights
        if not under_vmap(input):  # vmap has no rule for gru_cell, and would run its networks one by one
            return torch.gru_cell(input, hidden, *weights)
        r, z, n = F.linear(input, weights[0], weights[2]).chunk(3, dim=-1)
        kept_r, kept_z, kept_n = F.linear(hidden, weights[1], weights[3]).chunk(3, dim=-1)
        new = torch.tanh(n + torch.sigmoid(r + kept_r) * kept_n)
        return torch.lerp(new, hidden, torch.sigmoid(z + kept_z))
