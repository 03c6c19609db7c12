"""The encoder of images and grids, and where networks use it."""

from types import SimpleNamespace

import pytest
import torch
from fakes import args_for, env_info
from omarl.components.episode_batch import make_scheme
from omarl.controllers.basic_controller import BasicMAC
from omarl.modules import encoder
from omarl.modules.agents.rnn_agent import RNNAgent
from omarl.modules.critics.value_critic import ValueCritic
from omarl.modules.encoder import Encoder, as_features, as_stored, encoded_sizes, encoder_for, grids_of
from omarl.modules.mixers.qmix import QMixer
from omarl.types import Block, ConfigError
from torch.nn import functional as F

IMAGE = Block(20 * 24 * 3, "image", (20, 24, 3))
GRID = Block(7 * 7 * 3, "number", (7, 7, 3))


def info_with(obs, state=(), **changes):
    sizes = sum(block.size for block in obs), sum(block.size for block in state) or 4
    return env_info(obs_shape=sizes[0], obs_sizes=(sizes[0],) * 2, state_shape=sizes[1], obs_blocks=(tuple(obs),) * 2,
                    state_blocks=tuple(state), **changes)  # fmt: skip


def test_a_grid_is_read_as_minatars_network_reads_it():
    network = Encoder(grids_of([Block(2), GRID]), 152)
    rows = torch.randn(5, 152)
    layer = network.convolutions[0][0]
    planes = rows[:, 2:149].view(5, 7, 7, 3).permute(0, 3, 1, 2)
    expected = F.relu(F.conv2d(planes, layer.weight, layer.bias)).flatten(1)  # 16 channels of 5 x 5
    assert network.size == 16 * 25 + 5
    assert torch.allclose(network(rows), torch.cat([expected, rows[:, :2], rows[:, 149:]], dim=1), atol=1e-6)


def test_an_image_is_read_with_the_strides_of_dqn():
    network = Encoder(grids_of([IMAGE]), IMAGE.size)
    rows = torch.rand(2, 3, IMAGE.size)
    x = rows.view(6, 20, 24, 3).permute(0, 3, 1, 2)
    for index, (stride, padding) in zip((0, 2, 4), ((4, 2), (2, 1), (1, 1)), strict=True):
        layer = network.convolutions[0][index]
        x = F.relu(F.conv2d(x, layer.weight, layer.bias, stride, padding))
    assert x.shape == (6, 64, 2, 3) and network.size == 64 * 2 * 3
    assert torch.allclose(network(rows), x.flatten(1).view(2, 3, -1), atol=1e-6)


@pytest.mark.parametrize("shape", [(7, 7, 3), (3, 7, 7)])
def test_channels_may_be_first_or_last(shape):
    (part,) = grids_of([Block(147, "number", shape)])[0]
    assert part.planes == (3, 7, 7)


def test_images_of_one_size_are_channels_of_one_and_others_are_read_apart():
    blocks = [GRID, Block(25, "image", (5, 5, 1)), GRID, Block(3)]
    network = Encoder(grids_of(blocks), sum(block.size for block in blocks))
    assert [stack[0].in_channels for stack in network.convolutions] == [6, 1]
    rows = torch.randn(4, 147 * 2 + 28)
    swapped = torch.cat([rows[:, 172:319], rows[:, 147:172], rows[:, :147], rows[:, 319:]], dim=1)
    weight = network.convolutions[0][0].weight
    before = network(rows)
    weight.data = torch.cat([weight.data[:, 3:], weight.data[:, :3]], dim=1)
    assert torch.allclose(network(swapped), before, atol=1e-5)


def test_without_gradients_rows_pass_in_parts_with_the_same_result(monkeypatch):
    network, rows = Encoder(grids_of([GRID]), 150), torch.randn(9, 150)
    with_gradient = network(rows)
    monkeypatch.setattr(encoder, "MOST", 2 * network.numbers)
    calls = []
    network.convolutions[0].register_forward_hook(lambda *_: calls.append(1))
    with torch.no_grad():
        assert torch.allclose(network(rows), with_gradient, atol=1e-6)
    assert len(calls) == 5


def test_rows_stored_by_time_keep_their_layout():
    network, by_time = Encoder(grids_of([GRID]), 147), torch.randn(3, 4, 147)
    out = network(by_time.transpose(0, 1))
    assert out.transpose(0, 1).is_contiguous()
    assert torch.equal(out, network(by_time.transpose(0, 1).contiguous()))


def test_every_byte_becomes_its_share_of_255_and_back():
    rows = torch.arange(256, dtype=torch.uint8)
    assert torch.equal(as_features(rows), torch.arange(256) / 255)
    assert torch.equal(as_stored(as_features(rows), torch.uint8), rows)
    assert as_features(torch.ones(2)).dtype == torch.float32


@pytest.mark.parametrize(
    ("wanted", "obs", "is_convolutional"),
    [("auto", GRID, True), ("cnn", GRID, True), ("mlp", GRID, False), ("auto", Block(30, "number", (10, 3)), False),
     ("auto", Block(8, "number", (2, 2, 2)), False)],
)  # fmt: skip
def test_convolutions_are_chosen_for_grids(wanted, obs, is_convolutional):
    args = args_for(info := info_with([obs]), env_info=info, encoder=wanted)
    network, size = encoder_for(args, "obs", obs.size + 2)
    assert isinstance(network, Encoder) == is_convolutional
    assert network(torch.zeros(3, obs.size + 2)).shape == (3, size)
    assert encoded_sizes(wanted, info, "obs", obs.size + 2).outputs == size


def test_convolutions_without_a_grid_are_refused_and_a_host_without_spaces_gets_linear_layers():
    info = info_with([Block(3)])
    with pytest.raises(ConfigError, match=r"^encoder: cnn needs observations with an image or grid"):
        encoder_for(args_for(info, env_info=info, encoder="cnn"), "obs", 3)
    assert encoder_for({"n_agents": 2}, "obs", 3)[1] == 3


def test_sizes_are_those_of_the_network_and_draw_no_random_numbers():
    info, state = info_with([IMAGE]), torch.get_rng_state()
    sizes = encoded_sizes("auto", info, "obs", IMAGE.size + 4)
    assert torch.equal(torch.get_rng_state(), state)
    network = Encoder(grids_of([IMAGE]), IMAGE.size + 4)
    assert sizes.parameters == sum(p.numel() for p in network.parameters())
    assert sizes.numbers == IMAGE.size + 4 + 32 * 5 * 6 + 2 * 64 * 2 * 3


def test_an_agent_steps_and_unrolls_alike_behind_its_encoder():
    info = info_with([GRID])
    agent = RNNAgent(GRID.size + 5, args_for(info, env_info=info))
    rows = torch.randn(3, 4, GRID.size + 5)
    along, last = agent.unroll(rows, agent.init_hidden().expand(3, -1))
    hidden = agent.init_hidden().expand(3, -1)
    for t in range(4):
        out, hidden = agent(rows[:, t], hidden)
        assert torch.allclose(out, along[:, t], atol=1e-5)
    assert torch.allclose(hidden, last, atol=1e-5)


def test_agents_of_each_kind_read_their_own_images():
    """Predators observe 7x7x3, preys 6x6x3 and padding."""
    small = Block(108, "number", (6, 6, 3))
    info = env_info(obs_shape=147, obs_sizes=(147, 108), obs_blocks=((GRID,), (small, Block(39))),
                    agent_types=("a_0", "a_1"))  # fmt: skip
    mac = BasicMAC(*make_scheme(info, False), args_for(info, env_info=info))
    shapes = [agent.encoder.groups[0][0].planes for agent in mac.agents]
    assert shapes == [(3, 7, 7), (3, 6, 6)]


def test_a_central_critic_reads_the_state_once_for_all_agents():
    info = info_with([GRID], [IMAGE])
    scheme, _ = make_scheme(info, False)
    critic = ValueCritic(scheme, args_for(info, env_info=info, critic="central"))
    rows = []
    critic.state_encoder.register_forward_hook(lambda _, given, __: rows.append(given[0].shape))
    values = critic(torch.randn(4, 2, 147), torch.rand(4, IMAGE.size))
    assert values.shape == (4, 2) and rows == [(4, IMAGE.size)]
    other = critic(torch.zeros(4, 2, 147), torch.rand(4, IMAGE.size))
    assert not torch.allclose(other, critic(torch.zeros(4, 2, 147), torch.rand(4, IMAGE.size)))


def test_the_mixer_reads_the_image_of_the_state():
    info = info_with([GRID], [IMAGE])
    mixer = QMixer(IMAGE.size, args_for(info, env_info=info))
    values, state = torch.randn(5, 2), torch.rand(5, IMAGE.size)
    state.requires_grad_()
    mixer(values, state).sum().backward()
    assert mixer.weight1[0].in_features == mixer.encoder.size and state.grad.abs().sum() > 0


def test_the_arguments_of_a_mapping_are_read():
    info = info_with([GRID])
    assert (
        encoder_for({"env_info": info}, "obs", 147)[1] == encoder_for(SimpleNamespace(env_info=info), "obs", 147)[1]
    )
