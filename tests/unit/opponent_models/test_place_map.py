"""The map of places around a learner."""

import pytest
import torch
from omarl.modules.compiled import kernels
from omarl.opponent_models.place_map import KERNELS, NODES, PlaceMap

MIDDLE = NODES // 2


def mapped(at, own=(0.0, 0.0), length=9.0):
    """The map [G, G] of an opponent that is certainly at one place."""
    centres, probabilities = torch.tensor([[list(at), [5.0, 5.0]]]), torch.tensor([[1.0, 0.0]])
    return PlaceMap(length)(probabilities, centres, torch.tensor(own))[0].view(NODES, NODES)


@pytest.mark.parametrize(
    ("away", "node"), [(0.0, 0), (1.0, 1), (4.0, 2), (9.0, 3), (-1.0, -1), (-4.0, -2), (-9.0, -3)]
)
def test_nodes_are_at_squares_of_the_distance(away, node):
    found = mapped((away, 0.0))
    assert found[MIDDLE + node, MIDDLE] == pytest.approx(1.0, abs=1e-5)
    assert mapped((0.0, away))[MIDDLE, MIDDLE + node] == pytest.approx(1.0, abs=1e-5)


def test_a_place_between_nodes_is_shared_bilinearly():
    found = mapped((2.25, 0.0))  # 3 * sqrt(2.25 / 9) = 1.5: half way from node 1 to node 2
    assert found[MIDDLE + 1, MIDDLE] == pytest.approx(0.5) and found[MIDDLE + 2, MIDDLE] == pytest.approx(0.5)
    both = mapped((2.25, -2.25))
    assert both[MIDDLE + 1, MIDDLE - 1] == pytest.approx(0.25) and both.sum() == pytest.approx(1.0)


def test_only_displacements_count():
    torch.testing.assert_close(mapped((3.0, 1.0)), mapped((5.0, 4.0), own=(2.0, 3.0)))


def test_beyond_the_board_a_place_counts_at_its_edge():
    torch.testing.assert_close(mapped((20.0, 0.0)), mapped((9.0, 0.0)))


def test_each_opponent_has_its_map_and_its_sum_is_one():
    torch.manual_seed(0)
    probabilities, centres = torch.rand(6, 2, 4).softmax(dim=-1), torch.rand(2, 4, 2)
    found = PlaceMap(1.0)(probabilities, centres, torch.rand(6, 2))
    assert found.shape == (6, 2, NODES * NODES)
    torch.testing.assert_close(found.sum(dim=-1), torch.ones(6, 2))


def test_compiled_map_equals_that_of_torch(monkeypatch):
    torch.manual_seed(0)
    given = torch.rand(6, 5, 2, 4).softmax(dim=-1), 2 * torch.rand(2, 4, 2) - 1, 2 * torch.rand(6, 5, 2) - 1
    assert kernels(KERNELS) is not None
    found = PlaceMap(1.5)(*given)
    monkeypatch.setattr("omarl.opponent_models.place_map.is_compiled", lambda name, values: False)
    torch.testing.assert_close(found, PlaceMap(1.5)(*given))


def test_nan_remains_nan_and_infinity_is_the_edge():
    assert mapped((1.0, 1.0), own=(float("nan"), 0.0)).isnan().any()
    torch.testing.assert_close(mapped((0.0, float("inf"))), mapped((0.0, 9.0)))
