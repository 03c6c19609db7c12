"""The recurrent layer of agents, opponent models and critics, which the key ``cell`` selects for all of them.

A cell is a module constructed as ``Cell(input_size, hidden_size)`` with

- ``state_size``: S, the size of its state, which is zeros at the start of an episode;
- ``step(input [M, I], state [M, S]) -> state [M, S]``;
- ``forward(inputs [M, T, I], state [1, M, S]) -> states [M, T, S], last state [1, M, S]``, equal to T steps;
- ``output(state [..., S]) -> [..., H]``: the features that the network reads from the state.
"""

from typing import Any

from ..registry import resolve


def make_cell(name: str, input_size: int, hidden_size: int) -> Any:
    """The cell that the key ``cell`` names: a registered name or ``package.module:Class``."""
    return resolve("cell", name)(input_size, hidden_size)
