"""Frozen networks as opponents, for every kind of action."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from fakes import args_for
from kinds import SPACES
from omarl.components.episode_batch import make_scheme
from omarl.controllers.basic_controller import BasicMAC
from omarl.envs.actions import permitted
from omarl.envs.make import make_vec_env
from omarl.opponents.frozen import FrozenNetworks

E, SEATS = 5, [1, 2]


def players(kind, seed=0, **values):
    """Two policies of the environment with ``kind`` of actions, stacked, and the first observation of E copies."""
    env = make_vec_env("kinds:Kinds", {"kind": kind}, E, 0, 0)
    args = args_for(env.info, env_info=env.info, action_selector="softmax", **values)
    torch.manual_seed(1)
    macs = [BasicMAC(*make_scheme(env.info, False), args).requires_grad_(False) for _ in range(2)]
    return env, macs, FrozenNetworks(macs, env.info, SEATS, E, seed), env.reset()


@pytest.mark.parametrize("kind", SPACES)
def test_each_copy_is_played_by_its_network(kind):
    """The most probable actions, after a step whose actions the networks observe."""
    env, macs, stack, seen = players(kind)
    stack.samples = False
    rows, which = np.arange(E), np.array([0, 1, 1, 0, 1])
    stack.begin(rows, which)
    info = env.info
    carries = [mac.initial_carry(E) for mac in macs]
    last = torch.zeros(E, 3, info.n_actions)
    for _ in range(2):
        own = []
        for k, mac in enumerate(macs):
            chosen, carries[k] = mac.act(seen, last, carries[k], 0, True)
            own.append(chosen.numpy())
        expected = np.where((which == 0).reshape(-1, *[1] * (own[0].ndim - 1)), *own)
        found = stack.act(rows, which, seen.obs, seen.avail)
        assert found.dtype == info.actions.dtype and found.shape == (E, 2, *info.actions.shape)
        np.testing.assert_allclose(found, expected[:, SEATS], rtol=1e-5, atol=1e-6)
        joint = expected.copy()
        stack.remember(rows, joint)
        last = stack.actions.encode(torch.from_numpy(joint).reshape(E, 3, -1))
        seen = env.step(joint).observation


@pytest.mark.parametrize("kind", SPACES)
def test_policies_draw_permitted_actions_by_the_seed_of_the_pool(kind):
    env, _, stack, seen = players(kind)
    _, _, same, _ = players(kind)
    _, _, other, _ = players(kind, seed=9)
    rows, which = np.arange(E), np.zeros(E, np.int64)
    drawn = []
    for each in (stack, same, other):
        each.begin(rows, which)
        torch.manual_seed(len(drawn))  # the caller's generator has no influence
        actions = np.stack([each.act(rows, which, seen.obs, seen.avail) for _ in range(6)])
        assert all(permitted(env.info.actions, given, seen.avail[:, SEATS]).all() for given in actions)
        drawn.append(actions)
    np.testing.assert_array_equal(drawn[0], drawn[1])
    assert (drawn[0] != drawn[2]).any()
    assert len(np.unique(drawn[0][:, 0], axis=0)) > 1
