"""Types of features: inferred from states and spaces, corrected by later states, written by the user."""

import math

import numpy as np
import pytest
import torch
from gymnasium import spaces
from omarl.components.feature_types import (
    BERNOULLI,
    CATEGORICAL,
    CONSTANT,
    GAUSSIAN,
    contradicted,
    corrected,
    infer,
    parse,
    regrouped,
)
from omarl.components.likelihood import GAIN_LIMIT
from omarl.components.state_features import StateFeatures
from omarl.types import Block, ConfigError
from omarl.utils.space_blocks import blocks_of_space, padded


def one_hot(n_groups, size, rows=300, seed=0):
    chosen = torch.randint(0, size, (rows, n_groups), generator=torch.Generator().manual_seed(seed))
    return torch.nn.functional.one_hot(chosen, size).float()  # [rows, groups, size]


def sizes(types):
    return [len(group) for group in types.groups()]


def test_planes_side_by_side_are_one_hot_groups():
    assert sizes(infer(one_hot(5, 16).flatten(1))) == [16] * 5


def test_planes_on_the_last_axis_are_one_hot_groups():
    states = one_hot(5, 16).transpose(1, 2).flatten(1)
    types = infer(states)
    assert sizes(types) == [16] * 5
    assert types.groups()[0].tolist() == list(range(0, 80, 5))


def test_all_types_are_found_side_by_side():
    rows = 300
    bits = torch.zeros(rows, 2)
    bits[::3, 0], bits[::7, 1] = 1, 1
    states = torch.cat([torch.randn(rows, 2), bits, one_hot(1, 6)[:, 0], torch.full((rows, 1), 4.0)], dim=1)
    types = infer(states)
    assert types.kind.tolist() == [GAUSSIAN] * 2 + [BERNOULLI] * 2 + [CATEGORICAL] * 6 + [CONSTANT]
    assert types.value[-1] == 4.0
    assert types.describe() == "11 features: 1 one-hot group of 6, 2 binary, 2 Gaussian, 1 constant"


def test_counts_are_no_bits():
    assert infer(torch.randint(0, 3, (200, 2)).float()).kind.tolist() == [GAUSSIAN] * 2


def test_a_bit_that_a_space_declares_is_no_constant():
    states = torch.zeros(50, 3)
    assert infer(states).kind.tolist() == [CONSTANT] * 3
    assert infer(states, [Block(3, "binary")]).kind.tolist() == [BERNOULLI] * 3


def test_a_group_with_places_never_seen_is_cut_where_the_grid_says():
    states = one_hot(3, 16, rows=12).flatten(1)
    assert sizes(infer(states, [Block(48, "number", (3, 4, 4))])) == [16] * 3


def test_a_door_that_opens_is_no_constant_any_more():
    states = torch.cat([torch.randn(100, 2), torch.zeros(100, 1)], dim=1)
    types = infer(states)
    later = states.clone()
    later[3, 2] = 1.0
    wrong = contradicted(types, later).any(dim=0)
    assert wrong.tolist() == [False, False, True]
    assert corrected(types, torch.cat([states, later]), wrong).kind.tolist() == [GAUSSIAN, GAUSSIAN, BERNOULLI]


def test_two_ones_make_bits_of_one_group_alone():
    states = one_hot(2, 6).flatten(1)
    types = infer(states)
    later = states.clone()
    later[0, :6] = 1.0
    wrong = contradicted(types, later).any(dim=0)
    fixed = corrected(types, torch.cat([states, later]), wrong)
    assert fixed.kind.tolist() == [BERNOULLI] * 6 + [CATEGORICAL] * 6


def test_a_bit_with_another_value_is_gaussian():
    states = (torch.rand(100, 2, generator=torch.Generator().manual_seed(0)) < 0.5).float()
    types = infer(states)
    later = states.clone()
    later[0, 1] = 0.5
    fixed = corrected(types, torch.cat([states, later]), contradicted(types, later).any(dim=0))
    assert fixed.kind.tolist() == [BERNOULLI, GAUSSIAN]


def test_what_two_agents_see_alike_counts_once():
    own = one_hot(2, 5).flatten(1)
    states = torch.cat([own, own], dim=1)
    types = infer(states)
    assert types.source.tolist() == [*range(10), *range(10)]
    assert sizes(types) == [5, 5]
    later = states.clone()
    later[0, 10:15] = torch.roll(later[0, 10:15], 1)
    wrong = contradicted(types, later)
    assert wrong.nonzero()[:, 0].unique().tolist() == [0] and set(wrong.nonzero()[:, 1].tolist()) <= set(
        range(10, 15)
    )
    freed = regrouped(types, torch.cat([states, later]), (), range(4))
    assert freed.source.tolist() == [*range(15), *range(5, 10)]
    assert sizes(freed) == [5, 5, 5]


def test_copies_are_found_although_most_places_were_never_seen():
    """Places that were never 1 equal one another, in whatever group they are."""
    own = one_hot(3, 16, rows=8).flatten(1)
    types = infer(torch.cat([own, own], dim=1), [Block(96, "number", (6, 4, 4))])
    assert types.source.tolist() == [*range(48), *range(48)]


def test_groups_that_few_states_suggest_are_corrected_as_more_are_seen():
    """One-hot or nothing: while the third group has always had a 1, it looks like a group."""
    groups, rows = one_hot(3, 4, rows=400, seed=1), torch.arange(400)
    groups[:, 1] = torch.where((rows < 100)[:, None], torch.eye(4)[0], groups[:, 1])  # only place 0 is seen at first
    features = StateFeatures(12, (), "auto", "", is_typed=True, is_standardised=True)
    for batch in groups.flatten(1).split(50):
        features.observe(batch)
    assert sizes(features.types) == [4, 4, 4]
    assert features.types.groups()[1].tolist() == [4, 5, 6, 7]


def test_what_has_contradicted_a_type_once_is_never_forgotten():
    """Two features look alike again and again in what is kept of many states."""
    bit = (torch.arange(4000) % 2).float()
    states = torch.stack([bit, bit], dim=1)
    states[2500, 1] = 1 - states[2500, 1]
    features = StateFeatures(2, (), "auto", "", is_typed=True, is_standardised=True)
    for batch in states.split(500):
        features.observe(batch)
    assert features.types.source.tolist() == [0, 1]
    types = regrouped(features.types, features.evidence, (), range(4))
    assert types.source.tolist() == [0, 1]


def test_gaussian_copies_count_each():
    states = torch.randn(50, 2)
    assert infer(torch.cat([states, states], dim=1)).source.tolist() == [0, 1, 2, 3]


def test_types_are_read_as_the_user_writes_them():
    types = parse("2*categorical(3), bernoulli, 2 * gaussian, constant", 10)
    assert types.kind.tolist() == [CATEGORICAL] * 6 + [BERNOULLI, GAUSSIAN, GAUSSIAN, CONSTANT]
    assert sizes(types) == [3, 3]


@pytest.mark.parametrize(
    ("text", "says"), [("2*gaussian", "names 2 features, the VAE's data have 3"), ("binary", "cannot read 'binary'")]
)
def test_types_that_do_not_fit_get_one_line(text, says):
    with pytest.raises(ConfigError, match="vae_feature_types: .*" + says.replace("(", r"\(")):
        parse(text, 3)


@pytest.mark.parametrize(
    ("space", "kinds", "size"),
    [
        (spaces.Discrete(5), ["one_hot"], 5),
        (spaces.MultiBinary(4), ["binary"], 4),
        (spaces.MultiDiscrete([2, 3]), ["one_hot", "one_hot"], 5),
        (spaces.Box(0, 1, (2, 3, 3), np.int8), ["binary"], 18),
        (spaces.Box(0, 1, (4,), np.float32), ["number"], 4),
        (spaces.Box(0, 255, (4, 4, 3), np.uint8), ["image"], 48),
        (spaces.Dict({"a": spaces.Discrete(2), "b": spaces.Box(-1, 1, (3,))}), ["one_hot", "number"], 5),
        (spaces.Tuple([spaces.MultiBinary(2), spaces.Discrete(3)]), ["binary", "one_hot"], 5),
    ],
)
def test_spaces_declare_their_features(space, kinds, size):
    blocks = blocks_of_space(space)
    assert [block.kind for block in blocks] == kinds
    assert sum(block.size for block in blocks) == size
    assert sum(block.size for block in padded(blocks, size + 2)) == size + 2


def test_a_plane_with_one_count_has_no_bits():
    """Counts of a grid's cells: most cells have never held two. A plane of walls beside them consists of bits."""
    states = (torch.rand(300, 2, 3, 3, generator=torch.Generator().manual_seed(0)) < 0.3).float()
    states[0, 1, 0, 2] = 2.0
    blocks = [Block(2), Block(18, "number", (2, 3, 3))]
    rows = torch.cat([states[:, 0, 0, :2], states.flatten(1)], dim=1)
    assert infer(rows, blocks).kind.tolist() == [BERNOULLI] * 11 + [GAUSSIAN] * 9
    assert infer(rows).kind.tolist().count(GAUSSIAN) == 1
    last = torch.cat([rows[:, :2], states.permute(0, 2, 3, 1).flatten(1)], dim=1)  # channels on the last axis
    kinds = infer(last, [Block(2), Block(18, "number", (3, 3, 2))]).kind
    assert kinds[2:].reshape(9, 2).unique(dim=0).tolist() == [[BERNOULLI, GAUSSIAN]]


def test_a_rare_bit_is_scaled_as_much_in_the_inputs_as_in_the_outputs():
    """A bit of frequency 1/400 is 20 standard deviations away; a real number is clipped at 10."""
    states = torch.zeros(1600, 2)
    states[:4, 0], states[:4, 1] = 1.0, 1.5
    features = StateFeatures(2, (), "auto", "", is_typed=True, is_standardised=True)
    features.observe(states)
    bit, number = features.inputs(states)[0].tolist()
    assert bit == pytest.approx(math.sqrt(399), rel=1e-3) and number == 10.0
    assert float(features.likelihood.bit_gain) == pytest.approx(20.0, rel=0.01)
    rarer = StateFeatures(1, (), "auto", "", is_typed=True, is_standardised=True)
    rarer.observe(states[3:, :1])  # a frequency of 1/1597
    assert float(rarer.inputs(torch.ones(1, 1))) == float(rarer.likelihood.bit_gain) == GAIN_LIMIT


def test_a_checkpoint_keeps_its_scale_of_rare_bits():
    states = torch.zeros(1600, 1)
    states[:4] = 1.0
    features, again = (StateFeatures(1, (), "auto", "", is_typed=True, is_standardised=True) for _ in range(2))
    features.observe(states)
    saved = features.state_dict()
    again.load_state_dict(saved)
    assert torch.equal(again.inputs(states), features.inputs(states))
    old = {name: value for name, value in saved.items() if name != "gain_limit"}  # made when all were clipped at 10
    again.load_state_dict(old)
    assert float(again.inputs(states).max()) == float(again.likelihood.bit_gain) == 10.0
    assert again.state_dict()["gain_limit"] == 10.0
