import json
from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace

import pytest
from omarl.config.files import CONFIG_DIR, find, read_chain, read_yaml
from omarl.config.schema import key, read
from omarl.configuration.layers import COMMAND_LINE, Layers, complete, complete_all, from_files
from omarl.configuration.parts import collect
from omarl.experiment import configuration
from omarl.learners.omg_vae_learner import OMGVAEConfig
from omarl.run import RunConfig
from omarl.types import ConfigError


def configured(*words):
    return configuration(["main.py", *words]).values


def refused(*words):
    with pytest.raises(ConfigError) as error:
        configured(*words)
    message = str(error.value)
    assert "\n" not in message
    return message


def test_omg_vae_has_the_documented_values():
    c = configured("--config=omg_vae")
    assert c["omg_vae_alpha"] == 0.01 and c["vae_alpha_ramp"] > 0
    assert c["vae_lr"] == 2e-4 and c["vae_optimiser"] == "adam" and c["vae_betas"] == [0.5, 0.999]
    assert c["optim_alpha"] == 0.9 and c["grad_norm_clip"] == 10
    assert c["vae_latent_dim"] == 0 and c["vae_linear_path"] and c["vae_window"] == 8
    assert c["vae_mu_l2"] == 0.0 and c["learner_log_interval"] == 1000
    assert c["env_args"]["key"] == "mpe2.simple_tag_v3"


def test_omg_vae_yaml_equals_the_defaults_of_its_class():
    """So a host without the YAML trains the same VAE."""
    shipped = from_files("omg_vae", None).values
    assert read(OMGVAEConfig, {}) == read(OMGVAEConfig, shipped)


def test_iql_trains_the_same_agents_as_omg_vae():
    iql, vae = configured("--config=iql"), configured("--config=omg_vae")
    own = {f for f in iql if not f.startswith(("vae", "omg"))} - {"name", "learner", "optim_alpha"}
    assert {k: iql[k] for k in own} == {k: vae[k] for k in own}


@pytest.mark.parametrize("path", sorted(CONFIG_DIR.glob("*/*.yaml")), ids=lambda p: p.stem)
def test_every_shipped_file_is_valid(path: Path):
    if read_yaml(path).get("env") == "jaxmarl":
        pytest.importorskip("jax", reason="an extra")
    option = "--config" if path.parent.name == "algs" else "--env-config"
    assert configured(f"{option}={path.stem}")["t_max"] > 0
    assert configured(option, str(path))["t_max"] > 0


def test_default_yaml_contains_only_what_differs_from_the_code():
    values = read_yaml(CONFIG_DIR / "default.yaml")
    defaults = collect(RunConfig, values).defaults()
    assert [name for name, value in values.items() if defaults[name] == value] == []


STATED = {"name", "learner", "base_learner", "env"}  # the reader of a file looks for these, whatever the default


@pytest.mark.parametrize("path", sorted(CONFIG_DIR.glob("algs/*.yaml")), ids=lambda p: p.stem)
def test_every_line_of_an_algorithm_changes_a_value(path: Path):
    own = read_yaml(path)
    below = read_chain("algs", own.pop("extends"))[-1:] if "extends" in own else []
    inherited = from_files(below[0][0].stem, None).values if below else {}
    before = collect(RunConfig, {**inherited, **own}).defaults() | inherited
    same = {name for name, value in own.items() if name in before and before[name] == value} - STATED
    # omg_vae lists the defaults of the VAE: see test_omg_vae_yaml_equals_the_defaults_of_its_class
    assert same == set() or path.stem == "omg_vae"


def test_a_file_extends_another(tmp_path):
    (tmp_path / "mine.yaml").write_text("extends: omg_vae\nname: mine\nvae_lr: 1e-4\n")
    (tmp_path / "deeper.yaml").write_text("extends: mine.yaml\nvae_latent_dim: 8\n")
    shipped, c = configured("--config=omg_vae"), configured(f"--config={tmp_path}/deeper.yaml")
    assert c == {**shipped, "name": "mine", "vae_lr": 1e-4, "vae_latent_dim": 8}
    layers = from_files(f"{tmp_path}/deeper.yaml", "simple_tag")
    assert layers.source["vae_lr"].endswith("mine.yaml") and layers.source["vae_betas"] == "omg_vae.yaml"


@pytest.mark.parametrize(
    "text, message",
    [
        ("extends: mine.yaml", "mine.yaml: extends itself"),
        ("extends: omg_va", "mine.yaml: extends: --config=omg_va: no such configuration; did you mean 'omg_vae'?"),
        ("extends: ../nowhere.yaml", "mine.yaml: extends: no configuration file"),
        ("extends: [iql, vdn]", "mine.yaml: extends: give the name or the path of one configuration"),
    ],
)
def test_a_wrong_extends_is_refused(tmp_path, text, message):
    (tmp_path / "mine.yaml").write_text(f"{text}\nname: mine\n")
    assert message in refused(f"--config={tmp_path}/mine.yaml")


def test_later_layers_win(tmp_path):
    (tmp_path / "alg.yaml").write_text("name: mine\nlearner: q_learner\nlr: 1e-3\ngamma: 0.9\nt_max: 7\n")
    (tmp_path / "env.yaml").write_text(
        "env: pettingzoo\nenv_args: {key: mpe2.simple_tag_v3}\nt_max: 5\nbatch_size: 9\n"
    )
    c = configured(f"--config={tmp_path}/alg.yaml", f"--env-config={tmp_path}/env.yaml", "with", "gamma=0.5")
    assert (c["lr"], c["gamma"], c["t_max"], c["batch_size"]) == (1e-3, 0.5, 7, 9)


def test_another_environment_does_not_inherit_the_settings_of_the_default_one():
    """The discount of simple_tag is meant for episodes of 25 steps."""
    assert configured()["gamma"] == configured("with", "env_args.key=mpe2.simple_tag_v3")["gamma"] == 0.9
    c = configured("with", "env_args.key=pettingzoo.sisl.pursuit_v5")
    assert c["gamma"] == 0.99 and c["omg_learners"] == ""


def test_the_command_line_changes_single_env_args():
    c = configured("with", "env_args.max_cycles=7", "env_args.num_good=2")
    assert c["env_args"] == {"key": "mpe2.simple_tag_v3", "max_cycles": 7, "num_good": 2}


def test_another_environment_does_not_inherit_the_arguments_of_the_files():
    c = configured("with", "env_args.key=pettingzoo.classic.tictactoe_v3", "env_args.episode_limit=10")
    assert c["env_args"] == {"key": "pettingzoo.classic.tictactoe_v3", "episode_limit": 10}


def test_the_merge_key_of_yaml_is_read(tmp_path):
    (tmp_path / "a.yaml").write_text("base: &base {lr: 1e-3, gamma: 0.9}\n<<: *base\ngamma: 0.8\n")
    values = read_yaml(tmp_path / "a.yaml")
    assert (values["lr"], values["gamma"]) == (1e-3, 0.8)


def test_scientific_notation_is_read_as_a_number(tmp_path):
    (tmp_path / "a.yaml").write_text(
        "learner: omg_vae_learner\nvae_lr: 1e-4\nt_max: 2e4\nomg_vae_alpha: 1\noptim_eps: 1E-05\n"
    )
    c = configured(f"--config={tmp_path}/a.yaml")
    assert c["vae_lr"] == 1e-4 and c["t_max"] == 20000 and isinstance(c["t_max"], int)
    assert c["omg_vae_alpha"] == 1.0 and isinstance(c["omg_vae_alpha"], float) and c["optim_eps"] == 1e-5
    c = configured("with", "vae_lr=1e-4", "t_max=5e4")
    assert c["vae_lr"] == 1e-4 and c["t_max"] == 50000


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        (["with", "vae_lrr=1"], "vae_lrr: unknown key; did you mean 'vae_lr'? (command line)"),
        (["with", "vae_lr=fast"], "vae_lr: 'fast' is not a number (command line)"),
        (["with", "vae_lr=-1"], "vae_lr: -1.0 is out of range, it must be above 0 (command line)"),
        (["with", "gamma=1.5"], "gamma: 1.5 is out of range, it must be at most 1 (command line)"),
        (["with", "t_max=1.5"], "t_max: 1.5 is not an integer (command line)"),
        (["with", "double_q=1"], "double_q: 1 is not True or False (command line)"),
        (["with", "vae_optimiser=sgd"], "vae_optimiser: 'sgd' is not one of 'adam', 'rmsprop' (command line)"),
        (["with", "vae_betas=0.5"], "vae_betas: 0.5 is not a list of numbers (command line)"),
        (["with", "env_workers=many"], "env_workers: 'many' is not an integer or 'auto' (command line)"),
        (["--config=iql", "with", "vae_lr=1e-4"],
         "vae_lr: no part of this run reads it; it is a key of omg_vae_learner, omg (command line)"),
        (["with", "learner=q_lerner"],
         "learner: unknown name 'q_lerner'; did you mean 'q_learner'? "
         "(known: d3qn_learner, omg_vae_learner, opponent_model_learner, ppo_learner, pqn_learner, "
         "q_learner, team_learner)"),
        (["with", "learner=no.such:Thing"], "learner: cannot import 'no.such' (No module named 'no')"),
        (["with", "learner=omarl.learners.q_learner:QLerner"],
         "learner: module 'omarl.learners.q_learner' has no 'QLerner'; did you mean 'QLearner'?"),
        (["--config=omg_va"],
         "--config=omg_va: no such configuration; did you mean 'omg_vae'? "
         "(known: d3qn, ippo, iql, liam, mappo, meliba, naive_om, object_prediction, omg, omg_paper, omg_paper_ppo, "
         "omg_ppo, omg_vae, omg_vae_ppo, place_prediction, plastic, poam, ppo_history, ppo_transformer, pqn, "
         "pqn_vdn, qmix, teams, vdn)"),
        (["with", "seed=-1"], "seed: -1 is out of range, it must be at least 0 (command line)"),
        (["with", "seed=abc"], "seed: 'abc' is not an integer (command line)"),
        (["with", "vae_betas=[0.5,a]"], "vae_betas: 'a' is not a number (command line)"),
        (["with", "vae_betas=[0.9]"], "vae_betas: [0.9] has 1 values, it needs 2 (command line)"),
        (["with", "name=../x"], "name: '../x' is not a valid folder name (command line)"),
        (["with", "learner=os:path"], "learner: 'os:path' is not a class or function"),
        (["with", "load_step=abc"], "load_step: 'abc' is not an integer"),
        (["evaluate"], "checkpoint_path: evaluate needs one; give a run's directory"),
        (["with", "evaluate=True"], "checkpoint_path: evaluate needs one; give a run's directory"),
        (["--config="], "--config: a name or a path is missing"),
        (["--config"], "--config: a name or a path is missing"),
        (["--config=./nothing.yaml"], "no configuration file ./nothing.yaml"),
        (["with", "vae_lr"], "with: 'vae_lr' is not KEY=VALUE"),
    ],
)  # fmt: skip
def test_a_wrong_command_line_gets_one_line_that_names_the_key(words, expected):
    assert refused(*words) == expected


def test_an_unknown_environment_configuration_gets_a_suggestion():
    message = refused("--env-config=simple_tagg")
    assert "did you mean 'simple_tag'?" in message


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("vae_lr: [1\n", "not valid YAML"),
        ("vae_lr: 1\nvae_lr: 2\n", "the key 'vae_lr' is set twice"),
        ("- a\n- b\n", "holds 'key: value' lines"),
        ("learner: omg_vae_learner\nomg_vae_alfa: 0.1\n", "omg_vae_alfa: unknown key; did you mean 'omg_vae_alpha'?"),
        ("learner: omg_vae_learner\nomg_vae_alpha: lots\n", "omg_vae_alpha: 'lots' is not a number"),
    ],
)
def test_an_error_in_a_file_names_the_file(tmp_path, text, expected):
    path = tmp_path / "bad.yaml"
    path.write_text(text)
    message = refused(f"--config={path}")
    assert expected in message and "bad.yaml" in message


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("extends: iql\nvae_lr: 1e-4\n", "vae_lr: no part of this run reads it; it is a key of omg_vae_learner"),
        ("extends: omg_vae\nlearner: q_learner\nvae_window: 2\n", "vae_window: no part of this run reads it"),
        (
            "extends: iql\nmixing_embed_dim: 8\n",
            "mixing_embed_dim: no part of this run reads it; it is a key of",
        ),
        ("extends: iql\nrollout_steps: 8\n", "rollout_steps: no part of this run reads it; it is a key of "),
    ],
)
def test_a_users_file_may_not_set_a_key_of_a_part_that_the_run_does_not_use(tmp_path, text, message):
    (tmp_path / "mine.yaml").write_text(text)
    found = refused(f"--config={tmp_path}/mine.yaml")
    assert found.startswith(message) and found.endswith(f"({tmp_path}/mine.yaml)")


@pytest.mark.parametrize("algorithm", ["iql", "ippo", "pqn", "liam", "omg_vae", "qmix"])
def test_optim_alpha_of_the_user_is_accepted_in_every_run(algorithm):
    assert configured(f"--config={algorithm}", "with", "optim_alpha=0.9")["optim_alpha"] == 0.9


def test_in_a_sweep_a_key_is_refused_where_none_of_the_runs_reads_it():
    def sweep(**values):
        several = [from_files(name, "simple_tag") for name in ("iql", "ippo")]
        for layers in several:
            layers.add(values, COMMAND_LINE, by_user=True)
        return [layers.values for layers in complete_all(several, RunConfig)]

    iql, ippo = sweep(clip_ratio=0.3, target_update_interval_or_tau=5)
    assert ippo["clip_ratio"] == 0.3 and iql["target_update_interval_or_tau"] == 5
    assert "clip_ratio" not in iql and "target_update_interval_or_tau" not in ippo
    with pytest.raises(ConfigError, match="vae_lr: no part of this run reads it"):
        sweep(vae_lr=1e-4)
    with pytest.raises(ConfigError, match="clip_ration: unknown key; did you mean 'clip_ratio'"):
        sweep(clip_ration=0.3)


def test_another_learner_may_leave_keys_of_the_packaged_file_unread():
    c = configured("--config=omg_vae", "with", "learner=q_learner", "lr=0.1")
    assert c["learner"] == "q_learner" and c["lr"] == 0.1


def test_a_part_that_declares_no_keys_may_read_unknown_keys(tmp_path, monkeypatch):
    (tmp_path / "elsewhere.py").write_text("class XLearner: pass\n")
    monkeypatch.chdir(tmp_path)
    c = configured("--config=iql", "with", "learner=elsewhere:XLearner", "my_temperature=3")
    assert c["my_temperature"] == 3
    message = refused("--config=iql", "with", "learner=elsewhere:XLearner", "batch_siz=3")
    assert "did you mean 'batch_size'" in message


def test_the_declared_keys_of_a_part_from_outside_are_checked(tmp_path, monkeypatch):
    (tmp_path / "declared.py").write_text(
        "from dataclasses import dataclass\n"
        "from omarl.config.schema import key\n"
        "@dataclass(frozen=True)\n"
        "class C:\n"
        "    my_temperature: float = key(1.0, above=0)\n"
        "class YLearner:\n"
        "    Config = C\n"
    )
    monkeypatch.chdir(tmp_path)
    words = ["--config=iql", "with", "learner=declared:YLearner"]
    assert configured(*words)["my_temperature"] == 1.0
    assert "my_temperature: 0.0 is out of range" in refused(*words, "my_temperature=0")
    assert "did you mean 'my_temperature'" in refused(*words, "my_temperatur=2")


def test_read_accepts_namespaces_and_mappings_with_other_keys():
    @dataclass(frozen=True)
    class C:
        a: float = key(1.0)
        b: int = key(2)

    assert read(C, {"a": 3, "z": 1}) == C(3.0, 2) == read(C, SimpleNamespace(a=3.0, z=1))


def test_mutable_defaults_are_not_shared():
    one, other = read(OMGVAEConfig, {}), read(OMGVAEConfig, {})
    one.vae_betas.append(1.0)
    assert other.vae_betas == [0.5, 0.999]


def test_an_unknown_configuration_is_answered_with_the_list():
    with pytest.raises(ConfigError, match="known: d3qn, ippo, iql, liam, mappo, meliba, naive_om, object_pred"):
        find("algs", "zzz")


def test_complete_keeps_a_given_seed():
    layers = from_files("omg_vae", "simple_tag")
    layers.add({"seed": 5}, COMMAND_LINE)
    assert complete(layers, RunConfig).values["seed"] == 5
    assert isinstance(layers, Layers)


def test_a_part_that_declares_no_keys_may_read_keys_of_other_parts():
    words = ["main.py", "--config=iql", "with", "learner=tests.outside:CountingLearner", "lr=0.1", "mixer=None"]
    values = configuration([*words, "learner_log_interval=500"]).values
    assert (values["lr"], values["learner_log_interval"]) == (0.1, 500)
    with pytest.raises(ConfigError, match="t_maxx: unknown key; did you mean 't_max'"):
        configuration([*words, "t_maxx=5"])


def test_by_user_holds_the_keys_of_the_command_line_and_of_the_users_files(tmp_path):
    (tmp_path / "mine.yaml").write_text("extends: omg_vae\noptim_alpha: 0.5\n")
    (tmp_path / "env.yaml").write_text("gamma: 0.5\nlr: 0.5\n")
    words = [f"--config={tmp_path}/mine.yaml", f"--env-config={tmp_path}/env.yaml", "with", "vae_lr=1e-4"]
    # lr of the environment's file is overridden by omg_vae.yaml
    assert configuration(["main.py", *words]).by_user == {"optim_alpha", "gamma", "vae_lr"}
    assert configuration(["main.py", "--config=omg_vae"]).by_user == set()
    checkpoint = tmp_path / "run" / "checkpoints" / "5"
    checkpoint.mkdir(parents=True)
    (checkpoint / "config.json").write_text(json.dumps({"learner": "omg_vae_learner", "optim_alpha": 0.5}))
    (checkpoint / "run.th").write_text("")
    again = configuration(["main.py", "with", f"checkpoint_path={checkpoint}", "t_max=9"])
    assert again.values["optim_alpha"] == 0.5 and again.by_user == {"checkpoint_path", "t_max"}


@pytest.mark.parametrize(
    ("words", "env"),
    [
        (["env_args.key=lbforaging:Foraging-8x8-2p-3f-v3"], "gymnasium"),
        (["env_args.key=CartPole-v1"], "gymnasium"),
        (["env_args.key=sisl/pursuit-v5"], "pettingzoo"),
        (["env_args.key=mpe2.simple_spread_v3"], "pettingzoo"),
        (["env=pettingzoo", "env_args.key=lbforaging:Foraging-8x8-2p-3f-v3"], "pettingzoo"),  # as they say
        ([], "pettingzoo"),
    ],
)
def test_gymnasium_ids_are_recognised(words, env):
    assert configuration(["main.py", "--config=omg_vae", *(["with", *words] if words else [])]).values["env"] == env
