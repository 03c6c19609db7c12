"""Images: their preparation, storage as bytes, stacking."""

from __future__ import annotations

from copy import deepcopy
from typing import Any

import numpy as np
import pytest
import torch
from gymnasium import spaces
from omarl.envs.images import AS_THEY_ARE, Images, area_weights
from omarl.envs.make import make_vec_env
from omarl.envs.spaces import flattener
from omarl.types import ConfigError, EnvError

LIGHTS = "tests.lights:Lights"


def lights(n_envs: int = 2, seed: int = 3, **arguments: Any) -> Any:
    return make_vec_env(LIGHTS, arguments, n_envs, 0, seed)


def random_steps(env: Any, count: int, seed: int = 0) -> list[Any]:
    rng = np.random.default_rng(seed)
    return [deepcopy(env.step(rng.integers(5, size=(env.n_envs, 2)))) for _ in range(count)]


def test_a_part_of_an_axis_is_the_mean_of_its_values_by_their_share() -> None:
    assert area_weights(5, 2) @ np.array([10, 20, 30, 40, 50]) == pytest.approx([18, 42])  # (10 + 20 + 30/2) / 2.5
    assert area_weights(4, 2).tolist() == [[0.5, 0.5, 0, 0], [0, 0, 0.5, 0.5]]
    assert np.array_equal(area_weights(3, 3), np.eye(3))
    assert area_weights(457, 84).sum(axis=1) == pytest.approx(1)


def test_an_image_is_resized_by_area_along_both_sides() -> None:
    image = np.array([[0, 100, 8], [40, 60, 8], [1, 1, 1], [1, 2, 3]], np.uint8)  # 4 x 3 becomes 2 x 2
    prepare = Images((2, 2)).preparation(image.shape)
    assert prepare is not None
    # the first is (0 + 40 + (100 + 60) / 2) / 3 = 40; the second (80 + 16) / 3 = 32; below (2 + 3/2) / 3 = 1.17
    assert prepare(image)[..., 0].tolist() == [[40, 32], [1, 2]]


@pytest.mark.parametrize("first", [False, True])
def test_grey_is_the_luma_of_red_green_and_blue(first: bool) -> None:
    image = np.zeros((5, 4, 3), np.uint8)
    image[0, 0], image[4, 3] = (255, 0, 0), (100, 200, 50)
    prepare = Images(False, grayscale=True).preparation((3, 5, 4) if first else (5, 4, 3))
    assert prepare is not None
    grey = prepare(np.moveaxis(image, -1, 0) if first else image)
    assert grey.shape == (5, 4, 1) and grey[0, 0, 0] == 76 and grey[4, 3, 0] == 153  # 29.9 + 117.4 + 5.7


@pytest.mark.parametrize(
    ("images", "before", "after"),
    [
        (Images(), (457, 120, 3), (84, 22, 3)),
        (Images(), (3, 480, 280), (84, 49, 3)),
        (Images(), (84, 84, 4), (84, 84, 4)),
        (Images(), (200, 100), (84, 42, 1)),
        (Images((10, 12)), (84, 84, 3), (10, 12, 3)),
        (Images(None, True), (84, 84, 3), (84, 84, 1)),
        (AS_THEY_ARE, (457, 120, 3), (457, 120, 3)),
        (Images(), (500,), (500,)),
    ],
)
def test_large_images_shrink_in_proportion_and_others_stay(images: Images, before: Any, after: Any) -> None:
    assert images.shape(before) == after


def test_pixels_are_written_as_bytes_into_bytes_and_as_shares_into_numbers() -> None:
    space = spaces.Box(0, 255, (3, 3), np.uint8)
    image = np.arange(9, dtype=np.uint8).reshape(3, 3)
    size, write = flattener(space)
    as_bytes, as_numbers = np.zeros(size, np.uint8), np.zeros(size, np.float32)
    write(image, as_bytes)
    write(image, as_numbers)
    assert as_bytes.tolist() == list(range(9)) and np.array_equal(as_numbers, np.arange(9, dtype=np.float32) / 255)
    write(image.astype(np.int64), as_bytes)
    with pytest.raises(ValueError, match="no bytes"):
        write(image + 0.5, as_bytes)
    with pytest.raises(ValueError, match="8 numbers instead of 9"):
        write(image.reshape(-1)[:8], as_bytes)


def test_an_environment_of_images_has_bytes_and_one_with_other_numbers_has_not(make: Any) -> None:
    env = lights()
    info, observation = env.info, env.reset()
    assert info.obs_dtype is info.state_dtype is np.uint8
    assert observation.obs.dtype == observation.state.dtype == np.uint8
    assert info.obs_blocks[0][0].shape == info.state_blocks[0].shape == (8, 8, 3)
    assert set(np.unique(observation.obs)) <= {0, 255} and observation.obs.any()
    assert make("Toy").info.obs_dtype is np.float32


@pytest.mark.parametrize("first", [False, True])
def test_resizing_by_a_whole_number_gives_the_original_cells(first: bool) -> None:
    plain, large = lights(), lights(scale=12, channels_first=first, resize=[8, 8])
    assert np.array_equal(plain.reset().obs, large.reset().obs)
    for one, other in zip(random_steps(plain, 8), random_steps(large, 8), strict=True):
        assert np.array_equal(one.final.obs, other.final.obs) and np.array_equal(one.final.state, other.final.state)


def test_a_large_image_becomes_smaller_by_default_and_a_line_says_so() -> None:
    info = lights(scale=12).info
    assert info.obs_shape == 84 * 84 * 3 and info.state_shape == 84 * 84 * 3
    assert info.notes == (
        "env_args.resize: images of 96x96x3 become 84x84x3; set resize=[height,width], or False to keep them",
    )
    assert lights(scale=12, resize=False).info.obs_shape == 96 * 96 * 3 and not lights().info.notes


@pytest.mark.parametrize(
    ("env", "arguments", "message"),
    [
        (LIGHTS, {"resize": [8]}, r"^env_args.resize: \[8\] is not \[height, width\] in pixels$"),
        (LIGHTS, {"resize": "small"}, r"^env_args.resize: 'small' is neither \[height, width\] nor False$"),
        (LIGHTS, {"grayscale": 1}, r"^env_args.grayscale: 1 is neither True nor False$"),
        (LIGHTS, {"frame_stack": 0}, r"^env_args.frame_stack: 0 is not a number of frames of at least 1$"),
        (
            "pettingzoo",
            {"key": "mpe2.simple", "grayscale": True},
            r"^env_args.grayscale: the observations have no im",
        ),
    ],
)
def test_a_wrong_preparation_is_named(env: str, arguments: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        make_vec_env(env, arguments, 1, 0, 0)


@pytest.mark.parametrize("key", ["butterfly/cooperative_pong", "butterfly/pistonball"])
def test_what_moves_is_drawn_without_a_render_mode(make: Any, key: str) -> None:
    env = make("pettingzoo", key=key)
    first, kind = env.reset(), env.info.actions
    before = first.state.copy()
    for _ in range(5):
        step = env.step(np.zeros((1, env.info.n_agents, *kind.shape), kind.dtype))
    assert (step.observation.state != before).any()


def test_an_image_that_is_none_ends_in_one_line() -> None:
    env = lights(side=4)
    env.reset()
    copy = env._backend._copies[0]._adapter.env
    copy._image = lambda moths: np.full((4, 4, 3), 0.5)
    with pytest.raises(EnvError, match=r"the observation of moth_0 has shape \(4, 4, 3\).*no bytes"):
        random_steps(env, 1)


def test_a_stack_has_the_last_frames_and_begins_with_the_first_one_repeated() -> None:
    env = lights(n_envs=1, side=4, counts=True, frame_stack=3)
    assert env.info.obs_shape == 3 * 48 and len(env.info.obs_blocks[0]) == 3 and env.info.frames == 3

    def frames(observation: Any) -> list[int]:
        return observation.obs[0, 0, ::48].tolist()

    assert frames(env.reset()) == [0, 0, 0]
    steps = random_steps(env, 8)
    assert [frames(step.final) for step in steps[:6]] == [
        [0, 0, 1],
        [0, 1, 2],
        [1, 2, 3],
        [2, 3, 4],
        [3, 4, 5],
        [4, 5, 6],
    ]
    assert steps[5].truncated.all() and frames(steps[5].observation) == [0, 0, 0]
    assert [frames(step.observation) for step in steps[6:]] == [[0, 0, 1], [0, 1, 2]]
    assert steps[5].observation.state[0, ::48].tolist() == [0, 0, 0]


def test_the_state_of_stacked_observations_is_their_concatenation(make: Any) -> None:
    env = make_vec_env(
        "pettingzoo", {"key": "mpe2.simple_spread", "frame_stack": 2, "backend": "pettingzoo"}, 1, 0, 0
    )
    env.reset()
    final = random_steps_of(env, 3)
    assert env.info.state_shape == final.obs.size
    assert np.array_equal(final.state[0], final.obs[0].reshape(-1))


def random_steps_of(env: Any, count: int) -> Any:
    for _ in range(count):
        step = env.step(np.ones((env.n_envs, env.info.n_agents), np.int64))
    return step.final


def test_a_stack_continues_after_saving_as_without() -> None:
    keys: dict[str, Any] = {"side": 4, "frame_stack": 4}
    env, again = lights(**keys), lights(**keys)
    env.reset()
    random_steps(env, 4)
    state = env.state_dict()
    assert all(isinstance(stack, torch.Tensor) and stack.dtype == torch.uint8 for stack in state["stacks"])
    assert again.load_state_dict(state).all()
    assert np.array_equal(env.observation().obs, again.observation().obs)
    for one, other in zip(random_steps(env, 7, 1), random_steps(again, 7, 1), strict=True):
        assert np.array_equal(one.final.obs, other.final.obs)
        assert np.array_equal(one.observation.state, other.observation.state)


def test_workers_return_the_same_bytes() -> None:
    alone, workers = lights(scale=12), make_vec_env(LIGHTS, {"scale": 12}, 2, 2, 3)
    try:
        assert np.array_equal(alone.reset().obs, workers.reset().obs)
        for one, other in zip(random_steps(alone, 8), random_steps(workers, 8), strict=True):
            assert np.array_equal(one.observation.obs, other.observation.obs)
    finally:
        workers.close()
