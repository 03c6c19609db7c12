"""Runs that are interrupted, killed or damaged, and then resumed: they equal the uninterrupted run."""

import json
import os
import shlex
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import omarl
import pytest
from omarl import training_loop
from omarl.types import ConfigError
from omarl.utils.run_directory import resume_command

ROOT = Path(__file__).parents[2]
SMALL = {"seed": 5, "use_tensorboard": False, "test_nepisode": 4, "batch_size_run": 4, "hidden_dim": 8,
         "learner_log_interval": 300, "runner_log_interval": 300, "env_workers": 0,
         "keep_checkpoints": 9}  # fmt: skip
TAG = {"key": "mpe2.simple_tag_v3", "max_cycles": 25}
ARRAYS = {**TAG, "backend": "batched"}
PACKAGE = {**TAG, "backend": "pettingzoo"}
CONTINUOUS = {"key": "mpe2.simple_spread_v3", "continuous_actions": True}
MEMORY = {
    "model_memory": 3,
    "model_window": 2,
    "rollout_steps": 25,
    "opponent_information": ["actions", "goal"],
    "opponents_switch": [3, 9],
}
OFF_POLICY = {"t_max": 2400, "test_interval": 900, "save_model_interval": 700}
ON_POLICY = {"t_max": 2400, "test_interval": 900, "save_model_interval": 700, "rollout_steps": 25}
CASES = {
    "omg_vae": ("omg_vae", ARRAYS, {**OFF_POLICY, "vae_watch": "warn"}),
    "qmix": ("qmix", PACKAGE, {**OFF_POLICY, "common_reward": True, "standardise_rewards": True}),
    "mappo": ("mappo", PACKAGE, {**ON_POLICY, "common_reward": True}),
    "continuous": ("omg_vae", CONTINUOUS, {**OFF_POLICY, "obs_last_action": True, "use_rnn": True}),
    "liam": ("liam", ARRAYS, ON_POLICY),
    "place_prediction": ("place_prediction", PACKAGE, {**ON_POLICY, **MEMORY}),
}


def metrics(run):
    rows = [json.loads(line) for line in (Path(run) / "metrics.jsonl").read_text().splitlines()]
    return [{k: v for k, v in row.items() if k not in ("wall_s", "steps_per_second")} for row in rows]


def steps(run):
    return sorted(int(path.name) for path in Path(run).glob("checkpoints/*"))


def copy_killed_after(run, copy, n_checkpoints):
    """A copy of a complete run as it is when it is killed some time after its first checkpoints."""
    shutil.copytree(run, copy)
    for step in steps(copy)[n_checkpoints:]:
        shutil.rmtree(copy / "checkpoints" / str(step))
    with (copy / "metrics.jsonl").open("a") as file:
        file.write('{"t_env": 99999, "return_mean": 1.0}\n{"t_en')
    (copy / "run.json").write_text('{"status": "RUNNING"}')
    return copy


@pytest.fixture(scope="module", params=CASES)
def complete(request, tmp_path_factory):
    config, env, keys = CASES[request.param]
    folder = tmp_path_factory.mktemp(request.param)
    return omarl.train(config, env=env, path=folder / "run", **SMALL, **keys, local_results_path=str(folder))


def test_a_killed_run_equals_the_uninterrupted_one(complete, tmp_path):
    assert len(steps(complete)) >= 3
    killed = copy_killed_after(complete, tmp_path / "killed", 2)
    omarl.resume(killed)
    assert metrics(killed) == metrics(complete)
    assert (killed / "test_episodes.jsonl").read_text() == (complete.path / "test_episodes.jsonl").read_text()
    assert steps(killed) == steps(complete)
    assert json.loads((killed / "run.json").read_text())["status"] == "COMPLETED"
    assert json.loads((killed / "config.json").read_text()) == complete.config


def test_a_killed_run_on_stacked_images_equals_the_uninterrupted_one(tmp_path):
    env, arguments = "tests.lights:Lights", {"side": 4, "frame_stack": 2}
    keys = {**SMALL, "t_max": 900, "test_interval": 400, "save_model_interval": 300, "batch_size": 8}
    run = omarl.train("omg_vae", env, path=tmp_path / "run", env_args=arguments, **keys)
    killed = copy_killed_after(run, tmp_path / "killed", 1)
    omarl.resume(killed, env=env)
    assert metrics(killed) == metrics(run) and steps(killed) == steps(run)


@pytest.fixture(scope="module")
def short(tmp_path_factory):
    folder = tmp_path_factory.mktemp("short")
    keys = {**SMALL, "t_max": 600, "test_interval": 300, "save_model_interval": 200}
    return omarl.train("iql", env=ARRAYS, path=folder / "run", **keys)


def test_a_run_killed_before_its_first_checkpoint_starts_again_in_place(short, tmp_path):
    killed = copy_killed_after(short, tmp_path / "killed", 0)
    omarl.resume(killed)
    assert metrics(killed) == metrics(short)


def test_a_damaged_last_checkpoint_is_replaced_by_the_one_before(short, tmp_path):
    killed = copy_killed_after(short, tmp_path / "killed", 2)
    damaged = killed / "checkpoints" / str(steps(killed)[-1]) / "resume.th"
    content = bytearray(damaged.read_bytes())
    content[len(content) // 2 : len(content) // 2 + 64] = bytes(64)
    damaged.write_bytes(content)
    omarl.resume(killed)
    assert metrics(killed) == metrics(short)


def test_a_complete_run_is_left_unchanged(short, tmp_path):
    copy = tmp_path / "copy"
    shutil.copytree(short, copy)
    before = {path: path.read_bytes() for path in copy.rglob("*") if path.is_file()}
    omarl.resume(copy)
    assert {path: path.read_bytes() for path in copy.rglob("*") if path.is_file()} == before


def test_the_last_checkpoint_is_written_after_the_last_test_and_log(tmp_path, monkeypatch):
    def killed(self, last=False):
        if last:
            raise RuntimeError("killed")
        log(self, last)

    log = training_loop.Training.log
    monkeypatch.setattr(training_loop.Training, "log", killed)
    keys = {**SMALL, "t_max": 600, "test_interval": 300, "save_model_interval": 200}  # 600 is a multiple of 200
    with pytest.raises(RuntimeError, match="killed"):
        omarl.train("iql", env=ARRAYS, path=tmp_path / "run", **keys)
    assert steps(tmp_path / "run") == [200, 400]


@pytest.mark.parametrize(
    ("keys", "message"),
    [
        ({"lr": 0.1}, r"^lr: a run keeps its configuration; .* checkpoint_path=.* lr=0.1"),
        ({"typo": 1}, r"^typo: unknown key"),
    ],
)
def test_keys_that_would_change_the_run_are_refused(short, keys, message):
    with pytest.raises(ConfigError, match=message):
        omarl.resume(short, **keys)


def test_own_code_must_be_named_again(tmp_path):
    corridor = "tests.outside:Corridor"
    keys = {**SMALL, "t_max": 240, "test_interval": 0, "save_model_interval": 100, "batch_size": 4}
    run = omarl.train("iql", env=corridor, path=tmp_path / "run", **keys)
    assert resume_command(run.path, run.config).endswith(f" trust={corridor}")
    with pytest.raises(ConfigError, match=rf"^env: .* names {corridor}; to import it, add env={corridor}"):
        omarl.resume(run, t_max=480)
    omarl.resume(run, t_max=480, trust=corridor)
    assert steps(run)[-1] == 480 and omarl.Run(run.path).config["t_max"] == 480


def test_a_folder_without_a_run_is_refused(tmp_path):
    with pytest.raises(ConfigError, match=r"^run: .* is not the folder of a run"):
        omarl.resume(tmp_path)


def test_a_signal_saves_a_checkpoint_and_the_training_continues(short, tmp_path, monkeypatch):
    collect = training_loop.Training.collect_and_learn
    sent = []

    def interrupted(self):
        collect(self)
        if self.parts.runner.t_env >= 300 and not sent:
            sent.append(self.parts.runner.t_env)
            os.kill(os.getpid(), signal.SIGUSR1)

    monkeypatch.setattr(training_loop.Training, "collect_and_learn", interrupted)
    keys = {**SMALL, "t_max": 600, "test_interval": 300, "save_model_interval": 200}
    run = omarl.train("iql", env=ARRAYS, path=tmp_path / "run", **keys)
    assert sent[0] in steps(run) and sent[0] not in steps(short)
    assert metrics(run) == metrics(short)


def typed(words, **options):
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    return subprocess.Popen([sys.executable, "main.py", *words], cwd=ROOT, env=environment, text=True,
                            stdout=subprocess.PIPE, stderr=subprocess.STDOUT, **options)  # fmt: skip


def test_a_terminated_run_prints_the_command_that_continues_it(tmp_path):
    words = ["--config=iql", "with", "t_max=40000", "test_interval=0", "save_model_interval=40000",
             "use_tensorboard=False", "env_args.backend=batched", "seed=2", "hidden_dim=8"]  # fmt: skip
    process = typed([*words, f"local_results_path={tmp_path}"])
    deadline = time.monotonic() + 120
    while time.monotonic() < deadline and not any(
        p.stat().st_size for p in tmp_path.glob("sacred/*/*/1/metrics.jsonl")
    ):
        time.sleep(0.1)
    process.send_signal(signal.SIGTERM)
    output, _ = process.communicate(timeout=120)
    assert process.returncode == 130, output
    (line,) = [line for line in output.splitlines() if line.startswith("to continue: ")]
    printed = shlex.split(line.removeprefix("to continue: "))
    assert printed[:2] == ["python", "main.py"]
    again = typed([*printed[2:], "t_max=12000"])
    output, _ = again.communicate(timeout=300)
    assert again.returncode == 0, output
    (run,) = tmp_path.glob("sacred/*/*/*[0-9]")
    steps_logged = [row["t_env"] for row in metrics(run)]
    assert steps_logged == sorted(set(steps_logged)) and steps_logged[-1] >= 12000


def test_a_closed_pipe_does_not_end_the_training(tmp_path):
    words = ["--config=iql", "with", "t_max=3000", "test_interval=0", "use_tensorboard=False", "log_interval=200",
             "env_args.backend=batched", "seed=2", "hidden_dim=8", f"local_results_path={tmp_path}"]  # fmt: skip
    process = typed(words)
    process.stdout.readline()
    process.stdout.close()
    assert process.wait(timeout=120) == 0
    (run,) = tmp_path.glob("sacred/*/*/1")
    assert json.loads((run / "run.json").read_text())["status"] == "COMPLETED"
