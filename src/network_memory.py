"""Estimates of the numbers that networks and their updates hold, for the memory of a run (``budget``)."""

from collections.abc import Iterator
from typing import Any, NamedTuple

import numpy as np

from .modules.encoder import MOST, Sizes, encoded_sizes
from .modules.vae import code_size
from .registry import resolve
from .types import EnvInfo

WORD = 4  # bytes of a number
COPIES = 5  # of a trained parameter: value, gradient, Adam's two moments, and a target network or a temporary copy
# Numbers of each row of an update, fitted to measured peaks: of each input feature; of each unit of a recurrent
# network and of a feed-forward one, with gradient and without
PER_INPUT = 4
PER_UNIT = {("recurrent", True): 14, ("recurrent", False): 6, ("feed-forward", True): 4, ("feed-forward", False): 3}
# With an encoder: of each pixel and each number of its layers, with gradient; and of each pixel that a target network
# reads
PER_PIXEL, PER_TARGET = 1.3, 3
DECODED = 32  # numbers of the VAE's decoder for each pixel, at most


class Layer(NamedTuple):
    """The first layer of a network, and the encoder in front of it, if any."""

    width: int
    inputs: int
    encoded: Sizes
    is_recurrent: bool
    trained: int  # rows with gradient
    all_rows: int  # rows without


class Numbers(NamedTuple):
    """How many numbers are held."""

    parameters: int  # with all their copies
    update: int  # intermediate results, at the peak


def numbers_of_networks(c: Any, info: EnvInfo) -> Numbers:
    """The estimate for the configuration ``c``.

    The peak is the sum of the peaks of networks without images. With images, it is the largest of all passes with
    gradient together, of a pass without, which holds pixels but only parts of the layers, and of the VAE's update.
    """
    layers = [*_layers(c, info)]
    parameters = 0
    for of in layers:
        recurrent = 6 if of.is_recurrent else 2
        parameters += of.encoded.parameters + of.encoded.outputs * of.width + recurrent * of.width**2
    groups = info.n_agents if c.share_parameters == "none" else len({*info.agent_types})
    window, largest = _images_of_vae(c, info)
    peak, graphs = _subgoals(c, info) + window, 0
    for layer in layers:
        with_gradient, without = _rows(layer, True), _rows(layer, False)
        if not layer.encoded.numbers:
            peak += max(with_gradient, without)
            continue
        # the target network of a learner from replay runs while the graph is kept
        targets = layer.trained * PER_TARGET * layer.inputs if c.runner == "episode" else 0
        graphs += layer.trained * int(PER_PIXEL * layer.encoded.numbers) + targets
        largest = max(largest, layer.all_rows * PER_INPUT * layer.inputs)
    images = max(graphs, largest)
    return Numbers(COPIES * groups * parameters, peak + images + (MOST if images else 0))


def _rows(layer: Layer, grad: bool) -> int:
    """The numbers of all rows of a pass without images."""
    kind = "recurrent" if layer.is_recurrent else "feed-forward"
    rows = layer.trained if grad else layer.all_rows
    return rows * (PER_INPUT * layer.inputs + PER_UNIT[kind, grad] * layer.width)


def _subgoals(c: Any, info: EnvInfo) -> int:
    """The candidates of OMG's subgoal, their codes and their values."""
    if not c.omg_horizon:
        return 0
    candidates = c.batch_size_run * c.rollout_steps * c.omg_horizon
    code = 2 * (info.state_shape + c.vae_hidden_dim)
    latents = code_size(c.vae_latent_dim, info.state_shape)
    value = info.n_agents * (3 * c.hidden_dim + info.obs_shape + latents)
    return candidates * (max(code, value) + info.n_agents * latents)


def _layers(c: Any, info: EnvInfo) -> Iterator[Layer]:
    n, obs, state = info.n_agents, info.obs_shape, info.state_shape
    from_replay, steps = c.runner == "episode", _steps(c, info)
    part = steps if from_replay else -(-steps // c.minibatches)
    size = obs + info.n_actions + n
    seen = encoded_sizes(c.encoder, info, "obs", size)
    yield Layer(c.hidden_dim, size, seen, bool(c.use_rnn), part * n, max(steps, c.batch_size_run) * n)
    if c.mac == "model_mac" and seen.numbers:  # its head encodes observations, too
        yield Layer(c.hidden_dim, size, seen, False, part * n, steps * n)
    whole = encoded_sizes(c.encoder, info, "state", state)
    if c.critic_hidden_dim:
        yield Layer(c.critic_hidden_dim, *_of_critic(c, info, whole), bool(c.critic_use_rnn), part * n, steps * n)
    if c.mixer == "qmix" and whole.numbers:
        yield Layer(c.hypernet_embed, state, whole, False, steps, steps)
    if c.opponent_model:
        model: Any = resolve("opponent_model", c.opponent_model)
        streams = model.streams(info) if hasattr(model, "streams") else 1
        rows = c.batch_size_run * (c.rollout_steps * c.model_window + 1) * n * streams
        inputs = obs if streams == 1 else 0
        read = encoded_sizes(c.encoder, info, "obs", obs) if inputs else Sizes(0)
        more = model.further_inputs(c, info) if hasattr(model, "further_inputs") else 0
        read = read._replace(outputs=read.outputs + more)
        yield Layer(c.model_hidden_dim, inputs + more, read, True, -(-rows // c.model_minibatches), rows)
    if "vae" in c.learner:
        vae = _of_vae(c, info, steps)
        yield vae._replace(trained=0, all_rows=0) if _are_bytes(c, info) else vae  # see ``_images_of_vae``


def _steps(c: Any, info: EnvInfo) -> int:
    """The steps of a batch or rollout."""
    if c.runner == "episode":
        return c.batch_size * (info.episode_limit + 1)
    return c.batch_size_run * (c.rollout_steps + 1)


def _of_critic(c: Any, info: EnvInfo, whole: Sizes) -> tuple[int, Sizes]:
    """Inputs and encoder. A state that is an image is encoded once for all agents, if the critic reads it."""
    n, obs = info.n_agents, info.obs_shape
    inputs = obs + n + whole.outputs
    if whole.numbers:
        whole = whole if c.critic == "central" else Sizes(0)
        inputs = obs + n + whole.outputs + (info.state_shape // n if whole.numbers else 0)
    seen = encoded_sizes(c.encoder, info, "obs", obs + n)
    return inputs, Sizes(seen.outputs + whole.outputs, seen.numbers + whole.numbers // n,
                         seen.parameters + whole.parameters)  # fmt: skip


def _of_vae(c: Any, info: EnvInfo, steps: int) -> Layer:
    size, rows = (info.state_shape, steps) if c.vae_input == "state" else (info.obs_shape, steps * info.n_agents)
    stored, width = rows * c.vae_window, c.vae_hidden_dim
    trained, encoded = c.vae_batch_states or stored, encoded_sizes(c.vae_encoder, info, c.vae_input, size)
    if encoded.numbers:
        encoded = encoded._replace(numbers=encoded.numbers + DECODED * size)
    unit = PER_UNIT["feed-forward", False]  # the window has PER_INPUT numbers of each feature
    window = stored * PER_INPUT * size // (PER_INPUT * size + unit * width)
    return Layer(width, size, encoded, False, trained, max(rows, window))


def _are_bytes(c: Any, info: EnvInfo) -> bool:
    return (info.state_dtype if c.vae_input == "state" else info.obs_dtype) is np.uint8


def _images_of_vae(c: Any, info: EnvInfo) -> tuple[int, int]:
    """The VAE's last batches of pixels, three times while a new one is added; and its update, or what it measures."""
    if "vae" not in c.learner or not _are_bytes(c, info):
        return 0, 0
    layer = _of_vae(c, info, _steps(c, info))
    size = info.state_shape if c.vae_input == "state" else info.obs_shape * info.n_agents
    window = 3 * (c.vae_window + 1) * _steps(c, info) * size // WORD
    return window, layer.trained * int(PER_PIXEL * layer.encoded.numbers) + 4 * MOST
