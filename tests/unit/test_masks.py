import torch
from fakes import env_info, random_batch
from omarl.components.masks import alive_mask, is_common, own_rewards, transition_mask, values_of_living


def test_transition_mask_ends_with_the_episode():
    batch = random_batch(env_info(), [2, 4, 1])
    assert transition_mask(batch).tolist() == [[1, 1, 0, 0], [1, 1, 1, 1], [1, 0, 0, 0]]


def test_truncation_ends_an_episode_as_termination_does():
    batch = random_batch(env_info(), [2, 4])
    batch.data["truncated"], batch.data["terminated"] = batch["terminated"], batch["truncated"]
    assert transition_mask(batch).tolist() == [[1, 1, 0, 0], [1, 1, 1, 1]]


def test_masks_work_without_the_keys_truncated_and_agent_mask():
    batch = random_batch(env_info(), [2, 3])
    batch.scheme = {k: v for k, v in batch.scheme.items() if k not in ("truncated", "agent_mask")}
    del batch.data["truncated"], batch.data["agent_mask"]
    assert transition_mask(batch).tolist() == [[1, 1, 0], [1, 1, 1]]
    assert alive_mask(batch, 2)[0].tolist() == [[1, 1], [1, 1], [1, 1], [0, 0]]


def test_transition_mask_does_not_modify_the_batch():
    batch = random_batch(env_info(), [2, 4])
    batch.data["filled"] = batch.data["filled"].float()
    before = batch["filled"].clone()
    transition_mask(batch)
    assert torch.equal(batch["filled"], before)


def test_transition_mask_of_one_step_episodes():
    assert torch.equal(transition_mask(random_batch(env_info(), [1, 1])), torch.ones(2, 1))


def test_own_rewards_end_with_an_agents_death_and_common_rewards_do_not():
    for common in (False, True):
        batch = random_batch(env_info(), [3], common_reward=common)
        batch["agent_mask"][0, 2:, 1] = 0  # agent 1 dies on step 1
        reward = batch["reward"][0, :-1]
        rewards = own_rewards(batch, alive_mask(batch, 2))[0]
        assert is_common(batch, 2) == common
        assert torch.equal(rewards, reward if common else reward * torch.tensor([[1, 1], [1, 1], [1, 0]]))


def test_dead_agents_have_no_value_or_with_common_rewards_that_of_the_living():
    values = torch.tensor([[2.0, 4.0, 9.0], [2.0, 4.0, 9.0], [2.0, 4.0, 9.0]])
    alive = torch.tensor([[1.0, 1, 1], [1, 1, 0], [0, 0, 0]])
    assert values_of_living(values, alive, False).tolist() == [[2, 4, 9], [2, 4, 0], [0, 0, 0]]
    assert values_of_living(values, alive, True).tolist() == [[2, 4, 9], [2, 4, 3], [0, 0, 0]]
