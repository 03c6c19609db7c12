"""Copies in worker processes: identical numbers, one-line errors, no remaining processes or files."""

from __future__ import annotations

import multiprocessing
import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from omarl.envs.make import cores, workers_that_pay
from omarl.envs.watch import Limits
from omarl.types import ConfigError, EnvError

ZERO = np.zeros((3, 3), np.int64)
TAG = {"key": "mpe2.simple_tag_v3", "max_cycles": 8}


def same(one: list[Any], other: list[Any]) -> bool:
    return all(
        np.array_equal(a, b) and a.dtype == b.dtype
        for x, y in zip(one, other, strict=True)
        for a, b in zip(x, y, strict=True)
    )


def inside(folder: str) -> set[Path]:
    return set(Path(folder).iterdir())


@pytest.mark.parametrize(
    ("name", "env_args"),
    [
        ("Gambler", {}),
        ("noisy_tag", {}),
        ("pettingzoo", TAG),
        ("gymnasium", {"key": "lbforaging:Foraging-5x5-2p-1f-v3"}),
    ],
)
def test_results_are_bit_identical_for_any_number_of_workers(make: Any, play: Any, name: str, env_args: Any) -> None:
    logs = [play(make(name, n_envs=3, n_workers=n, seed=5, **env_args), 25) for n in (0, 1, 2)]
    assert same(logs[0], logs[1]) and same(logs[0], logs[2])
    assert not same(logs[0], play(make(name, n_envs=3, seed=6, **env_args), 25))


def test_a_copy_does_not_depend_on_its_neighbours(make: Any, play: Any) -> None:
    few, many = (make("Gambler", n_envs=n, seed=5) for n in (1, 3))
    few.reset()
    many.reset()
    for _ in range(10):
        one = few.step(np.zeros((1, 3), np.int64))
        three = many.step(np.zeros((3, 3), np.int64))
        assert np.array_equal(one.final.obs[0], three.final.obs[0])
    assert not np.array_equal(three.final.obs[0], three.final.obs[1])


def test_the_noisy_environment_draws_noise(make: Any, play: Any) -> None:
    """Without noise the tests of random streams above would prove nothing."""
    quiet = play(make("pettingzoo", **TAG), 3)
    noisy = play(make("noisy_tag"), 3)
    assert np.array_equal(quiet[0][0], noisy[0][0]) and not np.array_equal(quiet[1][0], noisy[1][0])


def test_environments_do_not_change_the_global_generators(make: Any, play: Any) -> None:
    def draws() -> tuple[float, float]:
        return random.random(), float(np.random.rand())

    random.seed(3)
    np.random.seed(3)
    expected = [draws() for _ in range(3)]
    random.seed(3)
    np.random.seed(3)
    env = make("Gambler")
    assert draws() == expected[0]
    env.reset()
    assert draws() == expected[1]
    env.step(ZERO[:1])
    assert draws() == expected[2]


@pytest.mark.parametrize("n_workers", [0, 2])
@pytest.mark.parametrize("what", ["observation of bee", "state", "reward of ant_1"])
def test_values_that_are_not_finite_are_named(make: Any, n_workers: int, what: str) -> None:
    env = make("NotANumber", n_envs=3, n_workers=n_workers, what=what.split()[0])
    env.reset()
    env.step(ZERO)
    with pytest.raises(EnvError, match=rf"NotANumber \(copy 0\): the {what} is not finite"):
        env.step(ZERO)


@pytest.mark.parametrize("n_workers", [0, 2])
def test_an_error_in_an_environment_is_one_line(make: Any, n_workers: int) -> None:
    env = make("Raising", n_envs=3, n_workers=n_workers)
    env.reset()
    env.step(ZERO)
    with pytest.raises(EnvError, match=r"Raising raised in step \(copy 0\): ValueError: the roof fell in \(toy") as e:
        env.step(ZERO)
    assert "\n" not in str(e.value)
    with pytest.raises(EnvError, match="closed"):
        env.step(ZERO)
    env = make("RaisingInReset", n_envs=3, n_workers=n_workers)
    with pytest.raises(EnvError, match=r"raised in reset \(copy 0\): KeyError: 'no such level'"):
        env.reset()
    with pytest.raises(EnvError, match=r"RaisingAtOnce raised in its first reset: OSError: no display"):
        make("RaisingAtOnce", n_workers=n_workers)


def test_a_dead_worker_is_replaced_a_limited_number_of_times(make: Any, caplog: pytest.LogCaptureFixture) -> None:
    """Suicidal's processes end in the second step of every episode."""
    env = make("Suicidal", n_envs=3, n_workers=2, limits=Limits(restarts=2))
    observation = env.reset()
    env.step(ZERO)
    before = env.observation().obs.copy()
    start = time.monotonic()
    step = env.step(ZERO)
    assert time.monotonic() - start < 10
    assert step.lost is not None and step.lost.tolist() == step.truncated.tolist() == [True] * 3
    assert not step.terminated.any() and not step.reward.any()
    assert np.array_equal(step.final.obs, before) and np.array_equal(step.observation.obs, observation.obs)
    messages = [record.message for record in caplog.records if "restart" in record.message]
    assert len(messages) == 2
    assert "copies 0 to 0 died (exit code -9), in step (copy 0): restart 1 of 2" in messages[0]
    step = env.step(ZERO)
    assert step.lost is None and not step.truncated.any()
    with pytest.raises(EnvError, match=r"worker of copies \d to \d died .* after 2 restarts \(env_restarts\)"):
        env.step(ZERO)
    assert not multiprocessing.active_children()


def test_a_worker_killed_between_calls_is_an_error_without_restarts(make: Any) -> None:
    env = make("Toy", n_envs=3, n_workers=2, limits=Limits(restarts=0))
    env.reset()
    os.kill(multiprocessing.active_children()[0].pid or 0, signal.SIGKILL)
    time.sleep(0.1)
    with pytest.raises(EnvError, match=r"died \(exit code -9\), in reset \(copy \d\)$"):
        env.step(ZERO)
    assert not multiprocessing.active_children()


def test_other_copies_are_not_affected_by_a_replaced_worker(make: Any) -> None:
    """The copy of the killed worker goes on with its second episode; the other one plays on as if alone."""
    env, reference = (make("Gambler", n_envs=2, n_workers=2, seed=5) for _ in range(2))
    env.reset(), reference.reset()
    children = sorted(multiprocessing.active_children(), key=lambda child: child.name)
    os.kill(children[0].pid or 0, signal.SIGKILL)
    zero = np.zeros((2, 3), np.int64)
    step, other = env.step(zero), reference.step(zero)
    assert step.lost is not None and step.lost.tolist() == [True, False]
    assert np.array_equal(step.final.obs[1], other.final.obs[1])
    while not (other.terminated | other.truncated)[0]:
        other = reference.step(zero)
    assert np.array_equal(step.observation.obs[0], other.observation.obs[0])


def test_an_interrupt_ends_all_workers_even_if_one_hangs(make: Any) -> None:
    env = make("Stuck", n_envs=2, n_workers=2)
    env.reset()
    shared = inside("/dev/shm")

    def interrupt(*_: Any) -> None:
        raise KeyboardInterrupt

    previous = signal.signal(signal.SIGALRM, interrupt)
    try:
        signal.setitimer(signal.ITIMER_REAL, 0.3)
        with pytest.raises(KeyboardInterrupt):
            env.step(ZERO[:2])
    finally:
        signal.signal(signal.SIGALRM, previous)
    env.close()
    assert not multiprocessing.active_children()
    assert inside("/dev/shm") <= shared


def test_workers_ignore_ctrl_c(make: Any) -> None:
    env = make("Toy", n_envs=3, n_workers=2)
    env.reset()
    for process in multiprocessing.active_children():
        os.kill(process.pid or 0, signal.SIGINT)
    assert env.step(ZERO).reward.shape == (3, 3)


def test_close_releases_processes_shared_memory_and_files(make: Any) -> None:
    make("Toy", n_workers=1).close()  # the first one starts a helper process of Python
    shared, files = inside("/dev/shm"), len(inside("/proc/self/fd"))
    for _ in range(2):
        env = make("Toy", n_envs=3, n_workers=2)
        env.reset()
        env.close()
        env.close()
    assert not multiprocessing.active_children()
    assert inside("/dev/shm") <= shared
    assert len(inside("/proc/self/fd")) <= files + 1


def test_there_are_at_most_as_many_workers_as_copies(make: Any) -> None:
    make("Toy", n_envs=2, n_workers=5)
    assert len(multiprocessing.active_children()) == 2


def test_environments_that_cannot_be_pickled_are_refused_with_workers(monkeypatch: pytest.MonkeyPatch) -> None:
    import toy_envs
    from omarl import registry
    from omarl.envs import make_vec_env

    monkeypatch.setitem(registry.REGISTRY["env"], "local", lambda: toy_envs.Toy())
    with pytest.raises(ConfigError, match="cannot be sent to worker processes"):
        make_vec_env("local", {}, 2, 1, 0)
    assert not multiprocessing.active_children()
    make_vec_env("local", {}, 2, 0, 0).close()


def run_python(code: str, *arguments: str) -> str:
    done = subprocess.run([sys.executable, *arguments, code], capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_workers_import_no_large_package() -> None:
    code = (
        "import sys, omarl.envs, omarl.envs.workers, omarl.envs.single\n"
        "print([m for m in ('torch', 'sacred', 'matplotlib', 'pygame') if m in sys.modules])"
    )
    assert run_python(code, "-c").strip() == "[]"


def test_workers_do_not_import_the_main_module(tmp_path: Path) -> None:
    script = tmp_path / "heavy_main.py"
    script.write_text(
        "print('main module imported as', __name__, flush=True)\n"
        "if __name__ == '__main__':\n"
        "    from omarl.envs import make_vec_env\n"
        "    env = make_vec_env('pettingzoo', {'key': 'mpe2.simple_spread_v3'}, 2, 2, 0)\n"
        "    env.reset()\n"
        "    env.close()\n"
    )
    assert run_python(str(script)).splitlines() == ["main module imported as __main__"]


def test_auto_uses_workers_only_for_slow_environments(make: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("omarl.envs.make.running", lambda: 1.4)
    assert workers_that_pay(1e-4, 8) == 0 and workers_that_pay(1e-2, 8) == 8 and workers_that_pay(1e-2, 1) == 0
    assert "in this process" in make("Toy", n_envs=2, n_workers=None).how
    slow = make("Slow", n_envs=2, n_workers=None)
    assert (f"in {min(2, cores())} processes" in slow.how) == (cores() > 1)
    monkeypatch.setattr("omarl.envs.make.running", lambda: 1.0 + cores())
    assert "in this process" in make("Slow", n_envs=2, n_workers=None).how
