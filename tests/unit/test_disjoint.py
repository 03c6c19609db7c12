"""Components of opponents: scripts by their game, checkpoints by their training run, and what splits share."""

import json
from dataclasses import replace

import pytest
import yaml
from omarl import disjoint, pooling
from omarl.games.foraging.scripts import ForagingScripts
from omarl.games.tag.scripts import PATROLS, ROUNDS, TagScripts, is_stray
from omarl.opponents.pool import Member, Pool, digest, read_pool, write_pool
from omarl.types import ConfigError

TAG = {"key": "mpe2.simple_tag_v3", "backend": "batched"}
FORAGING = {"env": "gymnasium", "env_args": {"key": "lbforaging:Foraging-8x8-2p-3f-v3"}}


def scripts(split, *names):
    found = [name.partition(":") for name in names]
    return [Member(":".join(filter(None, (name, noise))), "script", "scripted", split, script=name,
                   noise=float(noise or 0)) for name, _, noise in found]  # fmt: skip


def pool_with(folder, *members):
    return Pool(folder, "pettingzoo", TAG, tuple(members))


def shared(members, game=TagScripts):
    """For each pair of splits that share components: the opponents and the components."""
    found = disjoint.overlaps(disjoint.components_of(pool_with(None, *members), game))
    return {(o.split, o.other): {member.name: parts for member, parts in o.shared.items()} for o in found}


def test_predators_prey_and_every_round_are_components():
    assert TagScripts.components("guard+flee") == ("predators guard", "prey flee")
    assert TagScripts.components("guard+zigzag")[2:] == ("round NE-SW-SE-NW",)
    assert len(TagScripts.components("inside+pair_any")) == 2 + 28
    assert TagScripts.components("guard+stray_sides") == TagScripts.components("guard+stray")


def test_a_component_in_two_splits_affects_exactly_the_opponents_that_have_it():
    members = [*scripts("train", "guard+pair_corners", "centre+stray"), *scripts("validation", "north+elbow"),
               *scripts("test", "guard+windmill", "chase+stray_sides", "chase+bow", "north+bow")]  # fmt: skip
    assert shared(members) == {
        ("test", "train"): {"guard+windmill": ("predators guard",), "chase+stray_sides": ("prey stray",)},
        ("test", "validation"): {"north+bow": ("predators north",)},
    }


def test_one_round_under_two_names_is_one_component():
    """``rising`` is one of the rounds of ``pair_corners``; ``pair_corners`` is a part of ``pair_any``."""
    found = shared([*scripts("train", "guard+pair_corners"), *scripts("test", "chase+rising", "chase+pair_any")])
    assert found["test", "train"]["chase+rising"] == ("round NE-SW",)
    assert len(found["test", "train"]["chase+pair_any"]) == 6


def test_different_rounds_have_different_names():
    single = [name for name in ROUNDS if not is_stray(name)]
    assert len({TagScripts.components(f"guard+{name}")[2] for name in single}) == len(single)
    for name, rounds in PATROLS.items():
        assert len({*TagScripts.components(f"guard+{name}")[2:]}) == len(rounds)


def test_a_script_shares_its_component_with_its_noisy_variants():
    members = [*scripts("train", "west", "random"), *scripts("test", "west:0.2", "east:0.2")]
    assert shared(members, ForagingScripts) == {("test", "train"): {"west:0.2": ("west",)}}


def test_splits_without_common_components_are_disjoint():
    members = [*scripts("train", "guard+pair_corners"), *scripts("test", "chase+pair_sides")]
    assert shared(members) == {}
    disjoint.check_disjoint([])


def checkpoint(folder, name, split, config):
    """A member with its files."""
    (folder / name).mkdir(parents=True)
    agents, settings = folder / name / "agent.th", folder / name / "config.json"
    agents.write_bytes(name.encode())
    settings.write_text(json.dumps(config))
    return Member(name, config["name"], "checkpoint", split, file=f"{name}/agent.th", sha256=digest(agents),
                  config_sha256=digest(settings), run=disjoint.run_of(config))  # fmt: skip


IQL = {"name": "iql", "seed": 1, "lr": 0.001, "t_max": 1000, "local_results_path": "here"}


@pytest.mark.parametrize("change, same", [
    ({}, True), ({"t_max": 2000, "local_results_path": "there", "test_interval": 7}, True),
    ({"seed": 2}, False), ({"lr": 0.002}, False), ({"name": "vdn"}, False),
])  # fmt: skip
def test_a_run_is_its_configuration_and_seed_but_not_its_folder_length_or_tests(change, same):
    assert (disjoint.run_of({**IQL, **change}) == disjoint.run_of(IQL)) is same


def test_checkpoints_of_one_run_share_it_also_in_a_pool_whose_manifest_has_no_runs(tmp_path):
    members = [checkpoint(tmp_path, "young", "train", IQL), checkpoint(tmp_path, "old", "test", IQL),
               checkpoint(tmp_path, "other", "test", {**IQL, "seed": 2})]  # fmt: skip
    write_pool(tmp_path, "pettingzoo", TAG, members, "")
    now = pooling.overlaps_of(read_pool(tmp_path))
    manifest = yaml.safe_load((tmp_path / "pool.yaml").read_text())
    for entry in manifest["opponents"]:
        del entry["run"]
    (tmp_path / "pool.yaml").write_text(yaml.safe_dump(manifest))
    before = pooling.overlaps_of(read_pool(tmp_path))
    for found in (now, before):
        (overlap,) = found
        assert [member.name for member in overlap.shared] == ["old"] and overlap.size == 2
        assert overlap.components == (f"run {members[0].run}",) and overlap.keys == ("test_runs",)


def test_the_command_reports_shared_components_and_can_refuse_them(tmp_path):
    named = {
        **FORAGING,
        "scripts": ["west", "east"],
        "test_scripts": ["west:0.1", "last"],
        "out": str(tmp_path / "a"),
    }
    line = "1 of 2 test opponents share components with train opponents: west:0.1 (west)"
    assert pooling.described(named).splitlines()[-1] == line
    with pytest.raises(ConfigError) as error:
        pooling.described({**named, "out": str(tmp_path / "b"), "disjoint": True})
    assert str(error.value) == f"disjoint: {line}; change test_scripts, or leave disjoint out"
    assert not (tmp_path / "b").exists()
    with pytest.raises(ConfigError, match=r"^disjoint: 1 of 2"):
        pooling.described({**FORAGING, "pool": str(tmp_path / "a"), "disjoint": True})
    with pytest.raises(ConfigError, match=r"^pool: describes .* as it is; leave pool out, or leave out scripts"):
        pooling.described({**named, "pool": str(tmp_path / "a")})
    apart = {**named, "test_scripts": ["first", "last"], "out": str(tmp_path / "c"), "disjoint": True}
    assert pooling.described(apart).splitlines()[-1] == "no opponents of two splits share components"


def test_long_lists_are_cut():
    members = scripts("test", *(f"guard+{prey}" for prey in ("flee", "hide", "back", "centre", "circle", "opposite")))
    found = disjoint.Overlap("test", "train", dict.fromkeys(members, ("predators guard",)), 9)
    assert str(found).endswith("guard+flee, guard+hide, guard+back, guard+centre and 2 more (predators guard)")
    mixed = found._replace(shared={**found.shared, replace(members[0], kind="checkpoint", name="x"): ("run",)})
    assert mixed.keys == ("test_scripts", "test_runs")
