import numpy as np
import pytest
import torch
from fakes import env_info, random_batch
from omarl.components.episode_batch import make_scheme
from omarl.components.replay_buffer import ReplayBuffer
from omarl.types import ConfigError


def buffer_of(capacity, info=None, seed=0):
    info = info or env_info()
    scheme, groups = make_scheme(info, False)
    return ReplayBuffer(scheme, groups, capacity, info.episode_limit, np.random.default_rng(seed))


def test_slices_keep_dimensions_as_pymarl_does():
    batch = random_batch(env_info(), [2, 4, 3])
    assert batch["obs"].shape == (3, 5, 2, 3)
    assert batch[1]["obs"].shape == (1, 5, 2, 3)
    assert batch[:, :-1].max_seq_length == 4
    assert batch[1:, 0]["state"].shape == (2, 1, 4)
    assert torch.equal(batch[np.array([2, 0])]["reward"], batch["reward"][[2, 0]])


def test_one_hot_actions_are_derived_and_zero_on_padding():
    batch = random_batch(env_info(), [2, 4])
    one_hot = batch["actions_onehot"]
    assert torch.equal(one_hot.argmax(-1, keepdim=True)[1], batch["actions"][1])
    assert one_hot[0, 3:].sum() == 0 and one_hot[0, :3].sum() == 3 * 2


def test_sampled_episodes_equal_the_inserted_ones_padded_to_the_longest():
    buffer = buffer_of(4)
    long, short = random_batch(env_info(), [5, 4], seed=1), random_batch(env_info(), [2, 1], seed=2)
    buffer.insert(long)
    buffer.insert(short)
    sampled = buffer.sample(4)
    assert sampled.max_seq_length == 6
    order = {float(s[0, 0]): i for i, s in enumerate(sampled["state"])}
    row = order[float(short["state"][0, 0, 0])]
    assert torch.equal(sampled["obs"][row, :3], short["obs"][0])
    assert sampled["filled"][row].flatten().tolist() == [1, 1, 1, 0, 0, 0]


def test_a_short_episode_clears_the_longer_episode_it_replaces():
    buffer = buffer_of(1)
    buffer.insert(random_batch(env_info(), [5], seed=1))
    buffer.insert(random_batch(env_info(), [2], seed=2))
    for name in buffer.keys:
        assert buffer.data[name][0, 3:].abs().sum() == 0, name


def test_a_full_buffer_overwrites_the_oldest_episodes():
    buffer = buffer_of(3)
    for seed in range(5):
        buffer.insert(random_batch(env_info(), [3], seed=seed))
    held = {float(v) for v in buffer.data["state"][:, 0, 0]}
    assert held == {float(random_batch(env_info(), [3], seed=s)["state"][0, 0, 0]) for s in (2, 3, 4)}
    buffer.insert(random_batch(env_info(), [3, 3], seed=9))  # wraps around
    assert buffer.n_episodes == 3 and buffer.next_slot == 1


def test_samples_are_different_episodes_and_seeded():
    def draw():
        buffer = buffer_of(10, seed=3)
        for seed in range(10):
            buffer.insert(random_batch(env_info(), [3], seed=seed))
        return buffer.sample(6)["state"][:, 0, 0]

    first = draw()
    assert len(set(first.tolist())) == 6
    assert torch.equal(first, draw())


@pytest.mark.parametrize("capacity", [2, 4, 6])
def test_loading_a_full_buffer_keeps_the_newest_episodes_for_any_capacity(capacity):
    full, other = buffer_of(4), buffer_of(capacity)
    for seed in range(6):
        full.insert(random_batch(env_info(), [3], seed=seed))
    other.load_state_dict(full.state_dict())
    newest = range(2, 6)[-capacity:]
    expected = [random_batch(env_info(), [3], seed=s)["state"][0, 0, 0].item() for s in newest]
    assert other.data["state"][: other.n_episodes, 0, 0].tolist() == expected
    assert (other.steps[: other.n_episodes] == 4).all()
    other.insert(random_batch(env_info(), [3], seed=9))  # replaces the oldest
    assert expected[0] not in other.data["state"][:, 0, 0].tolist() or capacity == 6


def test_loading_episodes_of_another_shape_is_refused():
    full = buffer_of(4)
    full.insert(random_batch(env_info(), [3]))
    with pytest.raises(ConfigError, match="another shape"):
        buffer_of(4, env_info(episode_limit=9)).load_state_dict(full.state_dict())


def test_state_dict_restores_episodes_and_the_next_slot():
    buffer, other = buffer_of(4), buffer_of(4)
    buffer.insert(random_batch(env_info(), [3, 5], seed=1))
    other.load_state_dict(buffer.state_dict())
    assert other.next_slot == 2 and other.n_episodes == 2
    assert torch.equal(other.sample(2)["obs"], buffer.sample(2)["obs"])
