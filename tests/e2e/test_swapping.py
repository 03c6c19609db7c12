"""Learners exchanged by one word on the command line: combinations run or are refused in one line."""

import pytest
import torch
from e2e.command import error_of, main

SMALL = ["t_max=1600", "test_interval=1600", "test_nepisode=4", "batch_size_run=4", "env_workers=0", "hidden_dim=16",
         "learner_log_interval=400", "runner_log_interval=400", "use_tensorboard=False"]  # fmt: skip
REPLAY = ["batch_size=8", "env_steps_per_update=100"]


@pytest.mark.parametrize("algorithm", ["iql", "vdn", "qmix", "pqn", "pqn_vdn", "ippo", "mappo"])
def test_every_algorithm_trains_and_its_checkpoint_is_evaluated(tmp_path, algorithm):
    replay = REPLAY if algorithm in ("iql", "vdn", "qmix") else []
    done = main([f"--config={algorithm}", "--env-config=simple_spread", "with", "seed=1", *SMALL, *replay], tmp_path)
    assert done.code == 0, done.err
    last = done.lines()[-1]
    assert last["t_env"] >= 1600 and "test_return_mean" in last
    assert any(line.get("loss") is not None for line in done.lines())
    again = main(["evaluate", "with", f"checkpoint_path={done.run}", "test_nepisode=4"], tmp_path)
    assert again.code == 0 and "test_return_mean" in again.out, again.err


@pytest.mark.parametrize("base", ["base_learner=ppo_learner runner=rollout action_selector=softmax",
                                  "base_learner=pqn_learner runner=rollout",
                                  "base_learner=q_learner mixer=qmix common_reward=True"])  # fmt: skip
def test_the_vae_trains_with_any_base_learner(tmp_path, base):
    words = ["--config=omg_vae", "--env-config=simple_spread", "with", "seed=1", "vae_hidden_dim=16", *SMALL]
    replay = REPLAY if "q_learner mixer" in base else []
    done = main([*words, *base.split(), *replay], tmp_path)
    assert done.code == 0, done.err
    numbers = {name for line in done.lines() for name in line}
    assert {"loss", "vae_loss", "vae_kl_loss", "test_vae_explained_variance"} <= numbers


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--config=ippo", "with", "runner=episode"], "runner: learner ppo_learner does not learn from episodes"),
        (["--config=iql", "with", "runner=rollout"], "runner: learner q_learner does not learn from rollouts"),
        (["--config=vdn", "with", "common_reward=False"], "common_reward: mixer vdn"),
        (["--config=pqn", "with", "mixer=qmix"], "mixer: pqn_learner knows vdn alone"),
        (["--config=iql", "with", "mixer=qmx"], "mixer: unknown name 'qmx'; did you mean 'qmix'?"),
        (["--config=iql", "with", "env_args.backend=arrays"], "env_args.backend: 'arrays' is none of"),
        (["--config=omg_vae", "with", "base_learner=ppo_learner", "runner=rollout"],
         "action_selector: ppo_learner trains the policy that acts; set action_selector=softmax"),
        (["--config=omg_vae", "with", "base_learner=omg_vae_learner"],
         "base_learner: unknown name 'omg_vae_learner'"),
        (["--config=ppo_history", "with", "opponent_model=liam"],
         "opponent_model: nothing trains it; set learner=opponent_model_learner"),
        (["--config=iql", "with", "learner=:QLearner"], "learner: ':QLearner' is not 'package.module:Class'"),
    ],
)  # fmt: skip
def test_combinations_that_cannot_run_are_refused_before_the_start(tmp_path, words, message):
    done = main([*words, "seed=1", *SMALL], tmp_path)
    assert message in error_of(done)


def test_mappo_with_recurrent_networks_trains_and_resumes(tmp_path):
    words = ["--config=mappo", "--env-config=simple_spread", "with", "seed=1", "use_rnn=True", "critic_use_rnn=True"]
    first = main([*words, *SMALL], tmp_path / "a")
    assert first.code == 0 and first.lines()[-1]["t_env"] >= 1600, first.err
    done = main(["with", f"checkpoint_path={first.run}", "t_max=3200", "seed=1"], tmp_path / "b")
    assert done.code == 0 and done.lines()[-1]["t_env"] >= 3200, done.err


def test_mappo_resumes_from_its_checkpoint(tmp_path):
    words = ["--config=mappo", "--env-config=simple_spread", "with", "seed=1", *SMALL]
    first = main(words, tmp_path / "a")
    done = main(["with", f"checkpoint_path={first.run}", "t_max=3200", "seed=1"], tmp_path / "b")
    assert done.code == 0 and done.lines()[-1]["t_env"] >= 3200, done.err
    assert "resumed from" in done.err + done.out


def test_compare_writes_a_table_and_a_picture(tmp_path):
    for seed in (1, 2):
        words = ["--config=pqn", "--env-config=simple_spread", "with", f"seed={seed}", *SMALL]
        assert main(words, tmp_path / "runs").code == 0
    done = main(["compare", "with", f"runs={tmp_path}/runs", f"out={tmp_path}/out"], tmp_path, results_key=False)
    assert done.code == 0 and "pqn" in done.out, done.err
    names = {"comparison.md", "comparison.csv", "comparison.png", "marl_eval.json"}
    assert {f.name for f in (tmp_path / "out").iterdir()} == names
    lost = main(["compare", "with", f"runs={tmp_path}/none"], tmp_path, results_key=False)
    assert "contains no run" in error_of(lost)


def test_one_key_replaces_the_gru_of_policy_critic_and_opponent_model(tmp_path):
    words = ["cell=tests.outside:WindowTransformer", "critic_use_rnn=True", "t_max=1600", "batch_size_run=8",
             "test_interval=0", "env_workers=0", "use_tensorboard=False", "hidden_dim=16"]  # fmt: skip
    done = main(["--config=liam", "--env-config=foraging", "with", *words], tmp_path)
    assert done.code == 0, done.err
    agent = torch.load(next(done.run.glob("checkpoints/*/agent.th")), weights_only=True)
    critic = torch.load(next(done.run.glob("checkpoints/*/critic.th")), weights_only=True)["critic"]
    attention = [name for name in (*agent, *critic) if name.endswith("attend.in_proj_weight")]
    assert len(attention) == 3
