"""Stored rollouts, concatenated in time, against one long rollout of the same games."""

import torch
from fakes import args_for
from omarl.components.episode_batch import make_scheme
from omarl.components.rollout import RolloutMemory, joined
from omarl.controllers.basic_controller import BasicMAC
from omarl.envs.make import make_vec_env
from omarl.runners.rollout_runner import RolloutRunner

KEY = {"key": "lbforaging:Foraging-8x8-2p-3f-v3", "backend": "batched", "episode_limit": 7}


def runner(steps):
    """A runner whose rollouts have ``steps`` steps; games and players do not depend on ``steps``."""
    env = make_vec_env("gymnasium", KEY, 4, 0, 5)
    args = args_for(env.info, rollout_steps=steps, action_selector="softmax", epsilon_start=0.0)
    scheme, groups = make_scheme(env.info, False)
    torch.manual_seed(2)
    mac = BasicMAC(scheme, groups, args)
    torch.manual_seed(3)
    return RolloutRunner(env, mac, scheme, groups, args)


def test_joined_rollouts_equal_one_long_rollout():
    long_rollout = runner(15).run()
    short, memory = runner(5), RolloutMemory(3, 3)
    for _ in range(3):
        memory.insert(short.run())
    parts = memory.sample()
    assert parts.max_seq_length == 16
    for name, tensor in long_rollout.data.items():
        last = slice(None) if name in ("obs", "state", "avail_actions", "agent_mask", "begins") else slice(-1)
        assert torch.equal(parts.data[name][:, last], tensor[:, last]), name
    assert torch.equal(parts.carry, long_rollout.carry) and torch.equal(parts.last_actions, long_rollout.last_actions)
    order = [sorted(zip(e.step.tolist(), e.copy.tolist(), strict=True)) for e in (parts.ends, long_rollout.ends)]
    assert order[0] == order[1] and len(order[0]) >= 8
    sums = [e.state.sum() for e in (parts.ends, long_rollout.ends)]
    torch.testing.assert_close(*sums)


def test_stored_rollouts_do_not_change_with_the_next_rollout():
    """The runner reuses its arrays for the next rollout."""
    player, memory = runner(5), RolloutMemory(2, 1)
    first = player.run()
    memory.insert(first)
    before = first["obs"].clone()
    player.run()
    assert not torch.equal(first["obs"], before)
    assert torch.equal(memory.rollouts[0]["obs"], before)


def test_windows_are_consecutive_rollouts_and_the_oldest_is_dropped():
    player, memory = runner(5), RolloutMemory(4, 2)
    memory.insert(player.run())
    assert memory.sample().max_seq_length == 6  # only one rollout is stored
    for _ in range(5):
        memory.insert(player.run())
    assert len(memory.rollouts) == 4
    starts = set()
    for _ in range(60):
        window = memory.sample()
        assert window.max_seq_length == 11
        (at,) = [i for i, r in enumerate(memory.rollouts) if torch.equal(r["obs"][:, :5], window["obs"][:, :5])]
        assert torch.equal(window["obs"][:, 5:], memory.rollouts[at + 1]["obs"])
        starts.add(at)
    assert starts == {0, 1, 2}


def test_joining_one_rollout_returns_its_data():
    only = runner(5).run()
    assert torch.equal(joined([only])["obs"], only["obs"])


def test_selected_copies_keep_their_recurrent_state_and_last_actions():
    player = runner(5)
    player.run()
    rollout = player.run()  # episodes are under way
    part = rollout.copies(torch.tensor([3, 1]))
    assert not torch.equal(rollout.carry[:2], rollout.carry[[3, 1]])
    assert torch.equal(part.carry, rollout.carry[[3, 1]])
    assert torch.equal(part.last_actions, rollout.last_actions[[3, 1]])
    assert torch.equal(part["obs"], rollout["obs"][[3, 1]])


def test_a_sample_of_some_copies_has_their_steps_and_the_ends_of_their_episodes():
    player, memory = runner(5), RolloutMemory(3, 3)
    for _ in range(3):
        memory.insert(player.run())
    index = torch.tensor([3, 1])
    every, some = memory.sample(), memory.sample(index)
    assert set(some.data) == set(every.data)
    assert all(torch.equal(tensor, every.data[name][index]) for name, tensor in some.data.items())
    assert torch.equal(some.carry, every.carry[index]) and torch.equal(some.last_actions, every.last_actions[index])
    ends = {(3, 1).index(copy): [] for copy in (3, 1)}
    for copy, *rest in zip(
        *(each.tolist() for each in (every.ends.copy, every.ends.step, every.ends.obs)), strict=True
    ):
        if copy in (3, 1):
            ends[(3, 1).index(copy)].append(rest)
    for copy, *rest in zip(*(each.tolist() for each in (some.ends.copy, some.ends.step, some.ends.obs)), strict=True):
        ends[copy].remove(rest)
    assert not any(ends.values()) and len(some.ends.copy) >= 3
    assert memory.rollouts[1].ends.of(index[:0], 4) is None
