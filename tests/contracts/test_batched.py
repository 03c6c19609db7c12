"""Array environments against the packages they stand for, transition by transition."""

import gymnasium
import lbforaging  # noqa: F401  (registers its environments)
import numpy as np
import pytest
from mpe2 import simple_spread_v3, simple_tag_v3
from omarl.envs.make import make_vec_env
from omarl.types import ConfigError

# Levels, sizes, sights, cooperation, penalty and what is shown; 12,000 transitions each.
FORAGING = {
    "Foraging-8x8-2p-3f-v3": {},
    "Foraging-8x8-2p-3f-coop-v3": {},
    "Foraging-2s-8x8-2p-2f-v3": {},
    "Foraging-5x5-4p-1f-v3": {"penalty": 0.1},
    "Foraging-2s-6x6-3p-2f-v3": {"sight": 1},
    "Foraging-2s-7x7-3p-1f-coop-v3": {},
    "Foraging-15x15-8p-4f-v3": {"max_player_level": 4, "normalize_reward": False},
    "Foraging-7x7-3p-2f-v3": {"min_food_level": [1, 3], "max_food_level": [2, 5], "min_player_level": [1, 1, 2],
                              "max_player_level": [1, 3, 3]},
    "Foraging-9x9-4p-3f-v3": {"observe_agent_levels": False, "sight": 3, "field_size": (9, 12)},
}  # fmt: skip
EACH = 12_000


def foraging(key, settings, n_envs):
    return make_vec_env("gymnasium", {"key": f"lbforaging:{key}", "backend": "batched", **settings}, n_envs, 0, 1)


def record(original, wanted, rng):
    """Random play of the original, now and then from a made-up state: what was before, what came of it."""
    before, joint, after = [], [], []
    done = True
    while len(joint) < wanted:
        if done:
            original.reset(seed=int(rng.integers(2**31)))
            if rng.random() < 0.3:
                scatter(original, rng)
        before.append(snapshot(original))
        actions = rng.integers(0, 6, len(original.players))
        actions[rng.random(len(actions)) < 0.5] = 5  # loading is rare by chance
        obs, reward, done, _, _ = original.step(tuple(int(a) for a in actions))
        joint.append(actions)
        after.append((snapshot(original), np.stack(obs), np.array(reward, np.float32), done))
    return before, np.array(joint), after


def scatter(original, rng):
    """Players anywhere but on food, on one another too, at any time of the episode."""
    free = np.argwhere(original.field == 0)
    highest = int(max(original.max_player_level))  # the package refuses to show more
    beside = [
        (r + dr, c + dc) for r, c in np.argwhere(original.field) for dr, dc in ((1, 0), (-1, 0), (0, 1), (0, -1))
    ]
    for player in original.players:
        cells = beside if rng.random() < 0.5 else free
        player.position = tuple(int(x) for x in cells[rng.integers(len(cells))])
        player.level = highest if rng.random() < 0.7 else int(rng.integers(1, highest + 1))
    original.current_step = int(rng.integers(original._max_episode_steps - 1))
    original._gen_valid_moves()


def snapshot(original):
    position = np.array([p.position for p in original.players])
    level = np.array([p.level for p in original.players])
    return original.field.copy(), position, level, original.current_step, original._food_spawned


@pytest.mark.parametrize("key", FORAGING)
def test_foraging_agrees_on_every_transition(key):
    settings = FORAGING[key]
    original = gymnasium.make(key, disable_env_checker=True, **settings).unwrapped
    before, actions, after = record(original, EACH, np.random.default_rng(7))
    env = foraging(key, settings, EACH)
    env.reset()
    game = env._backend
    game.field[...] = [b[0] for b in before]
    game.position[...] = [b[1] for b in before]
    game.level[...] = [b[2] for b in before]
    game.clock[...] = [b[3] for b in before]
    game.spawned[...] = [b[4] for b in before]
    step = env.step(actions)
    done = np.array([a[3] for a in after])
    full = np.array([a[0][0].any() for a in after])
    np.testing.assert_array_equal(step.final.obs, np.stack([a[1] for a in after]))
    np.testing.assert_array_equal(step.final.state, np.stack([a[1].reshape(-1) for a in after]))
    np.testing.assert_array_equal(step.reward, np.stack([a[2] for a in after]))
    np.testing.assert_array_equal(step.terminated, done & ~full)
    np.testing.assert_array_equal(step.truncated, done & full)
    going_on = ~done
    for ours, place in ((game.field, 0), (game.position, 1), (game.clock, 3)):
        np.testing.assert_array_equal(ours[going_on], np.stack([a[0][place] for a in after])[going_on])
    assert step.final.avail.all() and step.final.agent_mask.all()
    assert (step.reward > 0).sum() > 20 and done.sum() > 100 and step.terminated.any()  # there was something to see


def test_foraging_begins_episodes_as_the_package_does():
    """Levels, food and where both stand: frequencies over 4,000 beginnings, four standard errors apart at most."""
    key, settings, n = "Foraging-7x7-3p-2f-v3", FORAGING["Foraging-7x7-3p-2f-v3"], 4000
    original = gymnasium.make(key, disable_env_checker=True, **settings).unwrapped
    theirs = []
    for seed in range(n):
        original.reset(seed=seed if seed == 0 else None)
        theirs.append(snapshot(original))
    env = foraging(key, settings, n)
    env.reset()
    env.reset()  # so that old positions are there to be avoided
    game = env._backend
    for name, ours, other in (
        ("food levels", game.field.reshape(n, -1), np.stack([t[0] for t in theirs]).reshape(n, -1)),
        ("player levels", game.level, np.stack([t[2] for t in theirs])),
        ("rows", game.position[..., 0], np.stack([t[1] for t in theirs])[..., 0]),
        ("columns", game.position[..., 1], np.stack([t[1] for t in theirs])[..., 1]),
    ):
        for value in np.unique(other):
            a, b = (ours == value).mean(axis=0), (other == value).mean(axis=0)
            error = np.sqrt(2 * np.maximum(b * (1 - b), 1 / n) / n)
            assert (np.abs(a - b) < 4.5 * error).all(), (name, value)
        assert set(np.unique(ours)) == set(np.unique(other)), name


PARTICLES = {
    "tag": (simple_tag_v3, {}),
    "tag_many": (simple_tag_v3, {"num_good": 2, "num_adversaries": 4, "num_obstacles": 3, "max_cycles": 40}),
    "tag_until_caught": (simple_tag_v3, {"terminate_on_success": True, "max_cycles": 50}),
    "spread": (simple_spread_v3, {}),
    "spread_five": (simple_spread_v3, {"N": 5, "local_ratio": 0.2, "max_cycles": 30}),
    "tag_continuous": (simple_tag_v3, {"continuous_actions": True}),
    "spread_continuous": (simple_spread_v3, {"continuous_actions": True}),
    "spread_until_covered": (simple_spread_v3, {"N": 1, "terminate_on_success": True, "local_ratio": 1.0}),
}
EPISODES = 100


@pytest.mark.parametrize("name", PARTICLES)
def test_particles_agree_along_whole_episodes(name):
    module, settings = PARTICLES[name]
    rng = np.random.default_rng(3)
    key = module.__name__.rsplit(".", 1)[-1]
    env = make_vec_env("pettingzoo", {"key": f"mpe2.{key}", "backend": "batched", **settings}, EPISODES, 0, 1)
    env.reset()
    game, agents = env._backend, env.info.agents
    originals = [module.parallel_env(**settings) for _ in range(EPISODES)]
    crowd = 0.3  # close together, so that bodies touch
    for e, original in enumerate(originals):
        original.reset(seed=e)
        world = original.unwrapped.world
        for k, entity in enumerate(world.entities):
            entity.state.p_pos = entity.state.p_pos * (crowd if e % 2 else 1.3)
            game.position[e, k] = entity.state.p_pos
        for i, agent in enumerate(world.agents):
            agent.state.p_vel = rng.normal(size=2)
            game.velocity[e, i] = agent.state.p_vel
    going = np.ones(EPISODES, bool)
    rewards, seen, endings = [], 0, set()
    for _ in range(env.info.episode_limit):
        actions = rng.integers(0, 5, (EPISODES, len(agents)))
        theirs = actions.astype(object)
        if "continuous" in name:  # -1 to 1 stands for the package's 0 to 1; numbers beyond are clipped
            actions = rng.normal(size=(EPISODES, len(agents), 5)).astype(np.float32)
            theirs = np.clip(0.5 + 0.5 * actions.astype(float), 0, 1).astype(np.float32)
        step = env.step(actions)
        rewards.append(step.reward.copy())
        for e in np.flatnonzero(going):
            joint = dict(zip(agents, theirs[e], strict=True))
            obs, reward, terminated, truncated, _ = originals[e].step(joint)
            seen += 1
            for i, agent in enumerate(agents):
                size = env.info.obs_sizes[i]
                np.testing.assert_allclose(step.final.obs[e, i, :size], obs[agent], atol=1e-5)
                assert not step.final.obs[e, i, size:].any()
                assert step.reward[e, i] == pytest.approx(reward[agent], abs=1e-5)
            np.testing.assert_allclose(step.final.state[e], originals[e].state(), atol=1e-5)
            assert step.terminated[e] == all(terminated.values())
            assert step.truncated[e] == all(truncated.values())
            going[e] = not (step.terminated[e] or step.truncated[e])
            endings.add("terminated" if step.terminated[e] else "truncated" if step.truncated[e] else "")
    assert not going.any() and seen >= 20 * EPISODES / (4 if "until" in name else 1)
    assert ("until" in name) == ("terminated" in endings)
    if "tag" in name:
        assert (np.concatenate(rewards) >= 10).any()  # somebody was caught


def test_particles_begin_where_the_package_begins():
    env = make_vec_env("pettingzoo", {"key": "mpe2.simple_tag_v3"}, 20_000, 0, 1)
    env.reset()
    position, edge = env._backend.position, np.array([1.0] * 4 + [0.9] * 2)
    assert np.abs(position.mean(axis=0)).max() < 0.02
    np.testing.assert_allclose(np.abs(position).max(axis=(0, 2)), edge, atol=1e-3)
    np.testing.assert_allclose(position.std(axis=(0, 2)), edge / np.sqrt(3), atol=0.01)
    assert not env._backend.velocity.any()


def play(env, steps, seed=0):
    rng = np.random.default_rng(seed)
    obs = [env.reset().obs.copy()]
    for _ in range(steps):
        step = env.step(rng.integers(0, env.info.n_actions, (env.n_envs, env.info.n_agents)))
        obs.append(np.concatenate([step.final.obs, step.observation.obs]))
    return np.concatenate(obs)


@pytest.mark.parametrize(
    ("env", "key"), [("gymnasium", "lbforaging:Foraging-8x8-2p-3f-v3"), ("pettingzoo", "mpe2.simple_tag_v3")]
)
def test_seeds_decide_and_neighbours_do_not(env, key):
    def made(n, seed):
        return make_vec_env(env, {"key": key, "backend": "batched"}, n, 0, seed)

    np.testing.assert_array_equal(play(made(4, 1), 60), play(made(4, 1), 60))
    assert (play(made(4, 1), 60) != play(made(4, 2), 60)).any()
    few, many = made(2, 5), made(6, 5)
    few.reset(), many.reset()
    for _ in range(120):  # over several episodes
        actions = np.ones((6, few.info.n_agents), np.int64)
        a, b = few.step(actions[:2]), many.step(actions)
        np.testing.assert_array_equal(a.observation.obs, b.observation.obs[:2])


@pytest.mark.parametrize(
    ("env", "key"), [("gymnasium", "lbforaging:Foraging-8x8-2p-3f-v3"), ("pettingzoo", "mpe2.simple_spread_v3")]
)
def test_both_backends_look_the_same(env, key):
    batched = make_vec_env(env, {"key": key}, 2, 0, 1)
    original = make_vec_env(env, {"key": key, "backend": "pettingzoo"}, 2, 0, 1)
    assert batched.how == "as arrays" and original.how == "in this process"
    assert batched.info == original.info
    a, b = batched.reset(), original.reset()
    for ours, theirs in zip(a, b, strict=True):
        assert (ours.shape, ours.dtype) == (theirs.shape, theirs.dtype)
    for _ in range(batched.info.episode_limit):
        actions = np.zeros((2, batched.info.n_agents), np.int64)
        a, b = batched.step(actions), original.step(actions)
        masks_and_flags = [(*step.final[2:], *step.observation[2:], *step[3:5]) for step in (a, b)]
        for ours, theirs in zip(*masks_and_flags, strict=True):
            np.testing.assert_array_equal(ours, theirs)
    assert a.truncated.all()


def test_a_shorter_limit_of_ours_truncates():
    env = make_vec_env("pettingzoo", {"key": "mpe2.simple_tag_v3", "episode_limit": 7}, 3, 0, 1)
    env.reset()
    ended = [env.step(np.zeros((3, 4), np.int64)).truncated.copy() for _ in range(14)]
    assert [bool(e.all()) for e in ended] == [False] * 6 + [True] + [False] * 6 + [True]


@pytest.mark.parametrize(
    ("env", "args", "what"),
    [
        ("pettingzoo", {"key": "mpe2.simple_tag_v3", "curriculum": True}, "curriculum"),
        ("pettingzoo", {"key": "mpe2.simple_spread_v3", "num_agent_neighbors": 1}, "num_agent_neighbors"),
        ("pettingzoo", {"key": "mpe2.simple_push_v3"}, "no array version"),
    ],
)
def test_what_arrays_do_not_know_goes_to_the_package(env, args, what):
    with pytest.raises(ConfigError, match=f"env_args.backend: .*{what}"):
        make_vec_env(env, {**args, "backend": "batched"}, 2, 0, 1)
    made = make_vec_env(env, args, 2, 0, 1)
    assert made.how == "in this process"
    made.close()


def a_changed_tag():
    env = simple_tag_v3.parallel_env()
    env.unwrapped.world.agents[0].u_noise = 0.5
    return env


def test_what_somebody_has_changed_is_left_to_them():
    assert make_vec_env("test_batched:a_changed_tag", {}, 2, 0, 1).how == "in this process"


def test_an_unknown_backend_is_named():
    with pytest.raises(ConfigError, match=r"env_args.backend: 'jax' is none of auto, batched, pettingzoo"):
        make_vec_env("pettingzoo", {"key": "mpe2.simple_tag_v3", "backend": "jax"}, 2, 0, 1)


def test_time_runs_out_before_success_counts():
    """As in mpe2: on the last step an episode is cut off, whatever has been reached."""
    args = {"key": "mpe2.simple_spread_v3", "N": 1, "terminate_on_success": True, "max_cycles": 2}
    env = make_vec_env("pettingzoo", {**args, "backend": "batched"}, 2, 0, 1)
    env.reset()
    game = env._backend
    game.position[:], game.velocity[:] = 0.0, 0.0
    game.clock[1] = 1
    step = env.step(np.zeros((2, 1), np.int64))
    assert step.terminated.tolist() == [True, False] and step.truncated.tolist() == [False, True]
