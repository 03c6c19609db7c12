"""omarl from Python: training, acting, evaluating, comparing, diagnosing, and the process state after calls."""

import copy
import json
import logging
import os
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import omarl
import pytest
import torch
from omarl import training_loop
from omarl.configuration.request import from_keywords
from omarl.envs.adapter import Adapter
from omarl.opponents.pool import Member, write_pool
from omarl.run import opened
from omarl.utils import allocator
from omarl.utils.checkpoints import find_checkpoint, load_checkpoint
from omarl.utils.isolation import process_state_kept
from omarl.utils.metrics import Logger
from process_state import changed, process_state, unusual_settings

CORRIDOR = "tests.outside:Corridor"
SMALL = {"env_workers": 0, "batch_size_run": 2, "batch_size": 4, "hidden_dim": 8, "test_nepisode": 4, "seed": 1,
         "t_max": 240, "test_interval": 120, "use_tensorboard": False, "obs_last_action": True}  # fmt: skip
FAULTY = {**SMALL, "t_max": 480, "env_args": {"fault": "raise"}}
ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    return omarl.train("iql", env=CORRIDOR, path=tmp_path_factory.mktemp("runs") / "one", **SMALL)


# training


def test_a_run_has_files_configuration_and_metrics(run):
    assert sorted(p.name for p in run.path.iterdir()) == [
        "checkpoints", "config.json", "curves.png", "metrics.jsonl", "run.json", "test_episodes.jsonl"
    ]  # fmt: skip
    assert json.loads((run.path / "run.json").read_text())["status"] == "COMPLETED"
    assert run.config["t_max"] == 240 and run.config["env"] == CORRIDOR and run.config["learner"] == "q_learner"
    steps, values = run.metrics["test_return_mean"]
    assert steps.tolist() == [0, 120, 240] and values.shape == (3,) and np.isfinite(values).all()


def test_the_command_line_and_python_log_identical_metrics(run, tmp_path):
    words = [f"{name}={value}" for name, value in SMALL.items()]
    (tmp_path / "corridor.yaml").write_text(f"env: {CORRIDOR}\n")
    line = [sys.executable, "-m", "omarl", "--config=iql", f"--env-config={tmp_path}/corridor.yaml", "with", *words]
    subprocess.run([*line, f"local_results_path={tmp_path}"], cwd=ROOT, check=True, capture_output=True)
    (other,) = tmp_path.glob("sacred/*/*/1")
    for name, (steps, values) in omarl.Run(other).metrics.items():
        if name not in ("wall_s", "steps_per_second"):
            assert np.array_equal(values, run.metrics[name].values, equal_nan=True), name
            assert np.array_equal(steps, run.metrics[name].steps), name


def test_runs_are_numbered_below_local_results_path(tmp_path):
    short = {**SMALL, "t_max": 24, "test_interval": 0, "save_model": False, "local_results_path": tmp_path}
    runs = [omarl.train("iql", env=CORRIDOR, name="mine", **short) for _ in range(2)]
    assert [one.path for one in runs] == [tmp_path / "sacred" / "mine" / CORRIDOR / n for n in ("1", "2")]
    assert not (runs[0].path / "checkpoints").exists() and (runs[0].path / "metrics.jsonl").is_file()


def test_a_missing_seed_is_drawn_and_recorded(tmp_path):
    short = {**SMALL, "t_max": 24, "test_interval": 0, "save_model": False}
    del short["seed"]
    seeds = {omarl.train("iql", env=CORRIDOR, path=tmp_path / n, **short).config["seed"] for n in "ab"}
    assert len(seeds) == 2


def test_a_run_resumes_another(run, tmp_path):
    further = omarl.train(checkpoint_path=run, t_max=480, path=tmp_path / "more", env=CORRIDOR)
    assert further.config["env"] == CORRIDOR
    assert further.metrics["test_return_mean"].steps.tolist() == [240, 360, 480]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"config": "iq"}, "--config=iq: no such configuration; did you mean 'iql'?"),
        ({"env": "simple_sprad"}, "--env-config=simple_sprad: no such configuration; did you mean 'simple_spread'?"),
        ({"t_maxx": 5}, "t_maxx: unknown key; did you mean 't_max'? (keyword argument)"),
        ({"t_max": "long"}, "t_max: 'long' is not an integer (keyword argument)"),
        ({"env_args": {"N": object()}}, "env_args: {'N': <object object at"),
        ({"evaluate": True}, "checkpoint_path: evaluate needs one; give a run's directory"),
        ({"env": {"key": "mpe2.simple_sprad_v3"}, "seed": 1, "t_max": 8}, "env_args.key: there is no module"),
    ],
)
def test_errors_of_train_are_one_line(arguments, message, tmp_path):
    with pytest.raises(omarl.OmarlError) as error:
        omarl.train(**{"config": "iql", "path": tmp_path / "run", **arguments})
    assert str(error.value).startswith(message) and "\n" not in str(error.value)


def test_a_folder_with_files_is_not_overwritten(run):
    with pytest.raises(omarl.ConfigError, match=r"^path: .* is not empty; give a new folder$"):
        omarl.train("iql", env=CORRIDOR, path=run.path, **SMALL)


def test_an_interrupt_writes_a_checkpoint_and_reaches_the_caller(tmp_path, monkeypatch):
    def interrupted(self):
        collect(self)
        if self.parts.runner.t_env == 120:
            os.kill(os.getpid(), signal.SIGINT)

    collect = training_loop.Training.collect_and_learn
    monkeypatch.setattr(training_loop.Training, "collect_and_learn", interrupted)
    handler = signal.signal(signal.SIGINT, signal.default_int_handler)  # shells start background jobs without one
    try:
        with pytest.raises(KeyboardInterrupt):
            omarl.train("iql", env=CORRIDOR, path=tmp_path / "run", **SMALL)
    finally:
        signal.signal(signal.SIGINT, handler)
    assert (tmp_path / "run" / "checkpoints" / "120" / "agent.th").is_file()
    assert json.loads((tmp_path / "run" / "run.json").read_text())["status"] == "INTERRUPTED"
    assert omarl.load(tmp_path / "run", trust=True).t_env == 120


def test_run_json_records_a_failure(tmp_path):
    with pytest.raises(omarl.EnvError, match="the floor gave way"):
        omarl.train("iql", env=CORRIDOR, path=tmp_path / "run", **FAULTY)
    record = json.loads((tmp_path / "run" / "run.json").read_text())
    assert record["status"] == "FAILED" and "the floor gave way" in record["fail_trace"][-1]


@pytest.mark.parametrize("progress", [False, True])
def test_a_run_prints_only_with_progress(progress, tmp_path, capfd):
    omarl.train("iql", env=CORRIDOR, path=tmp_path / "run", progress=progress, log_interval=60, **SMALL)
    out, err = capfd.readouterr()
    assert out == ""
    if progress:
        assert "t_env 120:" in err and "240 environment steps" in err
    else:
        assert err == ""


# acting


def recorded_test(run, episodes, monkeypatch):
    """The dicts that the environment returned in test episodes of one copy, and the same episodes as batches."""
    seen = []

    def write(self, frame, observations, infos, alive, acting, **options):
        kept = {a: copy.deepcopy(observations[a]) for a, lives in zip(self.agents, alive, strict=True) if lives}
        seen.append(
            (kept, copy.deepcopy(dict(infos)), [a for a, acts in zip(self.agents, acting, strict=True) if acts])
        )
        write_frame(self, frame, observations, infos, alive, acting, **options)

    write_frame = Adapter.write
    values = from_keywords({"checkpoint_path": run.path, "trust": True}, command="evaluate").values
    values |= {"batch_size_run": 1, "env_workers": 0, "test_nepisode": episodes}
    with opened(values, Logger(logging.getLogger("test"))) as parts, monkeypatch.context() as patch:
        load_checkpoint(find_checkpoint(run.path), parts.learner)
        patch.setattr(Adapter, "write", write)
        return seen, parts.tester.collect(episodes)


GAMES = {
    "padded": ("simple_tag", {}),
    "spread with a network for each agent": ("simple_spread", {"share_parameters": "none", "obs_last_action": True}),
    "tuples": ("foraging", {"env_args": {"max_episode_steps": 12}, "seed": 5}),
    "turns and masks": ({"key": "classic/tictactoe-v3"}, {"env_args": {"episode_limit": 12}}),
    "deaths": ("knights_archers_zombies", {"env_args": {"max_cycles": 60}}),
}


@pytest.mark.parametrize("game", GAMES)
def test_actions_on_dicts_equal_those_of_evaluation_in_the_same_episodes(game, tmp_path, monkeypatch):
    env, keys = GAMES[game]
    small = {**SMALL, "t_max": 8, "test_interval": 0, "save_model": True, "env_workers": 0, "batch_size_run": 1}
    run = omarl.train("iql", env=env, path=tmp_path / "run", **{**small, **keys})
    seen, batches = recorded_test(run, 3, monkeypatch)
    policy = omarl.load(run, trust=True)
    starts = {a: convert(0) for a, convert in zip(policy._adapter.agents, policy._adapter.convert, strict=True)}
    rows, taken = iter(seen), set()
    for batch in batches:
        policy.reset()
        steps = int(batch["filled"].sum()) - 1
        for t in range(steps):
            observations, infos, turn = next(rows)
            actions = policy.act(observations, infos, acting=turn)
            assert list(actions) == [agent for agent in policy.agents if agent in turn]
            for i, agent in enumerate(policy.agents):
                expected = int(batch["actions"][0, t, i, 0])
                assert actions.get(agent, 0) - (starts[agent] if agent in actions else 0) == expected, (t, agent)
                taken.add((i, expected))
        next(rows)  # the last observation has no actions
    assert len(taken) > len(policy.agents)  # the network's actions vary


def test_actions_are_in_the_numbers_of_the_action_space(run):
    policy, seen = (
        omarl.load(run, trust=True),
        {"walker_0": np.zeros(2, np.float32), "walker_1": np.ones(2, np.float32)},
    )
    from_0 = policy.act(seen)
    policy.reset()
    policy._adapter.convert = [(5).__add__, (7).__add__]  # as Discrete(2, start=5) and Discrete(2, start=7)
    assert policy.act(seen) == {"walker_0": from_0["walker_0"] + 5, "walker_1": from_0["walker_1"] + 7}


def test_act_batch_equals_separate_policies(run):
    rng = np.random.default_rng(0)
    policies = [omarl.load(run, trust=True) for _ in range(3)]
    together = omarl.load(run, trust=True)
    for t in range(5):
        seen = [{agent: rng.random(2, np.float32) for agent in together.agents} for _ in policies]
        assert together.act_batch(seen) == [policy.act(one) for policy, one in zip(policies, seen, strict=True)]
        torch.testing.assert_close(together._carry, torch.cat([policy._carry for policy in policies]))
        if t == 2:  # an episode ends only in the second environment
            together.reset([1])
            policies[1].reset()
    together.reset()
    assert len(together.act_batch(seen[:2])) == 2


def test_the_recurrent_state_changes_with_each_step_and_reset_restores_it(run):
    policy, frozen = (
        omarl.load(run, trust=True),
        {"walker_0": np.array([0.1, 0.9], np.float32), "walker_1": np.zeros(2, np.float32)},
    )
    policy.act(frozen)
    first = policy._carry.clone()
    policy.act(frozen)
    assert not torch.equal(policy._carry, first)
    policy.reset()
    policy.act(frozen)
    assert torch.equal(policy._carry, first)


def test_episodes_played_with_arrays_have_the_returns_of_evaluate(run):
    result = omarl.evaluate(run, episodes=2, trust=True)
    env, policy = omarl.make_env(checkpoint_path=run, n_envs=2, test=True, trust=True), omarl.load(run, trust=True)
    seen, returns = env.reset(), np.zeros((2, 2))
    for _ in range(12):
        step = env.step(policy.act_arrays(seen.obs, seen.avail))
        returns += step.reward
        seen = step.observation
    env.close()
    assert step.truncated.all()
    assert np.array_equal(returns, result.episode_returns)
    assert result.values["test_return_mean"] == pytest.approx(returns.sum(axis=1).mean())
    errors = returns.sum(axis=1).std(ddof=1) / np.sqrt(2)
    assert result.standard_errors["test_return_mean"] == pytest.approx(errors)


def test_sampled_actions_depend_only_on_the_policys_seed(run):
    seen = {agent: np.zeros(2, np.float32) for agent in ("walker_0", "walker_1")}

    def draws(seed):
        policy = omarl.load(run, trust=True, seed=seed, epsilon_finish=1.0, epsilon_anneal_time=1)
        return [tuple(policy.act(seen, deterministic=False).values()) for _ in range(20)]

    torch.manual_seed(5)
    one = draws(1)
    torch.manual_seed(6)
    assert one == draws(1) != draws(2)
    assert len({*one}) == 4


def test_a_policy_that_observes_opponents_actions_is_given_them(tmp_path):
    pool = tmp_path / "pool"
    pool.mkdir()
    write_pool(pool, CORRIDOR, {}, [Member(s, s, "scripted", split, "", script=s)
                                    for s, split in (("right", "train"), ("left", "test"))], "")  # fmt: skip
    quick = {"batch_size_run": 2, "rollout_steps": 4, "minibatches": 1, "hidden_dim": 8, "t_max": 96, "seed": 1}
    run = omarl.train("ppo_history", env=CORRIDOR, pool=pool, omg_learners="walker_0", test_interval=0, env_workers=0,
                      path=tmp_path / "run", **quick)  # fmt: skip
    env = omarl.make_env(checkpoint_path=run, n_envs=1, test=True, trust=True)
    arrays, dicts = omarl.load(run, trust=True), omarl.load(run, trust=True)
    assert (dicts.agents, dicts.opponents) == (["walker_0"], ["walker_1"])
    seen, last = env.reset(), None
    with pytest.raises(omarl.EnvError, match="give opponent_actions"):
        both = omarl.load(run, trust=True)
        for _ in range(2):
            both.act({"walker_0": seen.obs[0, 0, :2]})
    for _ in range(11):
        expected = arrays.act_arrays(seen.obs, seen.avail)
        actions = dicts.act({"walker_0": seen.obs[0, 0, :2]}, opponent_actions=last)
        assert actions == {"walker_0": expected[0, 0]}
        assert torch.equal(arrays._carry, dicts._carry)
        seen = env.step(expected).observation
        last = {"walker_1": int(seen.obs[0, 0, 2:].argmax())}
    env.close()


@pytest.mark.parametrize(
    ("observations", "message"),
    [
        ({"walker_2": np.zeros(2)}, "policy: 'walker_2' is none of walker_0, walker_1"),
        ({"walker_0": np.zeros(3)}, r"policy: .*: the observation of walker_0 has shape \(3,\)"),
        ({"walker_0": np.array([0.0, np.nan])}, "policy: an observation is not finite"),
    ],
)
def test_observations_of_another_environment_are_refused(run, observations, message):
    with pytest.raises(omarl.EnvError, match=message):
        omarl.load(run, trust=True).act(observations)


def test_a_missing_run_is_refused(tmp_path):
    for call in (omarl.load, omarl.evaluate):
        with pytest.raises(omarl.ConfigError, match=r"^path: .* does not exist; give a run's directory$"):
            call(tmp_path / "none")


# examining


def test_an_evaluation_prints_its_numbers_and_writes_nothing(run):
    before = sorted(run.path.rglob("*"))
    result = omarl.evaluate(run, episodes=6, seed=3, trust=True)
    assert result.episode_returns.shape == (6, 2) and result.t_env == 240
    assert "test_return_mean/walker_0" in str(result) and "±" in str(result)
    assert sorted(run.path.rglob("*")) == before


def test_compare_writes_files_only_with_out(run, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    table = omarl.compare([run])
    (row,) = table.rows
    assert (row.label, row.seeds, row.steps) == ("iql", 1, 240) and table.files == []
    assert table.markdown().startswith("| environment | algorithm |") and "iql" in str(table)
    assert list(tmp_path.iterdir()) == []
    assert {file.name for file in omarl.compare(run.path, out="out").files} == {
        "comparison.md", "comparison.csv", "comparison.png", "marl_eval.json"
    }  # fmt: skip


def test_diagnoses_of_a_run_and_of_its_arrays_are_equal(tmp_path):
    t = np.arange(200)
    kl, recon = 5 * (1 - np.exp(-t / 20)), 3 + 7 * np.exp(-t / 20)
    curves = {"vae_kl_loss": kl, "vae_recon_loss": recon, "vae_loss": kl + recon}
    of_arrays = omarl.diagnose(curves, steps=100 * t)
    lines = [{"t_env": int(100 * i), **{name: float(c[i]) for name, c in curves.items()}} for i in t]
    (tmp_path / "metrics.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    of_run = omarl.diagnose(tmp_path)
    assert of_run.measured == of_arrays.measured and [p.name for p in tmp_path.iterdir()] == ["metrics.jsonl"]
    assert str(of_run).splitlines()[0].startswith(("healthy", "not healthy"))
    omarl.diagnose(tmp_path, out=tmp_path / "out")
    assert (tmp_path / "out" / "diagnosis.md").is_file()


def test_make_raw_env_returns_the_packages_environment():
    env = omarl.make_raw_env("simple_spread", env_args={"max_cycles": 7})
    observations, _ = env.reset(seed=0)
    assert sorted(observations) == ["agent_0", "agent_1", "agent_2"] and env.unwrapped.max_cycles == 7
    env.close()


# state of the process


def calls(run, tmp_path):
    """Each call of the API, some of which raise."""
    seen = {agent: np.zeros(2, np.float32) for agent in ("walker_0", "walker_1")}
    policy = omarl.load(run, trust=True)
    return {
        "train": lambda: omarl.train("iql", env=CORRIDOR, path=tmp_path / "a", **{**SMALL, "torch_threads": 1}),
        "train with progress": lambda: omarl.train("iql", env=CORRIDOR, path=tmp_path / "b", progress=True, **SMALL),
        "train, the environment fails": lambda: omarl.train("iql", env=CORRIDOR, path=tmp_path / "c", **FAULTY),
        "train, a key is wrong": lambda: omarl.train("iql", env=CORRIDOR, t_maxx=3),
        "train, no such class": lambda: omarl.train("iql", env="tests.outside:Nothing", path=tmp_path / "d"),
        "load": lambda: omarl.load(run, trust=True),
        "load, no such run": lambda: omarl.load(tmp_path / "none"),
        "act": lambda: policy.act(seen, deterministic=False),
        "act, another environment's": lambda: policy.act({"nobody": 0}),
        "evaluate": lambda: omarl.evaluate(run, episodes=2, trust=True),
        "evaluate, a key is wrong": lambda: omarl.evaluate(run, t_maxx=2, trust=True),
        "make_env": lambda: omarl.make_env(CORRIDOR, env_workers=0).close(),
        "make_env, no such environment": lambda: omarl.make_env({"key": "nothing"}),
        "compare": lambda: omarl.compare(run, out=tmp_path / "comparison"),
        "compare, no run": lambda: omarl.compare(tmp_path / "none"),
        "diagnose": lambda: omarl.diagnose({"kl": np.ones(50), "recon": np.ones(50)}),
        "diagnose, no VAE": lambda: omarl.diagnose(run, out=tmp_path / "diagnosis"),
    }


@pytest.mark.parametrize(
    "call",
    ["train", "train with progress", "train, the environment fails", "train, a key is wrong", "train, no such class",
     "load", "load, no such run", "act", "act, another environment's", "evaluate", "evaluate, a key is wrong",
     "make_env", "make_env, no such environment", "compare", "compare, no run", "diagnose", "diagnose, no VAE"],
)  # fmt: skip
def test_calls_do_not_change_the_process_state(call, run, tmp_path, monkeypatch):
    library = allocator.ctypes.CDLL  # others load libraries by their paths; the allocator is in the process itself

    def loaded(path, *further, **options):
        return library(path, *further, **options) if path else pytest.fail("the allocator was changed")

    monkeypatch.setattr(allocator.ctypes, "CDLL", loaded)
    threads = torch.get_num_threads()
    with process_state_kept():
        made = calls(run, tmp_path)[call]
        unusual_settings()
        before = process_state()
        if "," in call:
            with pytest.raises(omarl.OmarlError):
                made()
        else:
            made()
        assert changed(before, process_state()) == []
    assert torch.get_num_threads() == threads


@pytest.mark.parametrize("generator", [np.random.PCG64, np.random.MT19937])
def test_process_state_kept_restores_any_numpy_generator(generator):
    with process_state_kept():
        np.random.set_bit_generator(generator(3))
        first = np.random.random(4)
        np.random.set_bit_generator(generator(3))
        np.random.random(2)
        with process_state_kept():
            np.random.seed(1)
        assert np.array_equal(np.random.random(2), first[2:])


def test_first_imports_do_not_change_the_state_of_a_fresh_process(tmp_path):
    """The calls import numba, mpe2, TensorBoard and matplotlib for the first time, and never Sacred."""
    code = f"""
import sys
sys.path.append({str(ROOT / "tests")!r})
from process_state import changed, process_state, unusual_settings
import omarl
unusual_settings()
before = process_state()
run = omarl.train("omg_vae", env="simple_spread", path={str(tmp_path / "run")!r}, t_max=400, test_interval=200,
                  test_nepisode=2, batch_size=4, hidden_dim=8, vae_hidden_dim=8, batch_size_run=2)
omarl.load(run); omarl.evaluate(run, episodes=2); omarl.diagnose(run); omarl.compare(run, out={str(tmp_path)!r})
print(changed(before, process_state()), [name for name in sys.modules if name.partition(".")[0] == "sacred"])
assert "numba" in sys.modules and "matplotlib" in sys.modules and "tensorboard" in sys.modules
"""
    line = [sys.executable, "-c", code]
    done = subprocess.run(line, cwd=ROOT, capture_output=True, text=True, check=False)
    assert (done.stdout, done.returncode) == ("[] []\n", 0), done.stderr


def test_the_package_imports_without_torch_and_changes_no_filter():
    code = """
import sys, warnings
kept = list(warnings.filters)
import omarl
print([m for m in ("torch", "numpy", "sacred") if m in sys.modules], kept == list(warnings.filters))
print(sorted({*omarl.__all__} - {*dir(omarl)}), all(getattr(omarl, name) for name in omarl.__all__))
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "[] True\n[] True\n"
