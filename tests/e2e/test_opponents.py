"""Commands of a user: pools, learners against them, evaluation, crossplay and replay."""

import csv
import json

import pytest
import yaml
from e2e.command import error_of, main
from PIL import Image

FORAGING = ["--env-config=foraging", "with", "env_args.episode_limit=10", "env_args.backend=batched", "seed=1"]
SCRIPTS = ["scripts=[nearest,farthest]", "test_scripts=[west,last:0.1]"]
TINY = ["t_max=1600", "test_interval=800", "test_nepisode=8", "batch_size_run=8", "rollout_steps=20", "env_workers=0",
        "hidden_dim=16", "learner_log_interval=160", "runner_log_interval=160", "use_tensorboard=False", "epochs=1",
        "minibatches=1"]  # fmt: skip


PREDICTS_ACTIONS = ("liam", "naive_om", "plastic", "meliba")
OWN = {"omg_paper": ["vae_hidden_dim=16", "replay_rollouts=4"], "omg_paper_ppo": ["vae_hidden_dim=16"],
       "omg": ["vae_hidden_dim=16", "omg_horizon=5"], "omg_ppo": ["vae_hidden_dim=16", "omg_horizon=5"],
       "place_prediction": ["model_horizon=5"], "object_prediction": ["model_horizon=5"]}  # fmt: skip


def pool(folder, *words):
    done = main(["pool", *FORAGING, *SCRIPTS, *words, f"out={folder}"], folder.parent, results_key=False)
    assert done.code == 0, done.err
    return done


@pytest.fixture(scope="module")
def source(tmp_path_factory):
    """A folder with a run of PPO and the VAE against a pool, and a pool with that run's prior and an IQL team."""
    root = tmp_path_factory.mktemp("source")
    pool(root / "bare")
    vae_learner = ["learner=omg_vae_learner", "base_learner=ppo_learner", "vae_updates=4", "vae_hidden_dim=16"]
    run = main(["--config=ppo_history", *FORAGING, *TINY, *vae_learner, f"pool={root / 'bare'}"], root / "results")
    assert run.code == 0, run.err
    team = main(["--config=iql", *FORAGING, "t_max=400", "test_interval=0", "batch_size=4", "batch_size_run=4",
                 "hidden_dim=16", "use_tensorboard=False"], root / "team")  # fmt: skip
    assert team.code == 0, team.err
    pool(root / "pool", f"prior={run.run}", f"test_runs=[{team.run}]")
    return root


def test_a_manifest_lists_scripts_checkpoints_and_prior(source):
    manifest = yaml.safe_load((source / "pool" / "pool.yaml").read_text())
    assert [(m["name"], m["split"]) for m in manifest["opponents"]] == [
        ("nearest", "train"), ("farthest", "train"), ("west", "test"), ("last:0.1", "test"), ("iql_4", "test"),
    ]  # fmt: skip
    trained = manifest["opponents"][-1]
    assert trained["made"].startswith("iql, seed 1, 4")
    assert (source / "pool" / trained["file"]).is_file()
    assert manifest["prior"] == "prior.th"


@pytest.mark.parametrize("algorithm, number", [
    ("omg_ppo", "omg_kl_loss"), ("omg", "omg_value_std"), ("omg_paper", "valued_loss"),
    ("omg_paper_ppo", "valued_loss"), ("place_prediction", "model_loss"),
    ("object_prediction", "model_object_accuracy"), ("liam", "model_recon_loss"),
    ("naive_om", "model_action_accuracy"), ("plastic", "model_type_accuracy"), ("meliba", "model_kl_type"),
])  # fmt: skip
def test_opponent_modelling_learners_train_evaluate_and_replay(source, tmp_path, algorithm, number):
    words = [
        f"--config={algorithm}",
        *FORAGING,
        *TINY,
        f"pool={source / 'pool'}",
        "split=test",
        "model_hidden_dim=16",
        *OWN.get(algorithm, []),
    ]
    done = main(words, tmp_path)
    assert done.code == 0, done.err
    names = {name for line in done.lines() for name in line}
    assert {number, f"{number}_std", "loss", "test_return_mean"} <= names
    tested = "test_model_action_accuracy" if algorithm in PREDICTS_ACTIONS else "test_omg_hit_ratio"
    assert tested in names
    if tested == "test_omg_hit_ratio":
        assert "test_omg_hit_chance" in names
    last = json.loads((done.run / "test_episodes.jsonl").read_text().splitlines()[-1])
    returns = [sum(r) for r, who in zip(last["returns"], last["opponents"], strict=True) if who == "iql_4"]
    logged = [line["test_return_against/iql"] for line in done.lines() if "test_return_against/iql" in line]
    assert logged[-1] == pytest.approx(sum(returns) / len(returns))
    again = main(["evaluate", "with", f"checkpoint_path={done.run}", "test_nepisode=12"], tmp_path)
    assert again.code == 0, again.err
    (file,) = done.run.glob("checkpoints/*/evaluation.json")
    result = json.loads(file.read_text())
    by = {(line["of"], line["name"]): line for line in result["by_opponent"]}
    assert set(by) == {("opponent", "west"), ("opponent", "last:0.1"), ("opponent", "iql_4"), ("family", "script"),
                       ("family", "iql"), ("all", "all")}  # fmt: skip
    assert by["all", "all"]["episodes"] == len(result["episodes"]) >= 12
    everyone = [sum(e["returns"]) for e in result["episodes"]]
    assert by["all", "all"]["return"] == pytest.approx(sum(everyone) / len(everyone))
    assert "family    script" in again.out
    elsewhere = [f"pool={source / 'bare'}", "test_nepisode=4"]  # a pool without a prior: the checkpoint contains one
    again = main(["evaluate", "with", f"checkpoint_path={done.run}", *elsewhere], tmp_path)
    assert again.code == 0 and "opponent  west" in again.out, again.err
    film = main(
        ["replay", "with", f"checkpoint_path={done.run}", f"out={tmp_path / 'film'}", "opponent=iql_4"], tmp_path
    )
    assert film.code == 0, film.err
    with Image.open(tmp_path / "film" / "episode.gif") as gif:
        assert gif.n_frames == 11  # 10 steps: random teams do not finish the game earlier
    assert len(list((tmp_path / "film").glob("step_*.png"))) == 4


@pytest.mark.parametrize("algorithm", ["ppo_history", "naive_om"])
def test_evaluation_has_the_switches_and_the_series_after_them(source, tmp_path, algorithm):
    """All steps together have the mean return and the accuracy of the whole test."""
    words = [f"--config={algorithm}", *FORAGING, *TINY, f"pool={source / 'pool'}", "split=test"]
    run = main([*words, "opponents_switch=[2,4]"], tmp_path)
    assert run.code == 0, run.err
    done = main(["evaluate", "with", f"checkpoint_path={run.run}", "test_nepisode=12"], tmp_path)
    assert done.code == 0, done.err
    (file,) = run.run.glob("checkpoints/*/evaluation.json")
    result = json.loads(file.read_text())
    before, after = result["before_switch"], result["after_switch"]
    episodes = result["episodes"]
    assert before["count"][0] == len(episodes) and before["count"][1] == len(episodes)
    assert after["count"][0] == sum(len(e.get("switches", ())) for e in episodes) > len(episodes)
    assert max(after["steps"]) <= 3
    for episode in episodes:
        chain = [episode["opponent"], *(switch["to"] for switch in episode["switches"])]
        assert [switch["from"] for switch in episode["switches"]] == chain[:-1]
        assert {2, 3, 4} >= {episode["switches"][0]["step"]}
    both = [pair for each in (before, after) for pair in zip(each["reward"], each["count"], strict=True)]
    assert sum(r * n for r, n in both) == pytest.approx(sum(sum(e["returns"]) for e in episodes), abs=1e-5)
    with_model = algorithm == "naive_om"
    assert ("accuracy" in after) is with_model
    if with_model:
        accuracy, predictions = (before[name] + after[name] for name in ("accuracy", "predictions"))
        right = sum(share * n for share, n in zip(accuracy, predictions, strict=True) if n)
        assert right / sum(predictions) == pytest.approx(result["test_model_action_accuracy"], rel=1e-5)
    assert f"reward per step{' (and accuracy)' * with_model} by steps since a switch: 0-3: " in done.out
    again = main(
        ["evaluate", "with", f"checkpoint_path={run.run}", "opponents_switch=0", "test_nepisode=4"], tmp_path
    )
    assert again.code == 0 and "since a switch" not in again.out, again.err


def test_omg_trains_against_the_checkpoints_of_omg_vae_with_its_prior(tmp_path):
    first = main(["--config=omg_vae", *FORAGING, "t_max=400", "test_interval=0", "batch_size=4", "batch_size_run=4",
                  "hidden_dim=16", "vae_hidden_dim=16", "vae_latent_dim=20", "save_model_interval=200",
                  "use_tensorboard=False"], tmp_path)  # fmt: skip
    assert first.code == 0, first.err
    checkpoints = sorted(first.run.glob("checkpoints/*"), key=lambda p: int(p.name))
    source = f"source={first.run}"
    words = ["--config=omg_ppo", *FORAGING, *TINY, source, "vae_hidden_dim=16", "model_hidden_dim=16"]
    second = main(words, tmp_path / "then")
    assert second.code == 0, second.err
    assert "vae_latent_dim: 20, the number of latents of the prior in" in second.out + second.err
    stored = json.loads(next(second.run.glob("checkpoints/*/config.json")).read_text())
    assert stored["vae_latent_dim"] == 20
    tested = main(["evaluate", "with", f"checkpoint_path={second.run}", "test_nepisode=4"], tmp_path / "then")
    assert tested.code == 0, tested.err
    (manifest,) = (tmp_path / "then").glob("pools/*/pool.yaml")
    entries = yaml.safe_load(manifest.read_text())
    trained = [m["name"] for m in entries["opponents"] if m["split"] == "train"]
    assert len(trained) == len(checkpoints) >= 2
    assert all(name.startswith("omg_vae_") for name in trained)
    assert (manifest.parent / entries["prior"]).read_bytes() == (checkpoints[-1] / "vae.th").read_bytes()
    assert f"a pool of {len(trained)} checkpoints" in second.out + second.err
    assert any("test_return_against/script" in line for line in second.lines())
    elsewhere = main(["--config=omg_ppo", "with", source, *TINY], tmp_path)
    assert "source: " in error_of(elsewhere) and "was trained in lbforaging" in error_of(elsewhere)


def test_crossplay_tests_every_run_against_every_opponent(source, tmp_path):
    words = ["--config=ppo_history", *FORAGING, *TINY, f"pool={source / 'pool'}", "test_interval=0"]
    for label in ("one", "other"):
        assert main([*words, f"label={label}"], tmp_path / "runs").code == 0
    (tmp_path / "runs" / "failed").mkdir()
    (tmp_path / "runs" / "failed" / "metrics.jsonl").touch()
    cross = ["crossplay", "with", f"runs=[{tmp_path / 'runs'}]", "episodes=4", f"out={tmp_path / 'cross'}"]
    done = main(cross, tmp_path, results_key=False)
    assert done.code == 0, done.err
    assert "failed holds no checkpoint" in done.out + done.err
    table = list(csv.reader((tmp_path / "cross" / "crossplay.csv").read_text().splitlines()))
    assert table[0] == ["", "runs", "west", "last:0.1", "iql_4", "all"]
    assert [row[:2] for row in table[1:]] == [["one", "1"], ["other", "1"]]
    assert (tmp_path / "cross" / "crossplay.png").stat().st_size > 5000
    assert not list((tmp_path / "runs").glob("**/evaluation.json"))  # crossplay does not write evaluate's files
    lost = main([*cross, "between=[one,best]"], tmp_path, results_key=False)
    assert "between: give two of one, other" in error_of(lost)
    bare = main(["crossplay", "with", f"runs=[{source / 'team'}]"], tmp_path, results_key=False)
    assert "was not trained against a pool" in error_of(bare)


def test_the_base_learner_trains_with_goals_and_beliefs_in_its_observations(source, tmp_path):
    words = [
        "--config=ppo_history",
        *FORAGING,
        *TINY,
        f"pool={source / 'bare'}",
        "opponent_information=[actions,goal,belief]",
    ]
    assert main(words, tmp_path).code == 0


def test_without_a_pool_the_base_learner_plays_against_scripts(tmp_path):
    """As opponent-modelling learners do. Otherwise the docs would compare them with a team in self-play."""
    done = main(["--config=ppo_history", *FORAGING, *TINY], tmp_path)
    assert done.code == 0, done.err
    assert "against 10 opponents" in done.out + done.err
    assert any("test_return_against/script" in line for line in done.lines())
    (manifest,) = (tmp_path / "pools").glob("*/pool.yaml")
    assert not (manifest.parent / "prior.th").exists()


def test_without_scripts_opponents_are_teams_of_short_runs(tmp_path):
    """A run without a pool is tested against held-out teams, and the next run uses the same pool."""
    spread = ["--env-config=simple_spread", "with", *TINY, "model_hidden_dim=16"]
    first = main(["--config=omg_ppo", *spread], tmp_path)
    assert first.code == 0, first.err
    assert "making a small automatic pool" in first.out + first.err
    assert "6 runs of 2,000 steps or 8 s each (ippo, iql, vdn); for results, make a larger" in first.out + first.err
    (manifest,) = (tmp_path / "pools").glob("*/pool.yaml")
    members = yaml.safe_load(manifest.read_text())["opponents"]
    runs = {split: {m["made"].rpartition(",")[0] for m in members if m["split"] == split} for split in
            ("train", "validation", "test")}  # fmt: skip
    assert runs == {
        "train": {"ippo, seed 1", "iql, seed 2", "vdn, seed 3"},
        "validation": {"iql, seed 4"},
        "test": {"iql, seed 5", "ippo, seed 6"},
    }
    assert len(members) == 12 and not list((tmp_path / "pools").glob(".*/"))
    assert {"omg_kl_loss", "test_return_against/iql", "test_return_against/ippo"} <= {
        name for line in first.lines() for name in line
    }
    tested = main(["evaluate", "with", f"checkpoint_path={first.run}", "test_nepisode=8"], tmp_path)
    assert tested.code == 0 and "family    ippo" in tested.out, tested.err
    words = ["--config=liam", *spread, "test_interval=0", f"local_results_path={tmp_path}"]
    second = main(words, tmp_path / "then", results_key=False)
    assert second.code == 0, second.err
    assert f"using the small automatic pool in {manifest.parent}" in second.out + second.err


def test_an_outside_environment_provides_scripts_and_a_layout(tmp_path):
    (tmp_path / "corridor.yaml").write_text("env: tests.outside:Corridor\n")
    game = f"--env-config={tmp_path / 'corridor.yaml'}"
    lost = main(["pool", game, "with", "scripts=[up]", f"out={tmp_path / 'p'}"], tmp_path, results_key=False)
    assert "script: up is neither left nor right" in error_of(lost)
    words = ["t_max=3200", "test_interval=0", "test_nepisode=8", "env_workers=0", "use_tensorboard=False"]
    done = main(["--config=liam", game, "with", "opponent_model=tests.outside:MoodModel", *words], tmp_path)
    assert done.code == 0, done.err
    (manifest,) = tmp_path.glob("pools/*/pool.yaml")  # of the scripted players of the environment's module
    names = [(m["name"], m["split"]) for m in yaml.safe_load(manifest.read_text())["opponents"]]
    assert names == [("right", "train"), ("left", "test")]
    small = ["model_places=3", "model_horizon=4", "rollout_steps=6", "model_hidden_dim=16", "model_memory=2"]
    words = [word.replace("test_interval=0", "test_interval=3000") for word in words]
    done = main(["--config=place_prediction", game, "with", *words, *small], tmp_path / "places")
    assert done.code == 0, done.err
    ratios = [line["test_omg_hit_ratio"] for line in done.lines() if "test_omg_hit_ratio" in line]
    assert ratios and all(0.0 <= ratio <= 1.0 for ratio in ratios)  # logged: the layout is known
    words = ["replay", "with", f"checkpoint_path={done.run}", f"out={tmp_path / 'film'}"]
    unnamed = main(words, tmp_path / "places")
    assert "names tests.outside:Corridor; to import it, add env=tests.outside:Corridor" in error_of(unnamed)
    film = main([*words, "env=tests.outside:Corridor"], tmp_path / "places")
    assert film.code == 0, film.err
    with Image.open(tmp_path / "film" / "episode.gif") as gif:
        assert gif.n_frames == 13


def test_runs_of_another_environment_are_refused(tmp_path):
    team = main(["--config=iql", *FORAGING, "t_max=400", "test_interval=0", "batch_size=4", "batch_size_run=4",
                 "hidden_dim=16", "use_tensorboard=False"], tmp_path)  # fmt: skip
    (team.run / "checkpoints" / ".DS_Store").touch()
    other = main(["pool", "with", f"runs=[{team.run}]", f"out={tmp_path / 'other'}"], tmp_path, results_key=False)
    assert "was trained in lbforaging:" in error_of(other) and "the pool is for mpe2.simple_tag_v3" in error_of(other)
    assert not (tmp_path / "other").exists()
    prior = main(["--config=omg_vae", "with", "t_max=400", "test_interval=0", "batch_size=4", "batch_size_run=4",
                  "hidden_dim=16", "vae_hidden_dim=16", "use_tensorboard=False"], tmp_path / "tag")  # fmt: skip
    words = ["scripts=[west]", f"prior={prior.run}", f"out={tmp_path / 'other'}"]
    other = main(["pool", *FORAGING, *words], tmp_path, results_key=False)
    assert "prior: " in error_of(other) and "was trained in mpe2.simple_tag_v3" in error_of(other)
    pool(tmp_path / "same", f"runs=[{team.run}]", "checkpoints=all")


@pytest.mark.parametrize("algorithm", ["omg_ppo", "place_prediction", "object_prediction"])
def test_the_same_seed_gives_the_same_metrics(source, tmp_path, algorithm):
    words = [f"--config={algorithm}", *FORAGING, *TINY, f"pool={source / 'pool'}", "split=test"]
    words += OWN.get(algorithm, [])
    one, other = (main(words, tmp_path / name).steady() for name in "ab")
    assert one == other


@pytest.mark.parametrize(
    "words, message",
    [
        (["--config=omg_ppo", "with", "pool=/nowhere"], "pool: /nowhere cannot be read (No such file"),
        (["--config=liam", "with", "env_args.key=mpe2.simple"], "pool: mpe2.simple_v3 has only one agent"),
        (["--config=ippo", "with", "opponent_information=[mood]"], "opponent_information: 'mood' is not one of 'act"),
        (["replay"], "checkpoint_path: replay needs one"),
        (["--config=iql", "with", "opponents_switch=5"], "opponents_switch: there are no opponents; give pool="),
        (["--config=liam", "with", "opponents_switch=[5,2]"], "opponents_switch: [5, 2] is neither a number"),
        (["--config=omg_ppo", "with", "omg_mode=hopeful"], "omg_mode: 'hopeful' is not one of"),
        (["pool", "with", "out=x"], "runs, scripts: name opponents to train against"),
        (["pool", "with", "out=tests", "scripts=[chase+flee]"], "out: tests exists"),
        (["pool", "with", "out=x", "scripts=[a:b]"], "scripts: 'a:b' is not SCRIPT"),
        (["pool", "with", "out=x", "runs=[/nowhere]"], "runs: /nowhere contains no run"),
        (["pool", "with", "out=x", "scripts=[nearest]"], "script: 'nearest' is not PREDATOR+PREY"),
        (["--config=omg_ppo", "with", "source=/nowhere"], "source: /nowhere does not exist"),
    ],
)
def test_errors_of_opponent_commands_are_one_line(tmp_path, words, message):
    assert message in error_of(main(words, tmp_path))
