"""Matrix games for which the papers state the solution that each algorithm finds."""

import pytest
from test_learning import last

# Full exploration throughout and no discount, as in the papers; rewards are the team's.
GAME = {"t_max": 16000, "epsilon_start": 1.0, "epsilon_finish": 1.0, "gamma": 0.99, "env_steps_per_update": 8,
        "batch_size": 32, "buffer_size": 500, "lr": 1e-3, "hidden_dim": 64, "use_rnn": False, "duelling": False,
        "target_update_interval_or_tau": 100, "test_interval": 16000, "test_nepisode": 8,
        "reward_scalarisation": "mean", "common_reward": True}  # fmt: skip


def outcome(folder, game: str, algorithm: str) -> float:
    """The team's return under the greedy policy."""
    keys = {**GAME, "mixing_embed_dim": 8} if algorithm == "qmix" else GAME
    return last(folder / algorithm, "test_return_mean", algorithm, f"tests.outside:{game}", **keys) / 2


def test_qmix_finds_the_optimum_of_the_two_step_game_and_vdn_does_not(tmp_path):
    assert outcome(tmp_path, "TwoStep", "vdn") == 7
    assert outcome(tmp_path, "TwoStep", "qmix") == 8


@pytest.mark.parametrize("algorithm", ["iql", "vdn"])
def test_independent_learners_miss_the_optimum_of_the_climbing_game(tmp_path, algorithm):
    """With a random partner, actions 0 and 1 have low mean rewards and action 2 is safe, so 11 is not found."""
    assert outcome(tmp_path, "Climbing", algorithm) in (5, 0, 6, 7)
