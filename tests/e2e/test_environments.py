"""Runs on environments of different kinds, and with external parts."""

import pytest
from e2e.command import SMALL, error_of, main

ENVIRONMENTS = {
    "simple_speaker_listener": [],
    "pursuit": ["env_args.max_cycles=25", "env_args.episode_limit=25"],
    "knights_archers_zombies": ["env_args.max_cycles=60", "env_args.episode_limit=60"],
    "rps": [],
    "foraging": [],
    "simple_spread": [],
}


@pytest.mark.parametrize("name", ENVIRONMENTS)
def test_a_short_run_on_each_environment(name, tmp_path):
    words = [f"--env-config={name}", "with", *SMALL, "t_max=600", "batch_size=4", *ENVIRONMENTS[name]]
    result = main(["--config=omg_vae", *words], tmp_path)
    assert result.code == 0, result.err
    last = result.lines()[-1]
    assert last["test_return_mean"] is not None and last["test_vae_explained_variance"] is not None
    losses = [line["vae_loss"] for line in result.lines() if "vae_loss" in line]
    assert losses and None not in losses


def test_a_gymnasium_id_needs_no_further_setting(tmp_path):
    words = ["env_args.key=lbforaging:Foraging-8x8-2p-3f-v3", *SMALL, "t_max=400"]
    result = main(["--config=omg_vae", "with", *words], tmp_path)
    assert result.code == 0, result.err
    assert "omg_vae on lbforaging:Foraging-8x8-2p-3f-v3 (Gymnasium: 2 agent)" in result.err


def test_turn_based_games_have_a_turn_mask(tmp_path):
    words = ["env_args.key=pettingzoo.classic.tictactoe_v3", "env_args.episode_limit=10", *SMALL, "t_max=400"]
    (tmp_path / "env.yaml").write_text("env: pettingzoo\n")
    result = main(["--config=omg_vae", f"--env-config={tmp_path}/env.yaml", "with", *words], tmp_path)
    assert result.code == 0, result.err
    lengths = [line["ep_length_mean"] for line in result.lines() if "ep_length_mean" in line]
    assert all(5 <= n <= 9 for n in lengths)


@pytest.mark.parametrize("workers", [0, 2])
def test_external_environment_learner_and_controller(tmp_path, workers):
    (tmp_path / "corridor.yaml").write_text("env: tests.outside:Corridor\n")
    (tmp_path / "plain.yaml").write_text("name: plain\nlearner: tests.outside:CountingLearner\nmy_scale: 2.0\n")
    result = main(
        [f"--config={tmp_path}/plain.yaml", f"--env-config={tmp_path}/corridor.yaml", "with",
         "mac=tests.outside:MemoryMAC", "t_max=600", "test_interval=300", "batch_size=4", f"env_workers={workers}"],
        tmp_path,
    )  # fmt: skip
    assert result.code == 0, result.err
    assert result.run.parent.name == "tests.outside:Corridor"
    assert sum("counted_reward" in line for line in result.lines()) >= 5


def test_the_vae_learner_works_with_an_external_base_learner_and_controller(tmp_path):
    (tmp_path / "corridor.yaml").write_text("env: tests.outside:Corridor\n")
    result = main(
        ["--config=omg_vae", f"--env-config={tmp_path}/corridor.yaml", "with", "mac=tests.outside:MemoryMAC",
         "base_learner=tests.outside:CountingLearner", "my_scale=1", "t_max=1200", "batch_size=4"],
        tmp_path,
    )  # fmt: skip
    assert result.code == 0, result.err
    assert any("counted_reward" in line for line in result.lines())
    assert any("vae_kl_loss" in line for line in result.lines())


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        (["env_args.key=mpe2.simple_tga_v3"], "simple_tga_v3"),
        (["env_args.key=no_such_package.thing_v0"], "no_such_package"),
        (["env_args.key=pettingzoo.mpe.simple_tag_v3"], "mpe2"),
        (["env_args.colour=red"], "env_args.colour"),
        (["env_args.max_cycles=abc"], "env_args.max_cycles: 'abc' is not a positive number of steps"),
        (["env_args.key=5"], "env_args.key: 5 is not a text"),
        (["env_args.continuous_actions=True", "learner=q_learner"], "Box actions"),
    ],
)
def test_invalid_environments_give_a_one_line_error(words, expected, tmp_path):
    assert expected in error_of(main(["--config=omg_vae", "with", *words], tmp_path))


@pytest.mark.parametrize(
    ("fault", "expected"), [("raise", "the floor gave way"), ("nan", "not finite (NaN or infinity)")]
)
@pytest.mark.parametrize("workers", [0, 2])
def test_a_failing_environment_ends_the_run_and_keeps_the_metrics(fault, expected, workers, tmp_path):
    (tmp_path / "env.yaml").write_text(f"env: tests.outside:Corridor\nenv_args: {{fault: {fault}}}\n")
    result = main(
        [
            "--config=iql",
            f"--env-config={tmp_path}/env.yaml",
            "with",
            f"env_workers={workers}",
            "test_interval=0",
            "runner_log_interval=100",
        ],
        tmp_path,
    )
    assert expected in error_of(result)
    assert (result.run / "curves.png").exists() and (result.run / "metrics.jsonl").read_text()
