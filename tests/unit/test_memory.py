"""The memory of a run: the estimate, the limits that it is compared with, and the refusal of what does not fit."""

import logging
import os
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from fakes import env_info
from omarl import budget, run
from omarl.configuration.request import from_keywords
from omarl.default_pool import with_pool
from omarl.training import Training
from omarl.types import ConfigError, TrainingError
from omarl.utils import memory
from omarl.utils.memory import available_memory, memory_errors_explained, readable
from omarl.utils.metrics import Logger

LOGGER = Logger(logging.getLogger("test"))
GIB = 1 << 30


def values_of(algorithm, env="simple_spread", **keys):
    return dict(from_keywords({"seed": 1, "env_workers": 0, **keys}, algorithm, env).values)


def machine(root: Path, available: int = 64 * GIB, groups: str = "0::/", files: dict[str, str] | None = None) -> Path:
    """A folder with the files of ``/proc`` and ``/sys`` that limits are read from."""
    content = {
        "proc/meminfo": f"MemTotal: 999999999 kB\nMemAvailable: {available >> 10} kB\n",
        "proc/self/cgroup": groups + "\n",
        "proc/self/status": "Name:\tpython\nVmSize:\t  1048576 kB\nVmRSS:\t  524288 kB\nVmData:\t  262144 kB\n",
        **(files or {}),
    }
    for name, text in content.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(text)
    return root


def test_without_limits_the_available_memory_of_the_system_counts(tmp_path):
    assert available_memory(root=machine(tmp_path, 64 * GIB)) == 64 * GIB


def test_the_tightest_control_group_of_version_2_limits_memory(tmp_path):
    files = {
        "sys/fs/cgroup/a/memory.max": str(4 * GIB),
        "sys/fs/cgroup/a/memory.current": str(3 * GIB),
        "sys/fs/cgroup/a/memory.stat": f"anon 5\ninactive_file {GIB}\n",
        "sys/fs/cgroup/a/b/memory.max": "max",
        "sys/fs/cgroup/a/b/memory.current": str(GIB),
        "sys/fs/cgroup/a/b/memory.stat": "anon 5\n",
    }
    assert available_memory(root=machine(tmp_path, groups="0::/a/b", files=files)) == 2 * GIB  # 4 - 3 + 1 of cache


def test_a_container_that_sees_its_control_group_as_the_root_is_limited(tmp_path):
    folder = "sys/fs/cgroup/memory/memory"
    files = {
        f"{folder}.limit_in_bytes": str(8 * GIB),
        f"{folder}.usage_in_bytes": str(GIB),
        f"{folder}.stat": "total_inactive_file 0\n",
    }
    root = machine(tmp_path, groups="4:cpu,memory:/docker/0123\n0::/", files=files)
    assert available_memory(root=root) == 7 * GIB


@pytest.mark.parametrize(("kind", "used"), [("RLIMIT_AS", 1), ("RLIMIT_DATA", 0.25)])
def test_ulimit_limits_memory(tmp_path, monkeypatch, kind, used):
    resource = pytest.importorskip("resource")
    limits = {getattr(resource, kind): (10 * GIB, 10 * GIB)}
    monkeypatch.setattr(resource, "getrlimit", lambda k: limits.get(k, (resource.RLIM_INFINITY,) * 2))
    assert available_memory(root=machine(tmp_path)) == (10 - used) * GIB


def test_the_estimate_of_arrays_is_that_of_the_allocated_arrays(tmp_path):
    for algorithm, keys in (
        ("iql", {"buffer_size": 70, "batch_size": 8}),
        ("qmix", {"buffer_size": 40, "batch_size": 8, "batch_size_run": 3}),
        ("ippo", {"batch_size_run": 16, "rollout_steps": 7}),
    ):
        values = values_of(algorithm, **keys)
        parts = run.build(values, LOGGER, trains=True)
        try:
            stated = {part.name: part.n_bytes for part in budget.need(values, parts.info).parts}
            training = Training(parts, values, None)
            own = sum(array.nbytes for array in parts.runner.store.values())
            if training.buffer is None:
                assert stated["rollout"] == pytest.approx(own, rel=0.1, abs=parts.info.n_actions * 4 * 3 * 16 * 8)
            else:
                assert stated["running episodes"] == pytest.approx(own, rel=0.1)
                assert stated["replay buffer"] == sum(tensor.nbytes for tensor in training.buffer.data.values())
        finally:
            parts.close()


def test_the_estimate_of_a_models_rollouts_is_within_a_tenth(tmp_path):
    keys = {"batch_size_run": 32, "rollout_steps": 20, "model_memory": 6, "model_window": 1, "model_horizon": 5}
    values = values_of("place_prediction", "foraging", **keys, local_results_path=str(tmp_path), test_interval=0)
    values = with_pool(values, LOGGER)
    parts = run.build(values, LOGGER, trains=True)
    try:
        training = Training(parts, values, None)
        for _ in range(7):
            training.collect_and_learn()
        kept = parts.learner.memory.rollouts
        assert len(kept) == 6
        own = sum(tensor.nbytes for rollout in kept for tensor in rollout.data.values())
        stated = {part.name: part.n_bytes for part in budget.need(values, parts.info).parts}
        assert stated["model's rollouts"] * 6 / 7 == pytest.approx(own, rel=0.1)
    finally:
        parts.close()


RESIDENT = """
import logging, sys
import torch
from omarl import budget, run
from omarl.configuration.request import from_keywords
from omarl.training import Training
from omarl.utils.memory import resident_memory
from omarl.utils.metrics import Logger

values = from_keywords({"seed": 1, "env_workers": 0, "buffer_size": 60_000, "test_interval": 0, "t_max": 10**6},
                       "iql", "simple_spread").values
parts = run.build(values, Logger(logging.getLogger("test")), trains=True)
need = budget.need(values, parts.info)
stated = resident_memory() + need.total()
training = Training(parts, values, None)
batch = parts.runner.run()
while training.buffer.n_episodes < values["buffer_size"]:
    training.buffer.insert(batch)
for _ in range(3):
    training.collect_and_learn()
print(stated, resident_memory())
parts.close()
"""


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="reads /proc")
def test_the_stated_total_is_the_resident_memory_of_a_full_run():
    env = {**os.environ, "OMP_NUM_THREADS": "1"}
    result = subprocess.run([sys.executable, "-c", RESIDENT], capture_output=True, text=True, check=True, env=env)
    stated, resident = map(int, result.stdout.split()[-2:])
    assert resident > 1 * GIB
    assert stated == pytest.approx(resident, rel=0.1)


@pytest.mark.parametrize(
    ("algorithm", "keys", "key", "free"),
    [
        ("iql", {"buffer_size": 10**6}, "buffer_size", 4 * GIB),
        ("iql", {"batch_size_run": 50_000, "buffer_size": 50_000}, "batch_size_run", 3 * GIB // 2),
        ("iql", {"hidden_dim": 50_000}, "hidden_dim", 4 * GIB),
        ("iql", {"batch_size": 5000}, "batch_size", GIB),
        ("ippo", {"rollout_steps": 10**5}, "rollout_steps", 4 * GIB),
        ("ippo", {"batch_size_run": 10**7}, "batch_size_run", 4 * GIB),
        ("ippo", {"critic_hidden_dim": 30_000}, "critic_hidden_dim", 4 * GIB),
        ("omg_vae", {"vae_hidden_dim": 40_000}, "vae_hidden_dim", 4 * GIB),
    ],
)
def test_what_does_not_fit_is_refused_and_the_named_size_is_accepted(monkeypatch, algorithm, keys, key, free):
    monkeypatch.setattr(budget, "available_memory", lambda device: free)
    values = values_of(algorithm, **keys)
    with pytest.raises(ConfigError, match=rf"^{key}: the run needs .* GiB .*are free; {key}=\d+ fits$") as error:
        run.build(values, LOGGER, trains=True)
    fitting = int(re.findall(r"=(\d+) fits", str(error.value))[0])
    assert fitting < keys[key]
    run.build({**values, key: fitting}, LOGGER, trains=True).close()


def test_the_horizon_of_omg_is_refused_and_the_named_size_is_accepted(monkeypatch):
    values = {**values_of("omg", "foraging", omg_horizon=100_000)}
    info = env_info()
    monkeypatch.setattr(budget, "available_memory", lambda device: 4 * GIB)
    with pytest.raises(ConfigError, match=r"^omg_horizon: .*; omg_horizon=\d+ fits$") as error:
        budget.check_memory(values, info)
    fitting = int(re.findall(r"=(\d+) fits", str(error.value))[0])
    budget.check_memory({**values, "omg_horizon": fitting}, info)


def test_a_suggested_buffer_holds_a_batch(monkeypatch):
    # 19 episodes would fit, but updates need 32 and a collection adds 8
    values = values_of("iql", buffer_size=10**6)
    info = env_info(episode_limit=10**5)
    episode = budget.replay_bytes(*budget.make_scheme(info, False), 1, info.episode_limit)
    monkeypatch.setattr(budget, "available_memory", lambda device: 100 * episode + GIB)
    with pytest.raises(ConfigError) as error:
        budget.check_memory(values, info)
    assert "buffer_size=" not in str(error.value) or int(re.findall(r"=(\d+) fits", str(error.value))[0]) >= 32


def test_the_gpu_is_checked_apart_from_main_memory(monkeypatch):
    free = {"cpu": 64 * GIB, "cuda": GIB}
    monkeypatch.setattr(budget, "available_memory", lambda device: free[device])
    values = {**values_of("iql", buffer_size=10**5), "use_cuda": True}
    budget.check_memory(values, env_info())  # the buffer is in main memory
    with pytest.raises(ConfigError, match=r"^buffer_size: .* of memory of the GPU .*; buffer_size=\d+ fits"):
        budget.check_memory({**values, "buffer_cpu_only": False, "buffer_size": 10**7}, env_info())


def test_a_test_of_a_checkpoint_needs_no_replay_buffer(monkeypatch):
    monkeypatch.setattr(budget, "available_memory", lambda device: 2 * GIB)
    run.build(values_of("iql", buffer_size=10**7), LOGGER).close()


@pytest.mark.parametrize(
    ("algorithm", "keys", "expected"),
    [
        (
            "ippo",
            {"batch_size_run": 128, "t_max": 1000},
            "128 copies x 25 steps (rollout_steps), more than t_max=1000",
        ),
        ("iql", {"batch_size_run": 8, "t_max": 100}, "8 copies x 25 steps (episode_limit), more than t_max=100"),
        ("iql", {"batch_size_run": 8, "batch_size": 8, "t_max": 200}, ""),
        ("iql", {"t_max": 600}, "batch_size: no update before t_max=600 if episodes last 25 steps: 24 of them end"),
        ("iql", {"t_max": 600}, "an update needs 32; set batch_size=24 or t_max=601"),
        ("iql", {"t_max": 601}, ""),
        ("iql", {"batch_size_run": 5, "batch_size": 11, "t_max": 250}, "set batch_size=10 or t_max=251"),
    ],
)
def test_a_run_that_ends_early_or_makes_no_update_gives_a_warning(algorithm, keys, expected):
    lines = budget.notices(values_of(algorithm, **keys), env_info(episode_limit=25))
    assert (expected in "".join(lines)) if expected else not lines


def test_failed_allocations_become_one_line():
    for allocate in (lambda: np.zeros(1 << 60, np.uint8), lambda: torch.zeros(1 << 60, dtype=torch.uint8)):
        refused = pytest.raises(TrainingError, match=r"^out of memory \(.* are free\): lower batch_size_run")
        with refused, memory_errors_explained():
            allocate()
    with pytest.raises(RuntimeError, match="another"), memory_errors_explained():
        raise RuntimeError("another")


def test_sizes_are_readable():
    assert readable(3 << 20) == "3 MiB" and readable(5 * GIB // 2) == "2.50 GiB"
    assert memory.resident_memory() > 1 << 20


@pytest.mark.parametrize("algorithm", ["iql", "qmix"])
def test_pixels_are_counted_as_bytes(algorithm):
    keys = {
        "env": "tests.lights:Lights",
        "buffer_size": 50,
        "batch_size": 8,
        "env_args": {"scale": 2, "frame_stack": 2},
    }
    values = dict(from_keywords({"seed": 1, "env_workers": 0, **keys}, algorithm).values)
    parts = run.build(values, LOGGER, trains=True)
    try:
        stated = {part.name: part.n_bytes for part in budget.need(values, parts.info).parts}
        training = Training(parts, values, None)
        assert training.buffer.data["obs"].dtype == training.buffer.data["state"].dtype == torch.uint8
        assert training.buffer.data["obs"][0, 0].numel() == 2 * 2 * 16 * 16 * 3
        assert stated["replay buffer"] == sum(tensor.nbytes for tensor in training.buffer.data.values())
    finally:
        parts.close()


OF_IMAGES = """
import logging, threading, time
from omarl import budget, run
from omarl.configuration.request import from_keywords
from omarl.training import Training
from omarl.utils.memory import resident_memory
from omarl.utils.metrics import Logger

# the stated total counts all libraries and compiled functions, of which this run needs few
import matplotlib.pyplot, torch.utils.tensorboard
import omarl.games.spread.batched, omarl.modules.gru_kernels, omarl.modules.mixers.qmix_kernels

values = from_keywords({"seed": 1, "env_workers": 0, "test_interval": 0, "env": "tests.lights:Lights",
                        "env_args": {"scale": 10}, "batch_size_run": 64, "rollout_steps": 16, "minibatches": 1,
                        "epochs": 1}, "ippo").values
parts = run.build(values, Logger(logging.getLogger("test")), trains=True)
stated = resident_memory() + budget.need(values, parts.info).total()
training, peaks = Training(parts, values, None), [0]
rollout = parts.runner.run()


def watch():
    while training.updates == 0:
        peaks.append(resident_memory())
        time.sleep(0.005)


thread = threading.Thread(target=watch)
thread.start()
training._learn(rollout)
thread.join()
print(stated, max(peaks))
parts.close()
"""


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="reads /proc")
def test_the_stated_total_is_the_resident_memory_of_an_update_on_images():
    env = {**os.environ, "OMP_NUM_THREADS": "1"}
    root = Path(__file__).parents[2]
    result = subprocess.run(
        [sys.executable, "-c", OF_IMAGES], capture_output=True, text=True, check=True, env=env, cwd=root
    )
    stated, peak = map(int, result.stdout.split()[-2:])
    assert peak > 1 * GIB
    assert stated == pytest.approx(peak, rel=0.1)
