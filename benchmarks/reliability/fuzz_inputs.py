"""Inputs of ``fuzz.py``: for each part, a strategy and the function that reads its values in an empty folder."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import fuzz_environments
import numpy as np
import omarl
import yaml
from gymnasium import spaces
from hypothesis import strategies as st
from omarl import experiment
from omarl.configuration.layers import from_checkpoint
from omarl.configuration.parts import collect
from omarl.configuration.request import configured, from_keywords
from omarl.envs.make import make_vec_env
from omarl.opponents.pool import MANIFEST, read_pool
from omarl.run import RunConfig


class Part(NamedTuple):
    """``share`` of the inputs; ``run`` reads a value of ``strategy``, in a folder."""

    share: int
    strategy: st.SearchStrategy[Any]
    run: Callable[[Any, Path], Any]


ALGORITHMS = ("omg_vae", "iql", "qmix", "ippo", "pqn", "liam", "omg", "place_prediction", "object_prediction")
SOME = ("iql", "ippo", "liam", "omg_vae", "omg")
KEYS = sorted({name for a in SOME for name in collect(RunConfig, from_keywords({}, a).values).declarations})
NAMES = (
    "q_learner",
    "vdn",
    "gru",
    "rnn",
    "a:b",
    "os:path",
    ":",
    "a:",
    ":b",
    "..",
    "/",
    "~",
    "mpe2.simple_tag_v3",
    "[a",
)

scalars = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(),
    st.integers(min_value=10**300, max_value=10**310),
    st.floats(),
    st.text(max_size=8),
    st.sampled_from(NAMES),
)
anything = st.recursive(
    scalars,
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5) | st.sampled_from(KEYS), inner, max_size=3)
    ),
    max_leaves=6,
)
keys = st.sampled_from(KEYS) | st.text(max_size=10)
near = st.sampled_from(
    [0, 1, -1, 2, 0.5, "1e5", "0", 1e5, 2**31, 10**400, True, "True", "", "nan", "inf", "[1,2]", "[]"]
)
# half of them with one or two known keys, so that a value and not the first unknown key is judged
configurations = st.tuples(
    st.sampled_from(ALGORITHMS),
    st.dictionaries(st.sampled_from(KEYS), near | anything, min_size=1, max_size=2)
    | st.dictionaries(keys, anything, min_size=1, max_size=4),
    st.booleans(),
)


def read_configuration(value: tuple[str, dict[str, Any], bool], folder: Path) -> None:
    """Keyword arguments of Python, or a YAML file."""
    algorithm, updates, is_file = value
    if not is_file:
        from_keywords(updates, algorithm)
        return
    file = folder / "mine.yaml"
    file.write_text(yaml.safe_dump({**updates, "extends": algorithm}, allow_unicode=True), encoding="utf-8")
    configured({}, str(file))


yaml_texts = st.text(max_size=60) | st.text("abc:{}[]&*!%#|>-?,'\" \n\t01.~<", max_size=60)


def read_yaml_text(value: str, folder: Path) -> None:
    """A damaged YAML file."""
    (folder / "mine.yaml").write_text(value, encoding="utf-8", errors="surrogatepass")
    configured({}, "./mine.yaml")


plain = st.text("abc019_.-:=[]{}',\"~/*% \\", max_size=12)
settings_words = st.builds(lambda name, text: f"{name}={text}", keys, plain | st.sampled_from(NAMES)) | plain
options = st.sampled_from(
    [
        "--config=iql",
        "--config",
        "--config=",
        "--env-config=simple_spread",
        "--env-config",
        "-l",
        "--config=nope",
        "--force",
        "-n",
        "--name=x",
        "--name",
        "-u",
        "--unobserved",
        "-i",
        "-Z",
        "--loglevel=INFO",
        "--comment=x",
        "--priority=y",
        "--help",
        "-h",
        "-e",
        "-x",
    ]
)
QUICK = ("print_config", "help", "diagnose", "compare", "crossplay", "plugin")
PATHS = (
    "run=.",
    "run=run",
    "run=run/metrics.jsonl",
    "runs=[run]",
    "runs=run",
    "runs=*",
    "pool=pool",
    "pool=run",
    "host=.",
    "host=run",
    "metric=loss",
    "by=[lr]",
    "until=5",
    "between=[a,b]",
    "diagnose.kl=kl",
    "diagnose.x=kl",
    "diagnose=1",
    "apply=True",
    "undo=True",
    "out=out",
)
given_words = st.lists(st.sampled_from(PATHS), max_size=3) | st.lists(
    settings_words | st.sampled_from(PATHS), max_size=4
)
command_lines = st.builds(
    lambda command, asked, words, given: ["main.py", command, *asked, *words, *(["with", *given] if given else [])],
    st.sampled_from(QUICK),
    st.just([])
    | st.lists(st.sampled_from([*QUICK, "train", "evaluate", "replay", "pool", "ablate", "nope"]), max_size=1),
    st.just([]) | st.lists(options | plain.filter(lambda text: text != "with"), max_size=2),
    given_words,
)


def run_command(words: list[str], folder: Path) -> None:
    """A command in a folder with a run, a pool's manifest and a damaged file."""
    (folder / "run").mkdir()
    rows = curve(60, {"vae_kl_loss": 3.0, "vae_recon_loss": 9.0, "test_return_mean": 1.0})
    (folder / "run" / "metrics.jsonl").write_text("\n".join(map(json.dumps, rows)))
    (folder / "run" / "config.json").write_text(json.dumps({"name": "x", "lr": 0.1, "env_args": {"key": "y"}}))
    (folder / "pool").mkdir()
    (folder / "pool" / MANIFEST).write_text("members: [")
    experiment.main(words)


numbers = st.one_of(
    st.floats(), st.integers(), st.none(), st.booleans(), st.text(max_size=4), st.just([1]), st.just({})
)
curve_names = st.sampled_from(
    [
        "t_env",
        "wall_s",
        "vae_kl_loss",
        "vae_recon_loss",
        "vae_loss",
        "vae_alpha",
        "vae_beta",
        "test_return_mean",
        "updates",
        "vae_active_units",
        "kl",
        "recon",
    ]
) | st.text(max_size=4)


def curve(points: int, columns: dict[str, float]) -> list[dict[str, Any]]:
    """Lines of a plausible metrics.jsonl."""
    rows = []
    for i in range(points):
        falling = {name: scale * (1.0 + np.exp(-i / 20)) for name, scale in columns.items()}
        rows.append({"t_env": 1000 * i, "wall_s": 0.1 * i, **falling})
    return rows


@st.composite
def metrics_files(draw: st.DrawFn) -> dict[str, bytes]:
    """Files of a run's folder: a plausible one, with lines, values and bytes replaced."""
    columns = {"vae_kl_loss": 3.0, "vae_recon_loss": 9.0, "test_return_mean": -1.0, "vae_alpha": 0.01}
    rows = curve(draw(st.integers(0, 120)), columns)
    for _ in range(draw(st.integers(0, 4))):
        if rows:
            rows[draw(st.integers(0, len(rows) - 1))][draw(curve_names)] = draw(numbers)
    form = draw(st.sampled_from(["metrics.jsonl", "metrics.json", "progress.csv", "events.out.tfevents.1.host"]))
    if form == "metrics.jsonl":
        lines = [json.dumps(row) for row in rows]
        for _ in range(draw(st.integers(0, 2))):
            lines.insert(draw(st.integers(0, len(lines))), draw(st.text(max_size=20) | anything.map(repr)))
        data = "\n".join(lines).encode(errors="surrogatepass")
    elif form == "metrics.json":
        names = [*columns, *draw(st.lists(curve_names, max_size=2))]
        values: Any = {
            n: {
                "steps": [r.get("t_env") for r in rows],
                "values": [r.get(n) for r in rows],
                "timestamps": ["2026-01-01T00:00:00"] * len(rows),
            }
            for n in names
        }
        values[draw(curve_names)] = draw(anything)
        data = json.dumps(values).encode()
    elif form == "progress.csv":
        names = ["t_env", *columns, *draw(st.lists(st.text(max_size=5), max_size=3))]
        cells = [",".join(str(row.get(name, draw(numbers))) for name in names) for row in rows[:30]]
        data = "\n".join([",".join(names), *cells]).encode(errors="surrogatepass")
    else:
        data = draw(st.binary(max_size=100)) if not rows else EVENTS
    for _ in range(draw(st.integers(0, 3))):
        if data:
            at = draw(st.integers(0, len(data) - 1))
            data = data[:at] + draw(st.binary(max_size=3)) + data[at + draw(st.integers(0, 20)) :]
    config = json.dumps(draw(anything | st.dictionaries(keys, anything, max_size=4))).encode()
    return {
        form: data,
        "config.json": config if draw(st.booleans()) else draw(st.binary(max_size=20)),
        "run.json": json.dumps(
            draw(anything | st.fixed_dictionaries({"status": scalars, "start_time": scalars, "fail_trace": anything}))
        ).encode(),
    }


def events() -> bytes:
    """A TensorBoard file with the losses of a VAE."""
    import tempfile

    from torch.utils.tensorboard import SummaryWriter

    with tempfile.TemporaryDirectory() as folder:
        with SummaryWriter(folder) as board:
            for row in curve(40, {"vae_kl_loss": 3.0, "vae_recon_loss": 9.0}):
                board.add_scalar("vae_kl_loss", row["vae_kl_loss"], row["t_env"])
                board.add_scalar("vae_recon_loss", row["vae_recon_loss"], row["t_env"])
        (file,) = Path(folder).iterdir()
        return file.read_bytes()


EVENTS = events()


def read_metrics_files(files: dict[str, bytes], folder: Path) -> None:
    """``diagnose`` and ``compare`` of the folder, and ``diagnose`` of the file of metrics."""
    run = folder / "run"
    run.mkdir()
    for name, data in files.items():
        (run / name).write_bytes(data)
    for target in (run, run / next(iter(files))):
        try:
            omarl.diagnose(target)
        except omarl.OmarlError:
            continue
    omarl.compare([run])


MEMBER = {
    "name": "a",
    "family": "f",
    "kind": "scripted",
    "split": "train",
    "made": "x",
    "script": "flee",
    "noise": 0.0,
}


@st.composite
def documents(draw: st.DrawFn) -> Any:
    """A pool's manifest with some parts replaced."""
    member: Any = {
        **MEMBER,
        **draw(
            st.dictionaries(st.sampled_from(sorted([*MEMBER, "file", "sha256", "path", "x"])), anything, max_size=2)
        ),
    }
    for name in draw(st.lists(st.sampled_from(sorted(MEMBER)), max_size=1)):
        member.pop(name, None)
    pool: Any = {"env": "pettingzoo", "env_args": {"key": "mpe2.simple_tag_v3"}, "members": [member], "prior": ""}
    pool.update(
        draw(
            st.dictionaries(
                st.sampled_from(["env", "env_args", "members", "prior", "version", "x"]), anything, max_size=2
            )
        )
    )
    return draw(st.sampled_from([pool, pool, pool, draw(anything)]))


def read_documents(value: tuple[Any, Any, bool], folder: Path) -> None:
    """A pool's manifest, and the config.json of a checkpoint."""
    manifest, stored, is_json = value
    text = json.dumps(manifest) if is_json else yaml.safe_dump(manifest, allow_unicode=True)
    (folder / MANIFEST).write_text(text, encoding="utf-8")
    checkpoint = folder / "checkpoints" / "100"
    checkpoint.mkdir(parents=True)
    (checkpoint / "config.json").write_text(json.dumps(stored), encoding="utf-8")
    errors = []
    calls: tuple[Callable[[], Any], ...] = (
        lambda: read_pool(folder),
        lambda: from_checkpoint(checkpoint),
        lambda: configured({"checkpoint_path": str(folder)}, command="evaluate"),
        lambda: from_keywords({"checkpoint_path": str(checkpoint), "t_max": 10}),
    )
    for call in calls:
        try:
            call()
        except omarl.OmarlError as error:
            errors.append(error)
    if errors:
        raise errors[0]


AGENTS = fuzz_environments.AGENTS
arrays = st.sampled_from(
    [
        np.zeros(3),
        np.zeros(2),
        np.zeros((3, 1)),
        np.full(3, np.nan),
        np.full(3, 1e30),
        np.zeros(0),
        np.array(["a", "b", "c"]),
        np.array(None),
        np.zeros(3, complex),
        np.zeros(3, object),
        np.zeros(3, "datetime64[s]"),
    ]
)
returned = arrays | anything | st.dictionaries(st.sampled_from([*AGENTS, "b_0"]), arrays | anything, max_size=2)
odd_spaces = st.sampled_from(
    [
        spaces.Box(-1, 1, (0,)),
        spaces.Box(0, 255, (2, 2, 3), np.uint8),
        spaces.Discrete(3),
        spaces.MultiDiscrete([2, 3]),
        spaces.Text(3),
        spaces.Tuple([spaces.Discrete(2)]),
        spaces.Dict({"x": spaces.Discrete(2)}),
        spaces.MultiBinary(3),
        spaces.Dict({"observation": spaces.Box(-1, 1, (3,)), "action_mask": spaces.MultiBinary(2)}),
        spaces.Discrete(2, start=-1),
        spaces.Sequence(spaces.Discrete(2)),
    ]
)
exceptions = st.sampled_from(
    [
        ValueError("a\nb\nc"),
        KeyError("a"),
        RuntimeError(),
        MemoryError(),
        RecursionError("x"),
        AssertionError(),
        TypeError(3),
        OSError(2, "x"),
        IndexError(),
        StopIteration(),
    ]
)
environments = st.dictionaries(
    st.sampled_from(["obs", "info", "reset", "step", "reward", "terminated", "truncated", "living", "agents"]),
    returned,
    max_size=2,
).flatmap(
    lambda replaced: st.tuples(
        st.just(replaced),
        st.none() | odd_spaces,
        st.none() | odd_spaces,
        st.none() | exceptions | st.none(),
        st.integers(1, 9),
    )
)


def step_environment(value: tuple[dict[str, Any], Any, Any, Any, int], folder: Path) -> None:
    """A few steps of two copies, with the first available actions."""
    replaced, obs_space, action_space, raises, limit = value
    more = {"obs_space": obs_space, "action_space": action_space, "raises": raises}
    fuzz_environments.Fuzzed.replaced = {**replaced, **{k: v for k, v in more.items() if v is not None}}
    env = make_vec_env("fuzz_environments:Fuzzed", {"episode_limit": limit}, 2, 0, 0)
    try:
        observation = env.reset()
        for _ in range(5):
            observation = env.step(observation.avail.argmax(-1)).observation
    finally:
        env.close()


PARTS = {
    "configurations": Part(30, configurations, read_configuration),
    "YAML files": Part(10, yaml_texts, read_yaml_text),
    "command lines": Part(15, command_lines, run_command),
    "metrics files": Part(15, metrics_files(), read_metrics_files),
    "pools": Part(
        15,
        st.tuples(documents(), anything | st.dictionaries(keys, anything, max_size=4), st.booleans()),
        read_documents,
    ),
    "environments": Part(15, environments, step_environment),
}
