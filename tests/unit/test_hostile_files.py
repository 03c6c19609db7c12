"""A quick part of benchmarks/reliability/hostile_files.py, in this process and with checkpoints of a few numbers."""

import importlib.util
import json
import sys
from pathlib import Path

import pytest
import torch
from omarl import registry
from omarl.experiment import configuration, main
from omarl.opponents.pool import Member, digest, write_pool
from omarl.utils.isolation import process_state_kept

SCRIPT = Path(__file__).parents[2] / "benchmarks" / "reliability" / "hostile_files.py"
specification = importlib.util.spec_from_file_location("hostile_files", SCRIPT)
hostile = sys.modules["hostile_files"] = importlib.util.module_from_spec(specification)
specification.loader.exec_module(hostile)

TOO_LARGE = ("200 MB", "100 MB", "50 MB", "bomb", "200,000", "2^62")
LONG = ("resumed", "replay", "evaluation.json", "checkpoints/100", "changed", "crossplay", "source", "link outside")
QUICK = [name for name in hostile.ATTACKS if not any(word in name for word in (*TOO_LARGE, *LONG))]


@pytest.fixture(scope="module")
def base(tmp_path_factory):
    """The files of a run, a pool and a run against it; without metrics and with a network of one number."""
    folder = tmp_path_factory.mktemp("honest")
    words = ["main.py", "--config=iql", "--env-config=simple_tag", "with", *hostile.TINY, "seed=1"]
    values = configuration(words).values
    for checkpoint in (folder / "run" / "checkpoints" / "100", folder / "player" / "checkpoints" / "100"):
        checkpoint.mkdir(parents=True)
        (checkpoint / "config.json").write_text(json.dumps(values))
        for name in ("agent.th", "opt.th", "run.th"):
            torch.save({"t_env": 100, "x": torch.ones(1)}, checkpoint / name)
        run = checkpoint.parents[1]
        (run / "config.json").write_text(json.dumps(values))
        (run / "metrics.jsonl").write_text('{"t_env": 5, "episode": 1}\n{"t_env": 9, "episode": 2}\n')
    member = folder / "pool" / "iql_0"
    member.mkdir(parents=True)
    for name in ("agent.th", "config.json"):
        (member / name).write_bytes((folder / "run" / "checkpoints" / "100" / name).read_bytes())
    digests = digest(member / "agent.th"), digest(member / "config.json")
    entry = Member("iql_0", "iql", "checkpoint", "train", "", "", 0.0, "iql_0/agent.th", *digests)
    write_pool(folder / "pool", values["env"], values["env_args"], [entry], "")
    return folder


@pytest.mark.parametrize("name", QUICK)
def test_a_hostile_file_executes_nothing_and_gives_one_line(base, tmp_path, monkeypatch, capfd, name):
    place = hostile.Place(base, tmp_path / "case")
    words = hostile.ATTACKS[name][1](place)
    before = hostile.contents(place.outside)
    monkeypatch.chdir(place.cwd)
    monkeypatch.setattr(sys, "path", [str(place.site), *sys.path])
    code = 0
    with process_state_kept():
        try:
            main(["main.py", *words])
        except SystemExit as end:
            code = end.code
    output = capfd.readouterr()
    assert not place.executed.exists() and hostile.contents(place.outside) == before
    assert "canary" not in sys.modules and "Traceback" not in output.err + output.out
    errors = [line for line in output.err.splitlines() if line.startswith("error: ")]
    assert (code, len(errors)) in ((0, 0), (1, 1)), output.err
    assert sorted(path.name for path in tmp_path.iterdir()) == ["case"]


def test_the_canary_executes_if_the_user_names_it(base, tmp_path, monkeypatch, capfd):
    """Otherwise the other tests prove nothing."""
    place = hostile.Place(base, tmp_path / "case")
    place.configure(env="canary:Thing")
    monkeypatch.chdir(place.cwd)
    monkeypatch.setattr(sys, "path", [str(place.site), *sys.path])
    with process_state_kept(), pytest.raises(SystemExit):
        main(["main.py", *place.evaluate(), "env=canary:Thing"])
    assert place.executed.exists() and "the canary was called" in capfd.readouterr().err
    sys.modules.pop("canary")
    registry.only_in_files.clear()
