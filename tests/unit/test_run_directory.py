import datetime
import itertools
import json
import time
import tracemalloc
from concurrent.futures import ThreadPoolExecutor

import pytest
from omarl.types import ConfigError
from omarl.utils import sacred_observer
from omarl.utils.files import writable
from omarl.utils.run_directory import base_directory, write_json
from omarl.utils.sacred_observer import MOST_POINTS, OutputFilter, RunDirectory
from sacred.utils import apply_backspaces_and_linefeeds

NOW = datetime.datetime(2026, 1, 1)


def config_in(path, **changes):
    return {
        "local_results_path": str(path),
        "name": "x",
        "env": "pettingzoo",
        "env_args": {"key": "a.b_v0"},
        **changes,
    }


def started(path, **changes):
    observer = RunDirectory()
    ex_info = {"name": "x", "base_dir": str(path), "sources": [], "dependencies": []}
    observer.started_event(ex_info, "train", {}, NOW, config_in(path, **changes), {}, None)
    return observer


def values(*numbers):
    return {"a": {"steps": list(range(len(numbers))), "values": list(numbers), "timestamps": [NOW] * len(numbers)}}


def test_the_folder_is_named_as_in_epymarl(tmp_path):
    assert base_directory(config_in("r")).parts == ("r", "sacred", "x", "a.b_v0")
    assert base_directory(config_in("r", env_args={"key": "lbforaging:F-v3"})).name == "lbforaging:F-v3"
    assert base_directory(config_in("r", env_args={"key": "sisl/pursuit-v5"})).name == "sisl_pursuit-v5"
    assert base_directory(config_in("r", env="my.mod:Env", env_args={})).name == "my.mod:Env"


def test_runs_that_start_at_the_same_time_get_different_folders(tmp_path):
    with ThreadPoolExecutor(8) as pool:
        paths = list(pool.map(lambda _: started(tmp_path).path, range(16)))
    assert len(set(paths)) == 16
    assert sorted(int(p.name) for p in paths) == list(range(1, 17))


def test_metrics_json_contains_the_values_of_all_heartbeats(tmp_path):
    observer = started(tmp_path)
    observer.log_metrics(values(1.0, 2.0), {})
    observer.log_metrics(values(3.0), {})
    observer.completed_event(NOW, None)
    assert json.loads((observer.path / "metrics.json").read_text())["a"]["values"] == [1.0, 2.0, 3.0]


def test_a_slow_metrics_json_is_written_less_often_and_at_the_end(tmp_path):
    observer = started(tmp_path)
    observer.log_metrics(values(1.0), {})
    observer.write_seconds = 100.0
    observer.log_metrics(values(2.0), {})
    assert json.loads((observer.path / "metrics.json").read_text())["a"]["values"] == [1.0]
    observer.interrupted_event(NOW, "INTERRUPTED")
    assert json.loads((observer.path / "metrics.json").read_text())["a"]["values"] == [1.0, 2.0]


def test_a_long_metrics_json_keeps_points_over_the_complete_run_and_the_last_one(tmp_path):
    observer = started(tmp_path)
    observer.write_seconds, observer.written_at = 1e9, time.monotonic()
    for first in range(0, 10_000, 100):
        beat = range(first, first + 100)
        stamps = [NOW + datetime.timedelta(seconds=i) for i in beat]
        observer.log_metrics({"a": {"steps": list(beat), "values": [i / 2 for i in beat], "timestamps": stamps}}, {})
    observer.completed_event(NOW, None)
    curve = json.loads((observer.path / "metrics.json").read_text())["a"]
    steps = curve["steps"]
    assert MOST_POINTS // 2 <= len(steps) <= MOST_POINTS and (steps[0], steps[-1]) == (0, 9999)
    gaps = {later - earlier for earlier, later in itertools.pairwise(steps[:-1])}
    assert len(gaps) == 1
    assert curve["values"] == [step / 2 for step in steps]
    assert curve["timestamps"] == [(NOW + datetime.timedelta(seconds=step)).isoformat() for step in steps]


def test_the_memory_of_metrics_does_not_grow_with_the_run(tmp_path):
    def beat(begin):
        observer.log_metrics({f"m{i}": {"steps": list(range(begin, begin + 50)), "values": [0.5] * 50,
                                        "timestamps": [NOW] * 50} for i in range(20)}, {})  # fmt: skip

    observer = started(tmp_path)
    observer.write_seconds, observer.written_at = 1e9, time.monotonic()
    for begin in range(0, 1000, 50):
        beat(begin)
    tracemalloc.start()
    try:
        for begin in range(1000, 8000, 50):
            beat(begin)
        assert tracemalloc.get_traced_memory()[0] < 20 * MOST_POINTS * 24 + 100_000  # a list of all: more than 20 MB
    finally:
        tracemalloc.stop()


def test_writing_metrics_takes_little_more_memory_than_the_text(tmp_path):
    observer = started(tmp_path)
    points = {"steps": list(range(MOST_POINTS - 1)), "values": [1 / 3] * 499, "timestamps": [NOW] * 499}
    observer.written_at, observer.write_seconds = time.monotonic(), 1e9
    observer.log_metrics({f"m{i}": points for i in range(40)}, {})
    tracemalloc.start()
    try:
        observer.completed_event(NOW, None)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    text = (observer.path / "metrics.json").stat().st_size
    assert len(json.loads((observer.path / "metrics.json").read_text())) == 40
    assert peak < 3.5 * text  # one object of all metrics, serialised with indentation: 8 times


def test_filtering_output_in_pieces_equals_filtering_it_at_once():
    pieces = ["a\rb", "c\nd", "e\b\bfgh\n", "10%\r20%", "\r30", "%\rdone\n", "end\r"]
    output_filter, text = OutputFilter(), ""
    for piece in pieces:
        expected = apply_backspaces_and_linefeeds(text + piece)
        text = output_filter(text + piece)
        assert text == expected


def test_filtering_takes_time_for_new_output_only(monkeypatch):
    filtered = []
    monkeypatch.setattr(sacred_observer, "apply_backspaces_and_linefeeds", lambda text: filtered.append(text) or text)
    output_filter = OutputFilter()
    text = output_filter("a line\n" * 1000)
    text = output_filter(text + "another\n")
    assert filtered[1:] == ["another\n"] and text.endswith("a line\nanother\n")


def test_a_failed_write_gives_a_message_and_is_repeated(tmp_path, monkeypatch, capsys):
    observer = started(tmp_path)

    def full(path, value):
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(sacred_observer, "write_json", full)
        observer.log_metrics(values(1.0), {})
        observer.heartbeat_event({}, "text", NOW, None)
    assert "No space left on device" in capsys.readouterr().out
    observer.written_at = -1e9
    observer.log_metrics(values(2.0), {})
    assert json.loads((observer.path / "metrics.json").read_text())["a"]["values"] == [1.0, 2.0]


def test_json_is_written_completely_or_not_at_all(tmp_path):
    path = tmp_path / "a.json"
    write_json(path, {"a": 1})
    with pytest.raises(TypeError):
        write_json(path, {"a": object()})
    assert json.loads(path.read_text()) == {"a": 1}


def test_a_folder_that_cannot_be_written_is_refused_in_one_line(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(ConfigError, match=r"^local_results_path: cannot write into .*; give another folder"):
        writable(base_directory(config_in(tmp_path / "file")), "local_results_path")
    writable(base_directory(config_in(tmp_path / "good")), "local_results_path")
    assert not list((tmp_path / "good").rglob(".writable*"))
