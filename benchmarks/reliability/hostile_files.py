"""Hostile files as checkpoint, pool, metrics and configuration: none executes code or writes outside its folder.

    python benchmarks/reliability/hostile_files.py [--only TEXT] [--out hostile_files.md]

Makes a run, a pool and a run against the pool, then one attack a time on a copy of them, with the real commands. Each
attack would write the file ``executed`` if its code ran; the module ``canary`` that it may name can be imported. The
table has a line for each attack: what was executed, what was written outside the attack's folder and the results, the
command's line, its seconds and its peak memory. About five minutes.
"""

import argparse
import json
import os
import pickle
import shutil
import struct
import subprocess
import sys
import tempfile
import time
import zipfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
import yaml
from omarl.opponents.pool import digest

ROOT = Path(__file__).parents[2]
TINY = ["t_max=100", "test_interval=0", "batch_size=2", "batch_size_run=2", "hidden_dim=8", "use_tensorboard=False",
        "env_workers=0", "buffer_size=10", "test_nepisode=2"]  # fmt: skip
LIMIT = 120  # seconds for one command
CANARY = """
import pathlib
pathlib.Path({executed!r}).touch()
def anything(*args, **kwargs):
    raise RuntimeError("the canary was called")
parallel_env = env = Thing = anything
"""


class Pickled:
    """Unpickles as a command."""

    def __init__(self, executed: Path) -> None:
        self.executed = executed

    def __reduce__(self) -> tuple[Any, ...]:
        return os.system, (f"touch {self.executed}",)


class Place:
    """Copies of the honest files for one attack, and the files that only an attack writes."""

    def __init__(self, base: Path, folder: Path) -> None:
        self.folder, self.files, self.cwd = folder, folder / "files", folder / "cwd"
        self.outside, self.site, self.executed = folder / "outside", folder / "site", folder / "executed"
        shutil.copytree(base, self.files, ignore=shutil.ignore_patterns("site"))
        for path in (self.cwd, self.outside, self.site):
            path.mkdir()
        for path in (self.cwd, self.site):
            (path / "canary.py").write_text(CANARY.format(executed=str(self.executed)))
        (self.outside / "kept").write_text("kept")
        self.run, self.pool, self.player = (self.files / name for name in ("run", "pool", "player"))
        self.checkpoint = self.run / "checkpoints" / "100"
        self.out = f"out={self.cwd / 'results' / 'out'}"

    def configure(self, checkpoint: Path | None = None, **values: Any) -> None:
        """Changes keys of a checkpoint's config.json."""
        file = (checkpoint or self.checkpoint) / "config.json"
        file.write_text(json.dumps({**json.loads(file.read_text()), **values}))

    def manifest(self, **entry: Any) -> None:
        """Changes the entry of the pool's only member."""
        file = self.pool / "pool.yaml"
        content = yaml.safe_load(file.read_text())
        content["opponents"][0].update(entry)
        file.write_text(yaml.safe_dump(content))

    def evaluate(self) -> list[str]:
        return ["evaluate", "with", f"checkpoint_path={self.run}"]

    def resume(self) -> list[str]:
        return ["with", f"checkpoint_path={self.run}", "t_max=200"]

    def replay(self) -> list[str]:
        return ["replay", "with", f"checkpoint_path={self.run}"]

    def against(self) -> list[str]:
        """A training against the pool."""
        return ["--config=ppo_history", "--env-config=simple_tag", "with", f"pool={self.pool}", *TINY]

    def crossplay(self) -> list[str]:
        return [
            "crossplay",
            "with",
            f"runs=[{self.player}]",
            f"pool={self.pool}",
            "split=train",
            "episodes=1",
            self.out,
        ]

    def diagnose(self, path: Path | None = None) -> list[str]:
        return ["diagnose", "with", f"run={path or self.run}"]

    def compare(self) -> list[str]:
        return ["compare", "with", f"runs=[{self.run}]", "metric=episode", self.out]


Attack = Callable[[Place], list[str]]
ATTACKS: dict[str, tuple[str, Attack]] = {}


def attack(used_as: str, name: str) -> Callable[[Attack], Attack]:
    """Registers an attack: it changes the files and returns the words of the command that reads them."""

    def register(function: Attack) -> Attack:
        ATTACKS[name] = (used_as, function)
        return function

    return register


def names_code(key: str, value: Any, **more: Any) -> Attack:
    """A checkpoint whose configuration names code."""

    def change(place: Place) -> list[str]:
        text = json.dumps({key: value, **more}).replace("EXECUTED", str(place.executed))
        place.configure(**json.loads(text))
        return place.evaluate()

    return change


for part in ("env", "mac", "learner", "agent", "cell", "runner", "action_selector", "mixer", "game"):
    attack("checkpoint", f"config.json: {part} canary:Thing")(names_code(part, "canary:Thing"))
attack("checkpoint", "config.json: env subprocess:Popen")(
    names_code("env", "subprocess:Popen", env_args={"args": ["touch", "EXECUTED"]})
)
attack("checkpoint", "config.json: env os:system")(
    names_code("env", "os:system", env_args={"command": "touch EXECUTED"})
)
attack("checkpoint", "config.json: opponent_model canary:Thing")(
    names_code("opponent_model", "canary:Thing", mac="model_mac", learner="opponent_model_learner")
)
attack("checkpoint", "config.json: base_learner canary:Thing")(
    names_code("base_learner", "canary:Thing", learner="omg_vae_learner")
)
attack("checkpoint", "config.json: env_args.key canary, PettingZoo")(names_code("env_args", {"key": "canary"}))
attack("checkpoint", "config.json: env_args.key canary:X-v0, Gymnasium")(
    names_code("env_args", {"key": "canary:X-v0"}, env="gymnasium")
)
attack("checkpoint", "config.json: Gymnasium's wrapper of other ids")(
    names_code("env_args", {"key": "GymV26Environment-v0", "env_id": "canary:X-v0"}, env="gymnasium")
)
attack("checkpoint", "config.json: trust true, env canary:Thing")(names_code("env", "canary:Thing", trust=True))
attack("checkpoint", "config.json: name ../../outside/x")(names_code("name", "../../outside/x"))


@attack("checkpoint", "config.json: name ../../outside/x, resumed")
def _(place: Place) -> list[str]:
    place.configure(name="../../outside/x")
    return place.resume()


@attack("checkpoint", "config.json: local_results_path outside, resumed")
def _(place: Place) -> list[str]:
    place.configure(local_results_path=str(place.outside))
    return place.resume()


@attack("checkpoint", "config.json: out outside, replayed")
def _(place: Place) -> list[str]:
    place.configure(out=str(place.outside / "film"))
    return place.replay()


@attack("checkpoint", "folder replay is a link outside")
def _(place: Place) -> list[str]:
    (place.checkpoint / "replay").symlink_to(place.outside)
    return place.replay()


@attack("checkpoint", "folder checkpoints/100 is a link outside")
def _(place: Place) -> list[str]:
    shutil.move(place.checkpoint, place.outside / "100")
    place.checkpoint.symlink_to(place.outside / "100")
    return place.evaluate()


@attack("checkpoint", "evaluation.json is a link outside")
def _(place: Place) -> list[str]:
    (place.checkpoint / "evaluation.json").symlink_to(place.outside / "kept")
    return place.evaluate()


@attack("checkpoint", "config.json of 200 MB, nested")
def _(place: Place) -> list[str]:
    (place.checkpoint / "config.json").unlink()
    filled(place.checkpoint / "config.json", "[", 200_000_000)
    return place.evaluate()


@attack("checkpoint", "config.json nested 900 levels")
def _(place: Place) -> list[str]:
    place.configure()
    file = place.checkpoint / "config.json"
    file.write_text(file.read_text()[:-1] + ', "x": ' + "[" * 900 + "]" * 900 + "}")
    return place.evaluate()


@attack("checkpoint", "config.json with a surrogate and a null character")
def _(place: Place) -> list[str]:
    place.configure(name="a\ud800", label="\0")
    return place.evaluate()


def pickled(file: str, protocol: int, bare: bool) -> Attack:
    """A file of tensors that unpickles as a command."""

    def change(place: Place) -> list[str]:
        content = {"t_env": Pickled(place.executed)}
        if bare:
            (place.checkpoint / file).write_bytes(pickle.dumps(content, protocol=protocol))
        else:
            torch.save(content, place.checkpoint / file, pickle_protocol=protocol)
        return place.resume() if file == "opt.th" else place.evaluate()

    return change


for th in ("agent.th", "run.th", "opt.th"):
    attack("checkpoint", f"{th}: pickled command in a zip")(pickled(th, 2, bare=False))
    attack("checkpoint", f"{th}: bare pickled command")(pickled(th, 4, bare=True))


def filled(file: Path, text: str, count: int) -> None:
    """Appends a text many times, in parts, so that this process remains small."""
    with file.open("a") as content:
        for _ in range(count // 100_000):
            content.write(text * 100_000)


def compressed(place: Place, name: str, entry: str) -> None:
    """Replaces an entry by 400 MB of zeros, compressed to 400 kB."""
    file = place.checkpoint / name
    with zipfile.ZipFile(file) as old:
        entries = {n: old.read(n) for n in old.namelist()}
    with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as new:
        for path, content in entries.items():
            with new.open(path, "w") as target:
                for part in [bytes(10**6)] * 400 if path.endswith(entry) else [content]:
                    target.write(part)


@attack("checkpoint", "run.th: compression bomb")
def _(place: Place) -> list[str]:
    compressed(place, "run.th", "data/0")
    return place.evaluate()


@attack("checkpoint", "agent.th: compressed pickle")
def _(place: Place) -> list[str]:
    compressed(place, "agent.th", "data.pkl")
    return place.evaluate()


@attack("checkpoint", "agent.th: one number as 10^10")
def _(place: Place) -> list[str]:
    weights = torch.load(place.checkpoint / "agent.th", weights_only=True)
    torch.save({name: torch.zeros(1).expand(10**5, 10**5) for name in weights}, place.checkpoint / "agent.th")
    return place.evaluate()


@attack("checkpoint", "agent.th: bytearray of 2^36")
def _(place: Place) -> list[str]:
    file = place.checkpoint / "agent.th"
    with zipfile.ZipFile(file, "w") as new:
        call = b"\x80\x02cbuiltins\nbytearray\n" + b"\x8a\x05" + struct.pack("<Q", 2**36)[:5] + b"\x85R."
        new.writestr("agent/data.pkl", call)
        new.writestr("agent/version", b"3\n")
    return place.evaluate()


def escapes(how: str) -> Attack:
    """A pool whose member is outside its folder."""

    def change(place: Place) -> list[str]:
        target = place.outside / "iql_0"
        shutil.copytree(place.pool / "iql_0", target)
        if how == "link":
            shutil.rmtree(place.pool / "iql_0")
            (place.pool / "iql_0").symlink_to(target)
        elif how == "config link":
            (place.pool / "iql_0" / "config.json").unlink()
            (place.pool / "iql_0" / "config.json").symlink_to(target / "config.json")
        else:
            place.manifest(file=f"{target}/agent.th" if how == "absolute" else "../../outside/iql_0/agent.th")
        return place.against()

    return change


for kind in ("absolute", "..", "link", "config link"):
    attack("pool", f"pool.yaml: member outside, {kind}")(escapes(kind))


@attack("pool", "pool.yaml: prior outside")
def _(place: Place) -> list[str]:
    shutil.copy(place.checkpoint / "agent.th", place.outside / "prior.th")
    file = place.pool / "pool.yaml"
    file.write_text(file.read_text().replace("prior: ''", "prior: ../../outside/prior.th"))
    return place.against()


@attack("pool", "pool.yaml: !!python/object/apply")
def _(place: Place) -> list[str]:
    (place.pool / "pool.yaml").write_text(f"env: !!python/object/apply:os.system ['touch {place.executed}']\n")
    return place.against()


def alias_bomb(merge: bool) -> str:
    """YAML of 1 kB that stands for 10^10 values."""
    lines = ["a0: &a0 {x0: 1}" if merge else "a0: &a0 [1]"]
    for i in range(1, 11):
        several = ", ".join([f"*a{i - 1}"] * 10)
        lines.append(f"a{i}: &a{i} {{<<: [{several}]}}" if merge else f"a{i}: &a{i} [{several}]")
    return "\n".join(lines) + "\n"


for is_merge in (False, True):
    bomb = alias_bomb(is_merge)

    @attack("pool", f"pool.yaml: 10^10 values by {'merged ' if is_merge else ''}aliases")
    def _(place: Place, bomb: str = bomb) -> list[str]:
        file = place.pool / "pool.yaml"
        file.write_text(bomb + file.read_text())
        return place.against()

    @attack("configuration", f"10^10 values by {'merged ' if is_merge else ''}aliases")
    def _(place: Place, bomb: str = bomb) -> list[str]:
        (place.cwd / "mine.yaml").write_text(bomb + "extends: iql\n")
        return ["print_config", "--config=./mine.yaml"]


@attack("pool", "config.json of a member: agent canary:Thing")
def _(place: Place) -> list[str]:
    place.configure(place.pool / "iql_0", agent="canary:Thing")
    place.manifest(config_sha256="")
    return place.against()


@attack("pool", "config.json of a member: mac canary:Thing, in crossplay")
def _(place: Place) -> list[str]:
    place.configure(place.pool / "iql_0", mac="canary:Thing")
    place.manifest(config_sha256="")
    return place.crossplay()


@attack("pool", "config.json of a member changed")
def _(place: Place) -> list[str]:
    place.configure(place.pool / "iql_0", gamma=0.5)
    return place.against()


@attack("pool", "agent.th of a member: pickled command")
def _(place: Place) -> list[str]:
    file = place.pool / "iql_0" / "agent.th"
    torch.save({"x": Pickled(place.executed)}, file)
    place.manifest(sha256=digest(file))
    return place.crossplay()


@attack("pool", "pool.yaml: a name of two lines")
def _(place: Place) -> list[str]:
    place.manifest(name="iql\nerror: all is well")
    return place.against()


@attack("pool", "made from a run whose name is ../../outside/x")
def _(place: Place) -> list[str]:
    place.configure(name="../../outside/x")
    return ["pool", "--env-config=simple_tag", "with", f"runs=[{place.run}]", place.out]


@attack("pool", "made from a run whose agent.th is a link outside")
def _(place: Place) -> list[str]:
    (place.checkpoint / "agent.th").unlink()
    (place.checkpoint / "agent.th").symlink_to(place.outside / "kept")
    return ["pool", "--env-config=simple_tag", "with", f"runs=[{place.run}]", place.out]


@attack("checkpoint", "config.json of a run in crossplay: env canary:Thing")
def _(place: Place) -> list[str]:
    place.configure(place.player / "checkpoints" / "100", env="canary:Thing")
    return place.crossplay()


@attack("checkpoint", "config.json: pool /dev/zero")
def _(place: Place) -> list[str]:
    place.configure(place.player / "checkpoints" / "100", pool="/dev/zero")
    return ["evaluate", "with", f"checkpoint_path={place.player}"]


@attack("checkpoint", "source of a training, vae.th a pickled command")
def _(place: Place) -> list[str]:
    torch.save({"x": Pickled(place.executed)}, place.checkpoint / "vae.th")
    return ["--config=omg", "--env-config=simple_tag", "with", f"source={place.run}", *TINY]


@attack("configuration", "!!python/object/apply")
def _(place: Place) -> list[str]:
    (place.cwd / "mine.yaml").write_text(
        f"extends: iql\nlr: !!python/object/apply:os.system ['touch {place.executed}']"
    )
    return ["print_config", "--config=./mine.yaml"]


@attack("configuration", "10,000 nested lists")
def _(place: Place) -> list[str]:
    (place.cwd / "mine.yaml").write_text("extends: iql\nlr: " + "[" * 10_000 + "]" * 10_000)
    return ["print_config", "--config=./mine.yaml"]


@attack("configuration", "200,000 keys")
def _(place: Place) -> list[str]:
    (place.cwd / "mine.yaml").write_text("extends: iql\n" + "".join(f"a{i}: 1\n" for i in range(200_000)))
    return ["print_config", "--config=./mine.yaml"]


@attack("metrics", "metrics.jsonl: a line of 180 MB")
def _(place: Place) -> list[str]:
    filled(place.run / "metrics.jsonl", '{"x": ', 30_000_000)
    return place.compare()


@attack("metrics", "metrics.jsonl: nested lines and huge numbers")
def _(place: Place) -> list[str]:
    lines = ["[" * 10**5, '{"t_env": ' * 900 + "1" + "}" * 900, f'{{"t_env": 1{"0" * 400}, "kl": 1}}',
             f'{{"t_env": 5, "vae_kl_loss": 1{"0" * 400}, "vae_recon_loss": {"9" * 5000}}}']  # fmt: skip
    with (place.run / "metrics.jsonl").open("a") as file:
        file.write("\n".join(lines) + "\n")
    return place.diagnose()


@attack("metrics", "metrics.jsonl: names that are paths, formulas and escapes")
def _(place: Place) -> list[str]:
    names = ["../../outside/vae_kl_loss", "$\\frac$", "\x1b]0;x\x07", "vae_recon_loss", "a\nb"]
    lines = [json.dumps({"t_env": 10 * i, **dict.fromkeys(names, 1.0 / (i + 1))}) for i in range(50)]
    (place.run / "metrics.jsonl").write_text("\n".join(lines) + "\n")
    return place.diagnose()


@attack("metrics", "metrics.json of Sacred: nested")
def _(place: Place) -> list[str]:
    (place.run / "metrics.jsonl").unlink()
    (place.run / "metrics.json").write_text('{"a": ' * 10**6)
    return place.compare()


@attack("metrics", "config.json and run.json of 100 MB, nested, diagnosed")
def _(place: Place) -> list[str]:
    for name in ("config.json", "run.json"):
        (place.run / name).unlink()
        filled(place.run / name, '{"a": ', 20_000_000)
    return place.diagnose()


@attack("metrics", "config.json: label and name are paths and formulas")
def _(place: Place) -> list[str]:
    place.configure(
        place.run, label="../../outside/$x^$", name="../../outside/x", env="a:b", env_args={"key": "../x"}
    )
    return place.compare()


@attack("metrics", "CSV: a field of 50 MB")
def _(place: Place) -> list[str]:
    file = place.files / "progress.csv"
    file.write_text("step,kl,recon\n1,")
    filled(file, "9", 50_000_000)
    return place.diagnose(file)


@attack("metrics", "TensorBoard: a record that states 2^62 bytes")
def _(place: Place) -> list[str]:
    file = place.files / "tb" / "events.out.tfevents.1.x"
    file.parent.mkdir()
    file.write_bytes(struct.pack("<QI", 2**62, 0) + bytes(100))
    return place.diagnose(file.parent)


@attack("metrics", "diagnosis.json is a link outside")
def _(place: Place) -> list[str]:
    lines = [json.dumps({"t_env": 10 * i, "vae_kl_loss": 1.0, "vae_recon_loss": 9.0 / (i + 1)}) for i in range(50)]
    (place.run / "metrics.jsonl").write_text("\n".join(lines) + "\n")
    for name in ("diagnosis.json", "diagnosis.png", "suggested.yaml"):
        (place.run / name).symlink_to(place.outside / "kept")
    return place.diagnose()


@dataclass(frozen=True)
class Outcome:
    """What one attack did."""

    executed: bool
    outside: list[str]  # files that were written, changed or removed outside the attack's folders
    traceback: bool
    last_line: str
    code: int
    seconds: float
    megabytes: float

    @property
    def harmless(self) -> bool:
        refused = self.code != 1 or self.last_line.startswith("error: ")
        return not (self.executed or self.outside or self.traceback) and self.code in (0, 1) and refused


def contents(folder: Path) -> dict[str, str]:
    """The digest of every file below a folder."""
    files = (path for path in folder.rglob("*") if path.is_file() and path.name != "executed")
    return {str(path.relative_to(folder)): digest(path) for path in files}


def command(words: list[str], cwd: Path, site: Path) -> tuple[int, str, float, float]:
    """Runs a command; returns its exit status, its output, its seconds and its peak memory in MB."""
    paths = os.pathsep.join([str(site), str(ROOT / "typings"), os.environ.get("PYTHONPATH", "")])
    variables = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONWARNINGS": "ignore", "PYTHONPATH": paths}
    begun = time.monotonic()
    with tempfile.TemporaryFile() as output:
        line = [sys.executable, str(ROOT / "main.py"), *words]
        process = subprocess.Popen(line, cwd=cwd, stdout=output, stderr=subprocess.STDOUT, env=variables)
        while True:
            pid, status, usage = os.wait4(process.pid, os.WNOHANG)
            if pid:
                break
            if time.monotonic() - begun > LIMIT:
                process.kill()
            time.sleep(0.05)
        process.returncode = os.waitstatus_to_exitcode(status)
        output.seek(0)
        text = output.read().decode(errors="replace")
    return process.returncode, text, time.monotonic() - begun, usage.ru_maxrss / 1024


def play(name: str, base: Path, folder: Path) -> Outcome:
    """Makes one attack."""
    place = Place(base, folder)
    words = ATTACKS[name][1](place)
    before = contents(folder.parent)
    code, text, seconds, megabytes = command(words, place.cwd, place.site)
    own = (f"{folder.name}/files/", f"{folder.name}/cwd/", f"{folder.name}/site/__pycache__/")
    after = contents(folder.parent)
    changed = sorted(f for f in {*before, *after} if before.get(f) != after.get(f) and not f.startswith(own))
    lines = [line for line in text.splitlines() if line.strip()] or [""]
    errors = [line for line in lines if line.startswith("error: ")]
    last = (errors[-1] if errors else lines[-1]).replace(f"{place.folder}/", "")
    return Outcome(place.executed.exists(), changed, "Traceback" in text, last, code, seconds, megabytes)


def honest(folder: Path) -> None:
    """A run, a pool of its agents and a run against the pool."""
    site = folder / "site"
    for words in (
        ["--config=iql", "--env-config=simple_tag", "with", *TINY, "local_results_path=a"],
        ["pool", "--env-config=simple_tag", "with", "runs=[a]", "out=pool"],
        ["--config=ppo_history", "--env-config=simple_tag", "with", "pool=pool", *TINY, "local_results_path=b"],
    ):
        code, text, _, _ = command(words, folder, site)
        if code:
            raise SystemExit(f"an honest command failed: {text}")
    for source, name in (("a", "run"), ("b", "player")):
        (run,) = [file.parent for file in (folder / source).glob("sacred/*/*/*/run.json")]
        shutil.move(run, folder / name)
        shutil.rmtree(folder / source)


def table(outcomes: dict[str, Outcome]) -> str:
    """The outcomes as Markdown."""
    bad = [name for name, outcome in outcomes.items() if not outcome.harmless]
    executed = sum(outcome.executed for outcome in outcomes.values())
    outside = sum(bool(outcome.outside) for outcome in outcomes.values())
    tracebacks = sum(outcome.traceback for outcome in outcomes.values())
    lines = [
        f"{len(outcomes)} hostile files: {executed} executed, {outside} wrote outside their folder, "
        f"{tracebacks} ended in a traceback, {len(bad)} failed in any way.",
        "",
        "| used as | attack | exit | the command's line | s | MB |",
        "|---|---|---|---|---|---|",
    ]
    for name, o in outcomes.items():
        fault = "" if o.harmless else f"**executed={o.executed} outside={o.outside} traceback={o.traceback}** "
        line = o.last_line.replace("|", "\\|")[:240]
        lines.append(
            f"| {ATTACKS[name][0]} | {name} | {o.code} | {fault}{line} | {o.seconds:.0f} | {o.megabytes:.0f} |"
        )
    return "\n".join(lines) + "\n"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", default="", help="only attacks whose name contains this text")
    parser.add_argument("--out", default="", help="the file of the table")
    asked = parser.parse_args()
    outcomes: dict[str, Outcome] = {}
    with tempfile.TemporaryDirectory() as scratch:
        base = Path(scratch, "honest")
        base.mkdir()
        honest(base)
        for i, name in enumerate(name for name in ATTACKS if asked.only in name):
            folder = Path(scratch, str(i), "case")
            outcomes[name] = play(name, base, folder)
            shutil.rmtree(folder.parent)
            print(
                f"{'ok ' if outcomes[name].harmless else 'BAD'} {name}: {outcomes[name].last_line[:200]}", flush=True
            )
    text = table(outcomes)
    print(text)
    if asked.out:
        Path(asked.out).write_text(text, encoding="utf-8")
    raise SystemExit(any(not outcome.harmless for outcome in outcomes.values()))


if __name__ == "__main__":
    main()
