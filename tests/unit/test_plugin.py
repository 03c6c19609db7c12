"""The plugin's changes to a PyMARL fork, their removal, and refused forks."""

from collections import Counter
from pathlib import Path

import pytest
import yaml
from omarl.plugin import PluginConfig, plugin
from omarl.types import ConfigError

REGISTRY = """from .q_learner import QLearner
from .qtran_learner import QLearner as QTranLearner
from .coma_learner import COMALearner

REGISTRY = {}

REGISTRY["q_learner"] = QLearner
REGISTRY["qtran_learner"] = QTranLearner
REGISTRY["coma_learner"] = COMALearner
"""
IQL = """# --- IQL ---
action_selector: "epsilon_greedy"
epsilon_finish: 0.05
runner: "episode"
learner: "q_learner"
double_q: True
mixer: # none
name: "iql"
"""


@pytest.fixture(params=["src", "", "pymarlzooplus"])
def host(request, tmp_path):
    """The known layouts of forks: src/ (PyMARL, EPyMARL), the root itself, a package named as the fork."""
    root = tmp_path / "pymarlzooplus"
    package = root / request.param if request.param else root
    (package / "learners").mkdir(parents=True)
    (package / "config" / "algs").mkdir(parents=True)
    (package / "learners" / "__init__.py").write_text(REGISTRY)
    (package / "config" / "algs" / "iql.yaml").write_text(IQL)
    (package / "config" / "algs" / "qtran.yaml").write_text(IQL.replace("q_learner", "qtran_learner"))
    return root, package


def files(root):
    return {str(p.relative_to(root)): p.read_text() for p in sorted(root.rglob("*")) if p.is_file()}


def test_without_apply_the_plugin_only_prints_the_changes(host):
    root, package = host
    before = files(root)
    message = plugin(PluginConfig(host=str(root)))
    assert files(root) == before
    assert 'REGISTRY["omg_vae_learner"] = OMGVAELearner' in message
    assert str(package / "learners" / "__init__.py") in message


def test_apply_adds_two_lines_and_a_yaml(host):
    root, package = host
    plugin(PluginConfig(host=str(root), apply=True))
    text = (package / "learners" / "__init__.py").read_text()
    assert text.startswith(REGISTRY.rstrip()) and len(text.splitlines()) == len(REGISTRY.splitlines()) + 3
    values = yaml.safe_load((package / "config" / "algs" / "omg_vae.yaml").read_text())
    assert values["learner"] == "omg_vae_learner" and values["base_learner"] == "learners.q_learner:QLearner"
    assert values["name"] == "omg_vae" and values["double_q"] is True and values["omg_vae_alpha"] == 0.01
    assert values["mixer"] is None and values["vae_watch"] == "off"


USERS = ("vae_lr", "omg_vae_alpha", "optim_alpha", "grad_norm_clip", "learner_log_interval")


def written(package):
    """The YAML, and each key with the number of lines that set it."""
    text = (package / "config" / "algs" / "omg_vae.yaml").read_text()
    counts = Counter(line.partition(":")[0] for line in text.splitlines() if line and line[0] not in "# ")
    return yaml.safe_load(text), counts


def test_the_yaml_sets_each_key_of_the_vae_once(host):
    root, package = host
    iql = package / "config" / "algs" / "iql.yaml"
    iql.write_text(IQL + "learner_log_interval: 10000\ngrad_norm_clip: 10\n")
    plugin(PluginConfig(host=str(root), apply=True))
    values, counts = written(package)
    assert {key: values[key] for key in USERS} == {
        "vae_lr": 2e-4, "omg_vae_alpha": 0.01, "optim_alpha": 0.9, "grad_norm_clip": 10, "learner_log_interval": 1000,
    }  # fmt: skip
    assert set(counts.values()) == {1}


def test_a_key_that_the_hosts_learner_reads_keeps_the_hosts_value(host):
    root, package = host
    (package / "config" / "default.yaml").write_text("optim_alpha: 0.99\ngrad_norm_clip: 5\nlr: 0.0005\n")
    learner = package / "learners" / "q_learner.py"
    learner.write_text("clip_grad_norm_(self.params, self.args.grad_norm_clip)\n")
    plugin(PluginConfig(host=str(root), apply=True))
    values, _ = written(package)
    assert (values["optim_alpha"], values["grad_norm_clip"]) == (0.9, 5)
    plugin(PluginConfig(host=str(root), undo=True))
    learner.write_text("RMSprop(params=self.params, lr=args.lr, alpha=args.optim_alpha)\n")
    plugin(PluginConfig(host=str(root), apply=True))
    values, _ = written(package)
    assert (values["optim_alpha"], values["grad_norm_clip"]) == (0.99, 10)


def test_a_second_apply_changes_nothing_and_undo_restores_every_file(host):
    root, _ = host
    before = files(root)
    plugin(PluginConfig(host=str(root), apply=True))
    once = files(root)
    assert "already there" in plugin(PluginConfig(host=str(root), apply=True))
    assert files(root) == once != before
    plugin(PluginConfig(host=str(root), undo=True))
    assert files(root) == before
    assert plugin(PluginConfig(host=str(root), undo=True)) == "there is nothing to undo"


def test_a_learner_imported_under_another_name_is_found(host):
    root, package = host
    plugin(PluginConfig(host=str(root), apply=True, base="qtran"))
    values = yaml.safe_load((package / "config" / "algs" / "omg_vae.yaml").read_text())
    assert values["base_learner"] == "learners.qtran_learner:QLearner"


def test_undo_keeps_the_users_changes(host):
    root, package = host
    plugin(PluginConfig(host=str(root), apply=True))
    generated = package / "config" / "algs" / "omg_vae.yaml"
    generated.write_text(generated.read_text().replace("vae_lr: 0.0002", "vae_lr: 0.001"))
    registry = package / "learners" / "__init__.py"
    registry.write_text(registry.read_text() + 'REGISTRY["mine"] = QLearner\n')
    assert "left as it is" in plugin(PluginConfig(host=str(root), apply=True))
    message = plugin(PluginConfig(host=str(root), undo=True))
    assert "kept, because you have changed it" in message and "vae_lr: 0.001" in generated.read_text()
    text = registry.read_text()
    assert 'REGISTRY["mine"]' in text and "omarl" not in text


def test_a_foreign_yaml_is_not_overwritten(host):
    root, package = host
    foreign = package / "config" / "algs" / "omg_vae.yaml"
    foreign.write_text("name: other\n")
    before = {path: path.read_bytes() for path in root.rglob("*") if path.is_file()}
    with pytest.raises(ConfigError, match="was not written by omarl"):
        plugin(PluginConfig(host=str(root), apply=True))
    assert {path: path.read_bytes() for path in root.rglob("*") if path.is_file()} == before
    assert foreign.read_text() == "name: other\n"


def damage(package, fault):
    registry, iql = package / "learners" / "__init__.py", package / "config" / "algs" / "iql.yaml"
    if fault == "no registry":
        registry.write_text("LEARNERS = {}\n")
    if fault == "not registered":
        registry.write_text("REGISTRY = {}\n")
    if fault == "not imported":
        registry.write_text('REGISTRY = {}\nREGISTRY["q_learner"] = QLearner\n')
    if fault == "no learner":
        iql.write_text("name: iql\n")
    if fault == "no yaml":
        iql.write_text("a: [\n")
    if fault == "no algorithms":
        for path in iql.parent.iterdir():
            path.unlink()


@pytest.mark.parametrize(
    ("fault", "message"),
    [
        ("no registry", "has no REGISTRY"),
        ("not registered", "does not register the learner 'q_learner'"),
        ("not imported", "does not import QLearner"),
        ("no learner", "names no learner"),
        ("no yaml", "is not YAML"),
        ("no algorithms", "holds no algorithm's YAML"),
    ],
)
def test_a_fork_that_cannot_be_interpreted_is_refused_and_left_unchanged(host, fault, message):
    root, package = host
    damage(package, fault)
    before = files(root)
    with pytest.raises(ConfigError, match=message):
        plugin(PluginConfig(host=str(root), apply=True))
    assert files(root) == before


@pytest.mark.parametrize(
    ("config", "message"),
    [
        (PluginConfig(), "host: give the fork's folder"),
        (PluginConfig(host="/nowhere"), "there is no folder"),
        (PluginConfig(host=str(Path(__file__).parent)), "is not a PyMARL fork"),
        (PluginConfig(host="/tmp", apply=True, undo=True), "contradict each other"),
    ],
)
def test_wrong_keys_are_refused(config, message):
    with pytest.raises(ConfigError, match=message):
        plugin(config)


def test_an_unknown_base_lists_the_known_ones(host):
    with pytest.raises(ConfigError, match=r"no qmix.yaml \(known: iql, qtran\)"):
        plugin(PluginConfig(host=str(host[0]), base="qmix"))


def test_a_registry_that_is_a_dictionary_literal_is_extended(host):
    """As in pymarlzooplus, whose modules are imported by the package's name."""
    root, package = host
    (package / "learners" / "__init__.py").write_text(
        'from .q_learner import QLearner\n\nREGISTRY = {\n    "q_learner": QLearner,\n}\n'
    )
    (package / "main.py").write_text(f"from {package.name}.run import run\n")
    message = plugin(PluginConfig(host=str(root), apply=True))
    values = yaml.safe_load((package / "config" / "algs" / "omg_vae.yaml").read_text())
    assert values["base_learner"] == f"{package.name}.learners.q_learner:QLearner"
    inside = "" if package == root else f"{package.name}/"
    assert f"python {inside}main.py --config=omg_vae" in message


def test_undo_and_a_second_apply_find_a_yaml_with_another_base(host):
    root, _ = host
    before = files(root)
    plugin(PluginConfig(host=str(root), apply=True, base="qtran"))
    once = files(root)
    plugin(PluginConfig(host=str(root), apply=True))  # without the key base
    assert files(root) == once
    plugin(PluginConfig(host=str(root), undo=True))
    assert files(root) == before
