"""The default run: its files, metrics, evaluation, resumption and interruption."""

import json
import re
import resource
import shutil
import signal
import subprocess
import time

import numpy as np
import pytest
from e2e.command import ROOT, SMALL, command, environment, error_of, main

PER_UPDATE = ["vae_loss", "vae_recon_loss", "vae_kl_loss", "vae_alpha", "vae_grad_norm", "vae_clipped_share"]
PER_LOG = ["vae_active_units", "vae_explained_variance"]
RUNNER = ["return_mean", "return_mean/adversary_0", "return_mean/agent_0", "ep_length_mean", "steps_per_second"]


@pytest.fixture(scope="module")
def default_run(tmp_path_factory):
    result = main(["--config=omg_vae", "with", "seed=3", *SMALL], tmp_path_factory.mktemp("run"))
    assert result.code == 0, result.err
    return result


def test_the_run_folder_has_epymarls_layout_and_omarls_files(default_run):
    run = default_run.run
    assert run.relative_to(default_run.results).parts[:4] == ("sacred", "omg_vae", "mpe2.simple_tag_v3", "1")
    for name in ("config.json", "run.json", "metrics.json", "cout.txt", "metrics.jsonl", "curves.png"):
        assert (run / name).stat().st_size > 0, name
    assert json.loads((run / "run.json").read_text())["status"] == "COMPLETED"
    assert (run / "curves.png").read_bytes().startswith(b"\x89PNG")
    assert list((run / "tb").glob("events*"))
    last = max(int(p.name) for p in (run / "checkpoints").iterdir())
    assert last >= 1200
    saved = {p.name for p in (run / "checkpoints" / str(last)).iterdir()}
    assert saved == {"agent.th", "opt.th", "vae.th", "run.th", "resume.th", "config.json", "checkpoint.json"}


def test_every_metric_is_logged_with_its_statistics_at_the_log_interval(default_run):
    lines = default_run.lines()
    for name in PER_UPDATE:
        logged = [line["t_env"] for line in lines if name in line]
        assert logged == list(range(logged[0], 1201, 200)) and logged[0] <= 400, (name, logged)
        for line in lines:
            if name in line:
                assert line[f"{name}_min"] <= line[name] <= line[f"{name}_max"] and line[f"{name}_std"] >= 0
    for name in PER_LOG + RUNNER:
        assert sum(name in line for line in lines) >= 4, name
    tests = [line["t_env"] for line in lines if "test_return_mean" in line]
    assert tests == [0, 600, 1200]
    assert "test_return_mean/adversary_0" in lines[-1] and "test_vae_explained_variance" in lines[-1]
    assert all(line["wall_s"] > 0 for line in lines)


def test_return_mean_is_the_sum_over_agents(default_run):
    for line in default_run.lines():
        if "return_mean" in line:
            agents = [v for k, v in line.items() if k.startswith("return_mean/")]
            assert len(agents) == 4 and sum(agents) == pytest.approx(line["return_mean"], abs=1e-6)


def test_sacred_has_the_same_metrics_as_plain_floats(default_run):
    mirror = json.loads((default_run.run / "metrics.json").read_text())
    for name in ("vae_kl_loss", "return_mean", "test_return_mean"):
        ours = [(line["t_env"], line[name]) for line in default_run.lines() if name in line]
        assert list(zip(mirror[name]["steps"], mirror[name]["values"], strict=True)) == ours
        assert all(type(v) is float for v in mirror[name]["values"])
    assert not (default_run.run / "info.json").exists()


def test_the_console_states_the_run_folder_and_the_results(default_run):
    console = (default_run.run / "cout.txt").read_text()
    for text in (
        "run directory: ",
        "test return ",
        "VAE: reconstruction ",
        "curves: ",
        "memory: ",
        "omg_vae on mpe2.simple_tag_v3 (ParallelEnv: 3 adversary, 1 agent)",
        "learner: loss ",
    ):
        assert text in console, text
    assert "optim_alpha" not in console  # the user did not set it


def test_every_test_episode_is_recorded(default_run):
    kept = [json.loads(line) for line in (default_run.run / "test_episodes.jsonl").read_text().splitlines()]
    logged = [line for line in default_run.lines() if "test_return_mean" in line]
    assert [line["t_env"] for line in kept] == [line["t_env"] for line in logged] and len(kept) > 1
    for episodes, means in zip(kept, logged, strict=True):
        returns = [sum(agents) for agents in episodes["returns"]]
        assert sum(returns) / len(returns) == pytest.approx(means["test_return_mean"])
        assert len(episodes["lengths"]) == len(returns) >= 4 and len(episodes["returns"][0]) == 4
        assert sum(episodes["lengths"]) / len(returns) == pytest.approx(means["test_ep_length_mean"])


def test_evaluate_loads_agents_and_vae(default_run, tmp_path):
    result = main(
        ["evaluate", "with", f"checkpoint_path={default_run.run}", "test_nepisode=8"], default_run.results / "x"
    )
    assert result.code == 0, result.err
    assert "8 episodes; ± is the standard error" in result.out
    mean, error = re.search(r"test_return_mean +(-?[\d.]+) ± (\S+)\n", result.out).groups()
    held_out = float(re.search(r"test_vae_explained_variance +(\S+)", result.out).group(1))
    assert held_out <= 1
    stored = json.loads(next((default_run.run / "checkpoints").glob("*/evaluation.json")).read_text())
    assert len(stored["episode_returns"]) == 8 and len(stored["episode_returns"][0]) == 4
    joint = np.array(stored["episode_returns"]).sum(axis=1)
    assert float(mean) == pytest.approx(joint.mean(), rel=1e-3)
    assert float(error) == pytest.approx(joint.std(ddof=1) / 8**0.5, rel=0.05)
    assert re.search(r"test_return_mean/agent_0 +-?[\d.]+ ± \S+\n", result.out)
    assert not (default_run.results / "x" / "sacred").exists()  # an evaluation creates no run
    again = main(
        ["with", "evaluate=True", f"checkpoint_path={default_run.run}", "test_nepisode=8"], default_run.results / "y"
    )
    assert again.code == 0, again.err
    (folder,) = (default_run.run / "checkpoints").iterdir()
    assert json.loads((folder / "evaluation.json").read_text())["episode_returns"] == stored["episode_returns"]
    moved = shutil.copytree(folder, tmp_path / "moved")  # the same episodes from another folder
    (moved / "evaluation.json").unlink()
    main(["evaluate", "with", f"checkpoint_path={moved}", "test_nepisode=8"], tmp_path)
    assert json.loads((moved / "evaluation.json").read_text())["episode_returns"] == stored["episode_returns"]


def test_a_run_resumes_from_a_checkpoint(default_run, tmp_path):
    result = main(["with", f"checkpoint_path={default_run.run}", "t_max=1600"], tmp_path)
    assert result.code == 0, result.err
    steps = [line["t_env"] for line in result.lines()]
    assert steps[0] == 1200 and steps[-1] == 1600
    assert "resumed from" in result.err


def test_iql_trains_the_same_agents_as_omg_vae(default_run, tmp_path):
    small = [word for word in SMALL if not word.startswith("vae")]
    result = main(["--config=iql", "with", "seed=3", *small], tmp_path)
    assert result.code == 0, result.err
    assert not any(key.startswith("vae") for line in result.lines() for key in line)
    for ours, theirs in zip(default_run.lines(), result.lines(), strict=True):
        if "test_return_mean" in ours and ours["t_env"] == 0:
            assert ours["test_return_mean"] == theirs["test_return_mean"]


@pytest.mark.parametrize("words", [["print_config"], ["help"], ["--help"], ["help", "train"], ["print_dependencies"]])
def test_sacreds_commands_create_no_run(words, tmp_path):
    result = main(words, tmp_path)
    assert result.code == 0, result.err
    assert "Traceback" not in result.err
    assert not list(tmp_path.glob("sacred/*/*/*"))
    if words in (["help"], ["--help"]):
        for text in ("--config=NAME|PATH", "object_prediction", "--env-config=NAME|PATH", "knights_archers_zombies"):
            assert text in result.out, text
    if words == ["print_config"]:
        assert "omg_vae_alpha = 0.01" in result.out


def test_sacreds_options_work(tmp_path):
    results, extra = tmp_path / "r", tmp_path / "f"
    result = main(
        [
            "--config=omg_vae",
            "-F",
            str(extra),
            "-l",
            "WARNING",
            "--name=mine",
            "-c",
            "a note",
            "with",
            *SMALL,
            "t_max=400",
        ],
        results,
    )
    assert result.code == 0, result.err
    assert (extra / "1" / "run.json").exists()
    entry = json.loads((result.run / "run.json").read_text())
    assert entry["experiment"]["name"] == "mine" and entry["meta"]["comment"] == "a note"


def test_unobserved_runs_leave_no_files(tmp_path):
    result = main(["--config=omg_vae", "-u", "with", *SMALL, "t_max=400", "optim_alpha=0.8"], tmp_path)
    assert result.code == 0, result.err
    assert "optim_alpha=0.8 is RMSprop's" in result.err  # the user set it
    assert not list(tmp_path.glob("sacred/*/*/*"))


def start(line):
    """Starts a command in the foreground, because background jobs of a shell ignore SIGINT."""

    def foreground():
        signal.signal(signal.SIGINT, signal.SIG_DFL)

    return subprocess.Popen(
        line, cwd=ROOT, env=environment(), stderr=subprocess.PIPE, text=True, preexec_fn=foreground
    )


@pytest.mark.parametrize("ending", [signal.SIGINT, signal.SIGTERM])
def test_an_interrupted_run_keeps_its_metrics_and_draws_them(ending, tmp_path):
    line = command(["--config=omg_vae", "with", *SMALL, "t_max=1000000"], tmp_path)
    process = start(line)
    deadline = time.time() + 120
    while time.time() < deadline:
        files = list(tmp_path.glob("sacred/*/*/1/metrics.jsonl"))
        if files and len(files[0].read_text().splitlines()) >= 5:
            break
        time.sleep(0.2)
    process.send_signal(ending)
    _, err = process.communicate(timeout=60)
    assert process.returncode == 130, err
    assert "Traceback" not in err and "interrupted at step" in err
    run = tmp_path / "sacred" / "omg_vae" / "mpe2.simple_tag_v3" / "1"
    assert json.loads((run / "run.json").read_text())["status"] == "INTERRUPTED"
    assert (run / "curves.png").read_bytes().startswith(b"\x89PNG")
    assert list((run / "checkpoints").iterdir())
    for text in (run / "metrics.jsonl").read_text().splitlines():
        json.loads(text)


@pytest.mark.parametrize("after", [0.3, 1.5])
def test_ctrl_c_before_the_start_gives_no_traceback(after, tmp_path):
    line = command(["--config=omg_vae", "with", *SMALL], tmp_path)
    process = start(line)
    time.sleep(after)
    process.send_signal(signal.SIGINT)
    _, err = process.communicate(timeout=60)
    assert process.returncode in (130, -signal.SIGINT) and "omarl" not in err.replace(str(ROOT), ""), err


def test_a_full_disk_gives_a_one_line_error_and_keeps_complete_lines(tmp_path):
    def small_files():
        resource.setrlimit(resource.RLIMIT_FSIZE, (25_000, 25_000))

    result = main(["--config=omg_vae", "with", *SMALL, "use_tensorboard=False"], tmp_path, preexec_fn=small_files)
    assert "cannot write" in error_of(result)
    lines = result.lines()  # all complete
    assert lines and not list(result.run.rglob("*.tmp"))


def test_a_folder_that_cannot_be_written_stops_the_run_at_the_start(tmp_path):
    (tmp_path / "file").write_text("")
    assert "local_results_path: cannot write into" in error_of(
        main(["--config=iql", "-c", "note"], tmp_path / "file")
    )


def test_a_missing_package_gives_its_install_command(tmp_path):
    (tmp_path / "main.py").write_text((ROOT / "main.py").read_text())
    done = subprocess.run(
        ["/usr/bin/env", "python3", "-S", "-I", "main.py"], cwd=tmp_path, capture_output=True, text=True, check=False
    )
    assert done.returncode == 1
    assert "pip install -r requirements.txt" in done.stderr and "Traceback" not in done.stderr


def test_error_of_finds_the_error_line(tmp_path):
    assert error_of(main(["--config=nothing"], tmp_path)).startswith("error: --config=nothing: no such configuration")


def test_the_configuration_suggested_by_diagnose_can_be_run(default_run, tmp_path):
    result = main(["diagnose", "with", f"run={default_run.run}", f"out={tmp_path}/d"], tmp_path, results_key=False)
    assert result.code == 0, result.err
    verdict = json.loads((tmp_path / "d" / "diagnosis.json").read_text())
    assert verdict["findings"][0]["symptom"] == "too_short" and verdict["healthy"] is False
    assert "too_short" in result.out
    for name in ("diagnosis.md", "diagnosis.png", "suggested.yaml"):
        assert (tmp_path / "d" / name).stat().st_size > 0, name
    again = main(
        [f"--config={tmp_path}/d/suggested.yaml", "with", "t_max=400", "test_interval=0"], tmp_path / "again"
    )
    assert again.code == 0, again.err
    assert "not a run" in error_of(main(["diagnose", "with", f"run={tmp_path}/none"], tmp_path, results_key=False))


def test_ablate_writes_a_table_and_a_picture(tmp_path):
    words = ["ablate", "--config=omg_vae", "with", *SMALL, "t_max=3000", "env_steps_per_update=10", "ablate_seeds=2"]
    result = main([*words, "test_interval=0", "ablate_states=16", f"out={tmp_path}/a"], tmp_path)
    assert result.code == 0, result.err
    assert "| our default |" in (tmp_path / "a" / "ablation.md").read_text()
    assert {p.name for p in (tmp_path / "a").iterdir()} == {"ablation.json", "ablation.md", "ablation.png"}
