"""The plan of a sweep, its table, and how it reacts to the ends of its runs."""

import csv
import io
import json
import logging
import signal
import sys
from pathlib import Path

import numpy as np
import pytest
from omarl.config.nesting import flat
from omarl.sweep.engines import LocalEngine, RayEngine
from omarl.sweep.folder import Folder, Status, last_rows
from omarl.sweep.keys import SweepConfig, default_folder, gathered, nested
from omarl.sweep.plan import jobs_of, settings_of, word
from omarl.sweep.process import start, task_of, wait_until_free, why
from omarl.sweep.search import Search
from omarl.sweep.sweep import Sweep
from omarl.sweep.table import Table, lines_of, total_left
from omarl.types import ConfigError
from omarl.utils.metrics import Logger
from omarl.utils.run_directory import locked


def plan(tmp_path, **keys):
    config = SweepConfig(**{"envs": ["simple_spread"], "seeds": 1, **keys})
    return jobs_of(config, settings_of(config), tmp_path)


def test_every_combination_of_the_grid_is_a_run(tmp_path):
    jobs = plan(tmp_path, configs="[iql, vdn]", envs=["simple_spread", "simple_tag"], seeds=[3, 5],
                grid={"lr": [0.1, 0.2], "env_args": {"max_cycles": [20, 30]}})  # fmt: skip
    assert len(jobs) == 2 * 2 * 2 * 4 and len({job.run for job in jobs}) == len(jobs)
    job = jobs[-1]
    assert (job.config, job.env, job.seed) == ("vdn", "simple_tag", 5)
    assert (job.values["lr"], job.values["env_args"]["max_cycles"], job.values["seed"]) == (0.2, 30, 5)
    assert job.setting == "lr=0.2 env_args.max_cycles=30"
    assert job.values["label"] == "vdn lr=0.2 env_args.max_cycles=30"
    assert job.run == tmp_path / "sacred" / "vdn" / "mpe2.simple_tag_v3" / job.id
    words = job.command()
    assert words[:3] == ["--config=vdn", "--env-config=simple_tag", "with"]
    assert {"seed=5", "lr=0.2", "env_args.max_cycles=30", f"local_results_path={tmp_path}"} <= {*words}


def test_a_key_goes_to_the_runs_that_read_it(tmp_path):
    iql, ippo = plan(tmp_path, configs=["iql", "ippo"], keys={"clip_ratio": 0.3, "t_max": 10})
    assert "clip_ratio=0.3" in ippo.command() and "t_max=10" in iql.command()
    assert not any(text.startswith("clip_ratio") for text in iql.command())


def test_cells_set_keys_of_the_settings_that_they_name_or_skip_them(tmp_path):
    cells = [{"where": {"config": "vdn", "lr": 0.2}, "gamma": 0.5}, {"where": {"config": ["iql"], "lr": 0.1},
             "skip": True}]  # fmt: skip
    jobs = plan(tmp_path, configs=["iql", "vdn"], grid={"lr": [0.1, 0.2]}, keys={"gamma": 0.9}, cells=cells)
    assert [(job.config, job.values["lr"], job.values["gamma"]) for job in jobs] == [
        ("iql", 0.2, 0.9), ("vdn", 0.1, 0.9), ("vdn", 0.2, 0.5)]  # fmt: skip


def test_a_run_keeps_its_folder_unless_a_key_changes_that_changes_its_numbers(tmp_path):
    (job,) = plan(tmp_path)
    assert plan(tmp_path, keys={"env_workers": 0, "label": "x", "save_model_interval": 9})[0].id == job.id
    for keys in ({"gamma": 0.5}, {"t_max": 9}, {"env_args": {"max_cycles": 9}}):
        assert plan(tmp_path, keys=keys)[0].id != job.id
    assert len({j.id for j in plan(tmp_path, seeds=3)} & {job.id}) == 1  # more seeds keep the first


@pytest.mark.parametrize(
    ("keys", "message"),
    [
        ({"keys": {"lerning_rate": 1}}, "lerning_rate: unknown key"),
        ({"keys": {"clip_ratio": 0.3}}, "clip_ratio: no part of this run reads it"),
        ({"grid": {"lr": [0.1, "x"]}}, "lr: 'x' is not a number"),
        ({"grid": {"lr": 0.1}}, "grid: lr: 0.1 is not a list"),
        ({"grid": {"lr": []}}, "grid: lr"),
        ({"configs": ["iqql"]}, "--config=iqql: no such configuration"),
        ({"envs": ["nowhere"]}, "--env-config=nowhere: no such configuration"),
        ({"configs": []}, "configs: name at least one"),
        ({"seeds": [1, 1]}, "seeds: .* twice"),
        ({"seeds": 0}, "seeds: 0 has no seed"),
        ({"seeds": [-1]}, "seed: -1 is out of range"),
        ({"cells": [{"lr": 0.1}]}, "cells: an entry needs where"),
        ({"cells": [{"where": {"lr": 0.1}}]}, "where: lr: known are config, env"),
        ({"cells": [{"where": {"config": "qmix"}}]}, "cells: no run matches {'config': 'qmix'}"),
        ({"cells": [{"where": {"config": "omg_vae"}, "skip": True}]}, "every run is skipped"),
        ({"cells": [{"where": {"config": "omg_vae"}, "t_max": "long"}]}, "t_max: 'long' is not an integer"),
    ],
)
def test_mistakes_are_found_before_a_run_starts(tmp_path, keys, message):
    with pytest.raises(ConfigError, match=message):
        plan(tmp_path, **keys)


def test_the_file_and_the_command_line_give_the_keys_of_the_sweep_and_of_its_runs(tmp_path):
    file = tmp_path / "study.yaml"
    file.write_text("configs: [iql]\nseeds: 3\nt_max: 2e4\nenv_args.N: 2\ngrid:\n  env_args.max_cycles: [5, 6]\n")
    values = gathered({"sweep": str(file), "seeds": [7], "lr": 0.1, "env_args": {"x": 1}})
    assert values == {"configs": ["iql"], "seeds": [7], "sweep": str(file),
                      "grid": {"env_args": {"max_cycles": [5, 6]}},
                      "keys": {"t_max": 20000.0, "lr": 0.1, "env_args": {"N": 2, "x": 1}}}  # fmt: skip
    with pytest.raises(ConfigError, match=r"seed: not a key of a sweep; give seeds"):
        gathered({"seed": 3})
    with pytest.raises(ConfigError, match="there is no such file"):
        gathered({"sweep": str(tmp_path / "none.yaml")})


def test_cells_of_what_the_command_line_leaves_out_are_dropped(tmp_path):
    file = tmp_path / "study.yaml"
    file.write_text(
        "configs: [iql, vdn, ippo]\nenvs: [simple_spread, simple_tag]\n"
        "cells:\n- {where: {config: [iql, vdn]}, lr: 0.1}\n"
        "- {where: {env: simple_tag}, lr: 0.2}\n- {where: {config: iqll}, lr: 0.3}\n"
    )
    every = [0.1, 0.2, 0.3]

    def rates(**given):
        return [cell["lr"] for cell in gathered({"sweep": str(file), **given})["cells"]]

    assert rates() == rates(seeds=2) == rates(configs=["iql"]) == every
    assert rates(configs=["ippo"]) == rates(configs="[ippo]") == [0.2, 0.3]  # one with a wrong name remains an error
    assert rates(envs=["simple_spread"]) == [0.1, 0.3]
    assert rates(configs=["ippo"], envs=["simple_spread"]) == [0.3]
    assert rates(configs=["ippo"], cells=[{"where": {"config": "iql"}, "lr": 9}]) == [9]


def test_dotted_keys_become_mappings_and_back():
    assert nested({"a.b": 1, "a": {"c.d": [2]}, "e": [{"f.g": 3}]}) == {
        "a": {"b": 1, "c": {"d": [2]}}, "e": [{"f": {"g": 3}}]}  # fmt: skip
    assert flat({"a": {"b": 1, "c": {"d": [2]}}, "e": {}}) == {"a.b": 1, "a.c.d": [2], "e": {}}


def test_words_are_read_back_as_the_same_values():
    from omarl.command_line import updates_of

    values = {"a": "x y", "b": "True", "c": True, "d": [1, "z"], "e": "mpe2.tag", "f": None, "g": "1e-3", "h": "a'b"}
    assert updates_of(["main.py", "with", *(word(*pair) for pair in values.items())]) == values


def test_a_sweep_is_named_after_its_file_or_its_parts():
    assert default_folder(SweepConfig(sweep="a/b.yaml"), [], []) == Path("results/sweeps/b")
    assert default_folder(SweepConfig(), ["iql", "x/vdn.yaml"], ["tag"]) == Path("results/sweeps/iql_vdn_tag")


def logged(run, *rows):
    run.mkdir(parents=True, exist_ok=True)
    (run / "metrics.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows) + '{"t_en')


def test_progress_is_read_from_the_end_of_the_metrics(tmp_path):
    (job,) = plan(tmp_path, keys={"t_max": 1000})
    status = Status("running")
    status.read(job)
    assert (status.t_env, status.score) == (0, None)
    logged(job.run, {"t_env": 0, "wall_s": 1.0, "test_return_mean": -5.0}, {"t_env": 100, "wall_s": 3.0,
           "return_mean": -4.0}, {"t_env": 250, "wall_s": 5.0, "loss": None})  # fmt: skip
    status.read(job)
    assert (status.t_env, status.score) == (250, -5.0)
    assert status.seconds_left(1000) == 15.0  # 750 steps at 50 steps per second
    (job.run / "metrics.jsonl").write_text("x" * 2**17 + '\n{"t_env": 400, "return_mean": 1.5}\n')
    assert last_rows(job.run / "metrics.jsonl") == [{"t_env": 400, "return_mean": 1.5}]


def test_the_table_fits_the_terminal_and_counts_what_it_leaves_out(tmp_path):
    jobs = plan(tmp_path, configs=["iql", "vdn"], seeds=10, keys={"t_max": 100})
    statuses = [Status("finished", "", 100, 1.0, 10.0) for _ in range(18)] + [
        Status("running", "", 50, 1.0, 5.0), Status("failed", "env: " + "x" * 200)]  # fmt: skip
    lines = lines_of(jobs, statuses, 2, 60, 8)
    assert len(lines) == 8 and max(map(len, lines)) <= 60
    assert lines[0] == "18 of 20 runs finished, 1 running, 1 failed, 00:02 left"
    assert lines[1].split() == ["vdn", "simple_spread", "seed", "9", "running", "50%", "1", "00:05", "left"]
    assert "failed" in lines[2] and "env: xxx" in lines[2] and lines[-1] == "and 14 finished"
    assert len(lines_of(jobs, statuses, 2, 60, 100)) == 21
    assert total_left(jobs, [Status()] * 20, 2) is None
    statuses = [Status("finished", "", 100, 1.0, 10.0), *[Status()] * 19]
    assert total_left(jobs, statuses, 2) == 19 * 10 / 2


class Terminal(io.StringIO):
    def isatty(self):
        return True


def test_a_terminal_shows_one_table_and_a_pipe_a_line_for_each_change(tmp_path):
    jobs, said = plan(tmp_path, seeds=2), []
    statuses = [Status(), Status()]
    screen = Terminal()
    tables = [Table(1, said.append, screen), Table(1, said.append, io.StringIO())]
    for state in ("running", "running", "finished"):
        statuses[0].state = state
        for table in tables:
            table.show(jobs, statuses)
    assert [line.split()[-1] for line in said] == ["running", "finished"]
    assert screen.getvalue().count("\x1b[3A") == 2  # drawn over the table before: a headline and two runs


class Scripted:
    """An engine whose runs end with given statuses."""

    def __init__(self, results):
        self.results, self.started, self.waiting, self.most, self.stopped = results, [], [], 0, []
        self.slots = 2

    def start(self, key, task):
        self.started.append(key)
        self.waiting.append(key)
        self.most = max(self.most, len(self.waiting))

    def ended(self):
        if not self.waiting:
            return {}
        key = self.waiting.pop(0)
        if self.results[key] is KeyboardInterrupt and not self.stopped:
            self.waiting.append(key)
            raise KeyboardInterrupt
        at_stop = -signal.SIGINT if key % 2 else 130  # before and after a run listens to signals
        return {key: at_stop if self.stopped else self.results[key]}

    def stop(self, key):
        self.stopped.append(key)

    def kill(self):
        self.waiting.clear()


def swept(tmp_path, monkeypatch, results):
    monkeypatch.setattr("omarl.sweep.sweep.TICK", 0)
    jobs = plan(tmp_path, seeds=len(results), keys={"t_max": 100})
    return Sweep(jobs, Scripted(results), Folder(tmp_path), Logger(logging.getLogger("omarl")))


def states(made):
    runs = json.loads((made.folder.path / "sweep.json").read_text())["runs"]
    return [runs[str(job.run.relative_to(made.folder.path))]["state"] for job in made.jobs]


def test_a_failed_run_stops_no_other_and_its_message_is_kept(tmp_path, monkeypatch, caplog):
    made = swept(tmp_path, monkeypatch, [0, 1, -9, ConfigError("run: in use"), 0])
    made.folder.logs.mkdir()
    made.folder.log(made.jobs[1]).write_text("step 1\nerror: lr: too large\nFailed after 0:00:01!\n")
    with caplog.at_level(logging.INFO, "omarl"):
        made.run()
    assert states(made) == ["finished", "failed", "failed", "failed", "finished"]
    assert made.engine.most == 2 and made.engine.started == [0, 1, 2, 3, 4]
    for text in ("seed 2: lr: too large", "seed 3: killed by SIGKILL", "seed 4: run: in use"):
        assert f"failed: omg_vae simple_spread {text}" in caplog.text


def test_finished_runs_are_skipped(tmp_path, monkeypatch):
    job = plan(tmp_path, seeds=[2], keys={"t_max": 100})[0]
    job.run.mkdir(parents=True)
    (job.run / "run.json").write_text('{"status": "COMPLETED"}')
    made = swept(tmp_path, monkeypatch, [0, 0, 0])
    made.run()
    assert made.engine.started == [0, 2] and states(made) == ["finished"] * 3


def test_an_interrupt_stops_the_running_runs_and_leaves_the_others_waiting(tmp_path, monkeypatch, caplog):
    made = swept(tmp_path, monkeypatch, [0, KeyboardInterrupt, 0, 0, 0])
    with caplog.at_level(logging.INFO, "omarl"), pytest.raises(KeyboardInterrupt):
        made.run()
    assert states(made) == ["finished", "stopped", "stopped", "waiting", "waiting"]
    assert sorted(made.engine.stopped) == [1, 2]
    assert "to continue, give the same command again" in caplog.text


def test_the_manifest_keeps_the_runs_of_earlier_sweeps_in_its_folder(tmp_path):
    folder = Folder(tmp_path)
    one, two = plan(tmp_path, configs=["iql"]), plan(tmp_path, configs=["vdn"])
    folder.write(one, [Status("finished")])
    folder.write(two, [Status("failed", "why")])
    runs = json.loads((tmp_path / "sweep.json").read_text())["runs"]
    assert [run["state"] for run in runs.values()] == ["finished", "failed"]
    assert [run["command"] for run in runs.values()] == [one[0].command(), two[0].command()]


def test_a_run_that_exists_is_resumed_and_one_that_never_began_starts_again(tmp_path, monkeypatch):
    begun = []
    monkeypatch.setattr("subprocess.Popen", lambda words, **_: begun.append(words[3:]))
    (job,) = plan(tmp_path, keys={"learner": "outside:CountingLearner"})
    task = task_of(job, tmp_path / "log.txt", one_core=True)
    start(task)
    assert begun[-1][:2] == ["--config=omg_vae", f"--id={job.id}"] and begun[-1][-1] == "env_workers=0"
    job.run.mkdir(parents=True)
    (job.run / "run.json").write_text("{}")
    start(task)
    assert begun[-1] == begun[0] and not job.run.exists()
    job.run.mkdir(parents=True)
    (job.run / "config.json").write_text("{}")
    start(task)
    assert begun[-1] == ["resume", "with", f"run={job.run}", "trust=['outside:CountingLearner']", "env_workers=0"]
    start(task._replace(keeps=False))  # without checkpoints there is nothing to continue from
    assert begun[-1] == begun[0] and not job.run.exists()


def test_a_run_in_which_another_process_trains_is_refused(tmp_path, monkeypatch):
    monkeypatch.setattr("omarl.sweep.process.UNLOCKED", 0.1)
    (tmp_path / ".lock").touch()
    wait_until_free(tmp_path)  # a lock that nobody holds
    with locked(tmp_path), pytest.raises(ConfigError, match="another process trains"):
        wait_until_free(tmp_path)
    (job,) = plan(tmp_path)
    job.run.mkdir(parents=True)
    engine = LocalEngine(1)
    with locked(job.run):
        engine.start(0, task_of(job, tmp_path / "log.txt", one_core=False))
    assert "another process trains" in str(engine.ended()[0]) and engine.ended() == {}


@pytest.mark.parametrize(
    ("log", "code", "reason"),
    [("a\nerror: x: y\nFailed!\n", 1, "x: y"), ("a\n\n b \n", 2, "b"), ("", 3, "ended with status 3"),
     ("error: x", -15, "killed by SIGTERM")],
)  # fmt: skip
def test_the_reason_of_a_failure_is_one_line(tmp_path, log, code, reason):
    (tmp_path / "log").write_text(log)
    assert why(tmp_path / "log", code) == reason
    assert why(tmp_path / "none", 3) == "ended with status 3"


def test_a_missing_extra_is_named(monkeypatch, tmp_path):
    monkeypatch.setitem(sys.modules, "ray", None)
    with pytest.raises(ConfigError, match=r"engine: ray is missing; pip install 'omarl\[ray\]'"):
        RayEngine(1)
    monkeypatch.setitem(sys.modules, "optuna", None)
    with pytest.raises(ConfigError, match=r"search: optuna is missing; pip install 'omarl\[search\]'"):
        Search(SweepConfig(search={"lr": [0.1]}, configs=["iql"]), tmp_path)


@pytest.mark.parametrize(
    ("keys", "message"),
    [
        ({"search": {"lr": {"low": 0.1}}}, "search: lr: give"),
        ({"search": {"lr": {"low": 0.2, "high": 0.1}}}, "search: lr: give"),
        ({"search": {"lr": {"low": 0.1, "high": 0.2, "lag": True}}}, "search: lr: give"),
        ({"search": {"lr": {"low": -0.1, "high": 0.2}}}, "lr: -0.1 is out of range"),
        ({"search": {"mixer": "[vdn,qmux]"}}, "mixer: no 'qmux'|qmux"),
        ({"search": {"lr": [0.1]}, "grid": {"gamma": [0.9]}}, "search: give one of configs"),
        ({"search": {"lr": [0.1]}, "configs": ["iql", "vdn"]}, "search: give one of configs"),
    ],
)
def test_a_search_is_checked_before_its_first_run(tmp_path, keys, message):
    with pytest.raises(ConfigError, match=message):
        Search(SweepConfig(**{"configs": ["iql"], "envs": ["simple_spread"], **keys}), tmp_path)


class Instant:
    """An engine that makes runs whose return is highest for lr = 0.003."""

    slots = 2

    def __init__(self):
        self.tasks, self.made, self.stopped = {}, [], False

    def start(self, number, task):
        self.tasks[number] = task

    def ended(self):
        if self.stopped:
            done, self.tasks, self.stopped = dict.fromkeys(self.tasks, 130), {}, False
            return done
        for task in self.tasks.values():
            lr = float(next(word for word in task.words if word.startswith("lr=")).partition("=")[2])
            if len(self.made) == 5:
                self.made.append(lr)
                raise KeyboardInterrupt
            logged(Path(task.run), {"t_env": 0, "test_return_mean": 0.0}, {"t_env": 100, "wall_s": 1.0,
                   "test_return_mean": -abs(np.log10(lr / 0.003))})  # fmt: skip
            (Path(task.run) / "run.json").write_text('{"status": "COMPLETED"}')
            self.made.append(lr)
        done, self.tasks = dict.fromkeys(self.tasks, 0), {}
        return done

    def stop(self, number):
        self.stopped = True

    def kill(self):
        self.tasks.clear()


def test_a_search_finds_a_better_value_and_continues_after_an_interrupt(tmp_path, monkeypatch):
    pytest.importorskip("optuna")
    monkeypatch.setattr("omarl.sweep.sweep.TICK", 0)
    ranges = {"lr": {"low": 1e-5, "high": 1e-1, "log": True}}
    config = SweepConfig(configs=["iql"], envs=["simple_spread"], seeds=2, search=ranges, trials=12)
    logger, engine = Logger(logging.getLogger("omarl")), Instant()
    with pytest.raises(KeyboardInterrupt):
        Sweep([], engine, Folder(tmp_path), logger, Search(config, tmp_path)).run()
    made = Sweep([], engine, Folder(tmp_path), logger, Search(config, tmp_path))
    made.run()
    rows = list(csv.DictReader((tmp_path / "search.csv").open()))
    assert [row["state"] for row in rows] == ["complete"] * 12
    assert len({row["lr"] for row in rows}) == 12 and len(list(tmp_path.glob("sacred/*/*/*/run.json"))) == 24
    best = max(rows, key=lambda row: float(row["objective"]))
    assert 0.001 < float(best["lr"]) < 0.01 and float(best["objective"]) == pytest.approx(
        -abs(np.log10(float(best["lr"]) / 0.003)))  # fmt: skip
    assert "best" in made.search.best()


def test_trials_below_the_median_of_the_earlier_ones_are_given_up(tmp_path):
    pytest.importorskip("optuna")
    config = SweepConfig(configs=["iql"], envs=["simple_spread"], seeds=1, search={"lr": [0.1, 0.01]}, trials=6,
                         prune=True)  # fmt: skip
    search = Search(config, tmp_path)
    search.open(lambda line: None)
    for i in range(6):
        (job,) = search.more()
        score = -1.0 if i < 5 else -2.0
        assert search.update(lambda _, s=score: Status("running", "", 100, s)) == ([] if i < 5 else [job])
        assert search.update(lambda _, s=score: Status("running", "", 100, s)) == []  # nothing new
        if i < 5:
            logged(job.run, {"t_env": 100, "test_return_mean": score})
            search.update(lambda _, s=score: Status("finished", "", 100, s))
    assert [row["state"] for row in csv.DictReader(search.write().open())] == ["complete"] * 5 + ["pruned"]
