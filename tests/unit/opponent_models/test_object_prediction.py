"""Object prediction: targets, the recurrent state of each object, and one network for all objects."""

import numpy as np
import pytest
import torch
from model_parts import parts
from omarl.games.foraging.observer import offsets
from omarl.types import ConfigError

FOODS = [(1, 1, 1), (5, 5, 2), (7, 0, 1)]
WAY = [(1, 3), (1, 2), (1, 2), (2, 2), (3, 4), (4, 4), (5, 4), (5, 4), (5, 4), (5, 4)]  # rests at 1, and from 6 on


def made(**values):
    values = {"model_memory": 4, "model_window": 2, "model_horizon": 5, "condition_at": "input", **values}
    return parts("", model="object_prediction", information=("offsets", "actions"), **values)


def walk(runner, way=WAY, eaten=3, foods=FOODS):
    """A rollout of one copy in which the opponent walks ``way``; the first food disappears at step ``eaten``."""
    batch = runner.run()
    obs, batch.ends = torch.zeros_like(batch["obs"]), None
    for t, (y, x) in enumerate(way):
        left = [food for i, food in enumerate(foods) if i or t < eaten]
        board = [n for food in left for n in food] + [-1, -1, 0] * (3 - len(left)) + [4, 2, 2, y, x, 1]
        board = np.array(board, np.float32)[None, None]
        seen = np.concatenate([board, offsets(board, [0], runner.env.info.full)], axis=2)
        obs[0, t, 0, : seen.shape[2]] = torch.as_tensor(seen[0, 0])
    obs[0, 1:, 0, -4] = 1.0  # an action
    batch.data["obs"] = obs
    for name in ("terminated", "truncated", "begins"):
        batch[name].zero_()
    batch["begins"][:, 0] = 1
    return batch


def features(learner, batch):
    batch.carry = None  # episodes begin with the batch
    with torch.no_grad():
        return learner.model.features(batch)


def test_targets_are_the_next_objects_at_which_the_opponent_rests():
    runner, learner = made(copies=1)
    batch = walk(runner)
    # indices in the list: without the first food the second is first; in the last five steps no horizon is complete
    assert learner.model.next_rests(batch)[0, :, 0, 0].tolist() == [0, 0, 1, 0, 0, -1, -1, -1, -1]
    batch["terminated"][0, 8] = 1  # the complete episode is in the rollout
    assert learner.model.next_rests(batch)[0, :, 0, 0].tolist() == [0, 0, 1, 0, 0, 0, 0, 0, 0]
    batch["terminated"][0, 3] = 1  # nothing is known of the next episode
    assert learner.model.next_rests(batch)[0, :, 0, 0].tolist() == [0, 0, -1, -1, 0, 0, 0, 0, 0]
    _, sooner = made(copies=1, model_horizon=3)
    batch["terminated"][0, 3] = 0
    assert sooner.model.next_rests(batch)[0, :, 0, 0].tolist() == [0, 0, -1, -1, 0, 0, 0, 0, 0]


def test_a_rest_between_two_objects_is_no_target():
    """It does not tell at which of them the opponent rests."""
    runner, learner = made(copies=1)
    still = [(3, 3)] * 10
    batch = walk(runner, still, foods=[(2, 3, 1), (3, 4, 1), (7, 0, 1)], eaten=99)
    assert learner.model.next_rests(batch)[0, :, 0, 0].tolist() == [-1] * 9
    batch = walk(runner, still, foods=[(2, 3, 1), (5, 5, 1), (7, 0, 1)], eaten=99)
    assert learner.model.next_rests(batch)[0, :5, 0, 0].tolist() == [0] * 5


def test_a_rest_at_an_episodes_last_step_is_read_from_its_last_observation():
    runner, learner = made(copies=1, episode_limit=7)
    batch = runner.run()
    while batch.ends is None:
        batch = runner.run()
    step = int(batch.ends.step[0])
    now = batch["obs"][0, step]
    now[0, :15] = torch.tensor([5.0, 5, 2, 7, 0, 1, -1, -1, 0, 0, 0, 1, 7, 1, 1])
    batch.ends.obs[0] = now
    assert learner.model.next_rests(batch)[0, step, 0, 0] == 1
    batch.ends.obs[0, 0, 13] = 2.0  # it moved
    assert learner.model.next_rests(batch)[0, step, 0, 0] == -1


def test_the_memory_of_an_object_follows_the_object():
    """When an object disappears, the others move up in the list; their scores do not change."""
    runner, learner = made(copies=1)
    eaten_food, all_foods = (features(learner, walk(runner, eaten=eaten))[0, :, 0] for eaten in (3, 99))
    assert torch.equal(eaten_food[:3], all_foods[:3]) and eaten_food[3:, 2].max() < -1e4
    assert torch.allclose(eaten_food[3:, :2], all_foods[3:, 1:], atol=1e-6)
    assert (eaten_food[3:, 0] - eaten_food[3:, 1]).abs().min() > 1e-4  # two objects have different scores
    odds = learner.model.condition_of(eaten_food)
    assert torch.allclose(odds.sum(dim=-1), torch.ones(10)) and not odds[3:, 2].any()


def test_batches_without_the_flag_begins_give_the_same_features():
    """Batches of test episodes have no flag ``begins``."""
    runner, learner = made(copies=1)
    batch = walk(runner)
    along = features(learner, batch)
    del batch.data["begins"]
    assert torch.equal(features(learner, batch), along)


def test_scores_do_not_depend_on_the_order_of_the_list():
    runner, learner = made(copies=1)
    there, turned = (features(learner, walk(runner, eaten=99, foods=foods)) for foods in (FOODS, FOODS[::-1]))
    assert torch.allclose(there, turned.flip(-1), atol=1e-6) and there.std(dim=-1).min() > 1e-4


@pytest.mark.parametrize("players", [2, 3])
def test_stepping_gives_the_same_as_a_rollout(players):
    """The condition of acting equals that computed along the rollout, also where episodes begin."""
    runner, learner = made(copies=16, key=f"lbforaging:Foraging-8x8-{players}p-3f-v3")
    for _ in range(3):
        batch = runner.run()
    carry = learner.mac.split_carry(batch.carry)[1]
    with torch.no_grad():
        along = learner.model.condition_of(learner.model.features(batch))
        for t in range(batch.max_seq_length):
            if t:
                carry[batch["begins"][:, t, 0] > 0] = learner.model.initial_carry(1)
            condition, carry = learner.model.step(batch["obs"][:, t], carry)
            assert torch.allclose(condition, along[:, t], atol=1e-6), t
    assert batch["begins"][:, 1:].any() and (along == 0).any()


def test_inputs_are_relative_to_the_modelled_opponent():
    """Two of three players are modelled: food offsets and the action are those of the modelled player."""
    runner, learner = made(copies=4, key="lbforaging:Foraging-8x8-3p-3f-v3")
    model, batch = learner.model, runner.run()
    obs = batch["obs"][:, 5]
    seen = model._inputs(obs)
    foods, players = obs[..., :9].unflatten(-1, (3, 3)), obs[..., 9:18].unflatten(-1, (3, 3))
    did = obs[..., -12:].unflatten(-1, (2, 6))
    there = foods[..., 2] > 0
    assert model.subjects == ("agent_1", "agent_2") and there.any() and not torch.equal(did[:, :, 0], did[:, :, 1])
    for m in range(2):
        me, them = ((foods[..., :2] - players[..., who, None, :2]) / 4 for who in (0, 1 + m))
        assert torch.equal(seen[:, :, m, :, :4][there], torch.cat([me, them], dim=-1)[there])
        assert torch.equal(seen[:, :, m, :, -4:], seen[:, :, m, :, :4].abs())
        assert torch.equal(seen[:, :, m, :, 9:15][there], did[:, :, m, None].expand(-1, -1, 3, -1)[there])


def test_training_predicts_the_next_objects_of_opponents():
    runner, learner = made(copies=64, model_lr=1e-2, model_hidden_dim=16, model_horizon=7)
    for _ in range(25):
        learner.train(runner.run(), runner.t_env, 0)
    batch = runner.run()
    wanted = learner.model.next_rests(batch)
    with torch.no_grad():
        predicted = learner.model.features(batch)[:, :-1].argmax(dim=-1)
    known = wanted[..., 0] >= 0
    assert known.float().mean() > 0.3
    assert (predicted == wanted[..., 0])[known].float().mean() > 0.75  # a third to a half by chance


def test_hits_and_chance_by_hand(monkeypatch):
    runner, learner = made(copies=2)
    batch = runner.run()
    logits, wanted = torch.full((2, 10, 1, 3), -1e4), torch.full((2, 9, 1, 1), -1)
    logits[0, :, :, 0], logits[0, :, :, 1], wanted[0, :5], wanted[0, 3] = 1.0, 0.0, 0, 1
    logits[1, :, :, :], logits[1, :, :, 2], wanted[1, 0] = 0.0, 1.0, 2
    monkeypatch.setattr(learner.model, "features", lambda batch: logits)
    monkeypatch.setattr(learner.model, "next_rests", lambda batch: wanted)
    batch["terminated"].zero_()
    batch["truncated"].zero_()
    by_episode = learner.model.hits(batch)
    assert by_episode["count"].shape == (2, 9) and by_episode["count"][1].tolist() == [1, *[0] * 8]
    found = {name: each.sum(dim=0) for name, each in by_episode.items()}
    assert found["count"].tolist() == [2, 1, 1, 1, 1, 0, 0, 0, 0]
    assert found["hits"].tolist() == [2, 1, 1, 0, 1, 0, 0, 0, 0]
    assert found["chance"].tolist() == pytest.approx([1 / 2 + 1 / 3, 0.5, 0.5, 0.5, 0.5, 0, 0, 0, 0])
    numbers = learner.evaluate([batch])
    assert numbers["omg_hit_ratio"] == pytest.approx(5 / 6) and numbers["omg_hit_chance"] == pytest.approx(17 / 36)


def test_drawing_shows_the_likeliest_object_and_all_probabilities(monkeypatch):
    runner, learner = made(copies=1)
    batch = walk(runner)
    logits = torch.full((1, 10, 1, 3), -1e4)
    logits[..., 0], logits[..., 1] = 1.0, 0.0
    monkeypatch.setattr(learner.model, "features", lambda batch: logits)
    captions, inferred, odds, horizon = learner.model.draw(batch)
    assert horizon == 5 and inferred.shape == (10, 1, 2) and odds.shape == (10, 3, 3)
    assert inferred[0, 0].tolist() == [1, 1] and inferred[3, 0].tolist() == [5, 5]
    assert odds[0, :, :2].tolist() == [[1, 1], [5, 5], [7, 0]] and odds[0, :, 2].sum() == pytest.approx(1.0)
    assert captions[0] == captions[3] == "comes to rest there next" and captions[2] == "comes to rest elsewhere next"
    assert captions[7:] == ["", "", ""]
    batch["obs"][0, 9:, 0, :9] = torch.tensor([-1.0, -1, 0] * 3)  # nothing is left
    logits[0, 9:] = -1e4
    _, inferred, odds, _ = learner.model.draw(batch)
    assert np.isnan(inferred[9]).all() and not np.isnan(inferred[8]).any() and not odds[9, :, 2].any()


def test_an_environment_without_objects_is_refused(monkeypatch):
    def none(info):
        raise ConfigError("script: no foraging")

    monkeypatch.setattr("omarl.opponent_models.object_prediction.food_slots", none)
    with pytest.raises(ConfigError, match="object_prediction needs the foods of foraging whose players"):
        made()
