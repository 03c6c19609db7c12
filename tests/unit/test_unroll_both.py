"""Outputs of a controller and of its target, computed at the same time."""

import copy

import pytest
import torch
from fakes import args_for, env_info, random_batch
from omarl.components.unroll import unroll, unroll_both
from omarl.controllers.basic_controller import BasicMAC
from omarl.modules.compiled import threads_set

MIXED = env_info(agents=("h_0", "p_0", "h_1"), agent_types=("h", "p", "h"), obs_sizes=(3,) * 3, action_sizes=(2,) * 3)
ALIKE = env_info()


def pair(info, **keys):
    batch = random_batch(info, [5, 3, 4] * 20, seed=1)
    torch.manual_seed(0)
    mac = BasicMAC(batch.scheme, batch.groups, args_for(info, **keys))
    target = copy.deepcopy(mac)
    with torch.no_grad():
        for p in target.parameters():
            p.add_(0.1 * torch.randn_like(p))
    return mac, target, batch


@pytest.mark.parametrize("info", [MIXED, ALIKE])
@pytest.mark.parametrize(
    "keys",
    [{}, {"obs_last_action": False}, {"obs_agent_id": False}, {"duelling": False}, {"share_parameters": "none"},
     {"layer_norm": True}, {"agent": "mingru"}],
)  # fmt: skip
def test_both_equal_separate_unrolls(info, keys):
    mac, target, batch = pair(info, **keys)
    with threads_set(2):
        both = unroll_both(mac, target, batch)
    separate = unroll(mac, batch), unroll(target, batch).detach()
    assert both[0].requires_grad and not both[1].requires_grad
    weights = torch.randn_like(both[0])
    gradients = [
        torch.autograd.grad((each * weights).sum(), list(mac.parameters())) for each in (both[0], separate[0])
    ]
    for found, wanted in zip((*both, *gradients[0]), (*separate, *gradients[1]), strict=True):
        torch.testing.assert_close(found, wanted, rtol=1e-4, atol=1e-4)


def test_plain_controllers_are_computed_at_the_same_time_and_others_are_not():
    mac, _, batch = pair(ALIKE)
    assert mac.can_unroll_beside(batch)
    assert not pair(ALIKE, layer_norm=True)[0].can_unroll_beside(batch)


def test_actions_of_padding_have_no_feature():
    mac, target, batch = pair(ALIKE)
    first = unroll_both(mac, target, batch)[1]
    batch.data["actions"][batch["filled"].squeeze(-1) == 0] = 1
    assert torch.equal(unroll_both(mac, target, batch)[1], first)


class HostBatch:
    """What a host's batch offers."""

    def __init__(self, batch):
        self.batch_size, self.max_seq_length, self.scheme = batch.batch_size, batch.max_seq_length, batch.scheme
        self._own = batch

    def __getitem__(self, name):
        return self._own[name].long() if name == "filled" else self._own[name]


def test_a_hosts_batch_gives_the_same():
    mac, target, batch = pair(MIXED)
    for found, wanted in zip(
        unroll_both(mac, target, HostBatch(batch)), unroll_both(mac, target, batch), strict=True
    ):
        assert torch.equal(found, wanted)


def test_an_action_that_does_not_exist_is_an_error():
    mac, target, batch = pair(ALIKE)
    batch.data["actions"][0, 0] = 2
    with pytest.raises(IndexError, match="action"):
        unroll_both(mac, target, batch)
