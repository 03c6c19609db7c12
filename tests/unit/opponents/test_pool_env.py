"""The environment with opponents inside: acting agents, information about opponents, recorded episodes."""

import numpy as np
import pytest
import torch
from fakes import args_for, env_info, pool_of
from omarl.components.episode_batch import make_scheme
from omarl.controllers.basic_controller import BasicMAC
from omarl.envs.make import make_vec_env
from omarl.games.tag.scripts import (
    LAPS,
    PATROLS,
    PREDATOR_SCRIPTS,
    PREY_SCRIPTS,
    ROUNDS,
    STOPS,
    THERE,
    is_stray,
    rounds_of,
)
from omarl.notices import notices
from omarl.opponents.frozen import FrozenNetworks
from omarl.opponents.pool import write_pool
from omarl.opponents.pool_env import PoolEnv
from omarl.opponents.results import by_opponent, first_of_each_copy
from omarl.run import TRAIN_STREAM, RunConfig, make_env
from omarl.runners.episode_runner import EpisodeRunner
from omarl.types import ConfigError

KEY = "lbforaging:Foraging-8x8-2p-3f-v3"
NAMES = ("nearest", "farthest", "west")


def foraging(information=("actions",), n_envs=6, in_turn=False, names=NAMES, seed=0, **args):
    env = make_vec_env("gymnasium", {"key": KEY, "backend": "batched", **args}, n_envs, 0, seed)
    return PoolEnv(env, pool_of(*names), "train", ["agent_0"], list(information), seed, in_turn)


def play(env, steps, seed=0):
    rng = np.random.default_rng(seed)
    env.reset()
    return [env.step(rng.integers(0, 6, (env.n_envs, 1))).observation.obs.copy() for _ in range(steps)]


def test_observations_are_of_the_learners_and_end_with_the_information():
    env = foraging(information=("actions", "goal", "offsets"))
    info = env.info
    assert info.agents == ("agent_0",)
    assert info.opponents == ("agent_1",)
    assert info.obs_shape == 15 + 3 * 8 + 6 + 3
    assert [info.information_slice(n) for n in ("offsets", "actions", "goal")] == [
        slice(15, 39),
        slice(39, 45),
        slice(45, 48),
    ]
    seen = env.reset()
    assert seen.obs.shape == (6, 1, 48)
    assert seen.avail.shape == (6, 1, 6)
    assert seen.state.shape == (6, 30)
    with pytest.raises(ConfigError, match="belief is needed"):
        info.information_slice("belief")


def test_the_information_actions_is_the_last_action_of_the_opponent():
    env = foraging(information=("actions", "next_actions", "goal"), n_envs=8, max_food_level=[1, 1, 1])
    env.reset()
    where = env.info.information_slice("actions")
    partial_ends = 0
    for _ in range(60):
        planned = env.actions[:, 1].copy()
        step = env.step(np.zeros((8, 1), np.int64))
        observed = step.final.obs[:, 0, where]
        assert (observed.argmax(axis=1) == planned).all()
        assert (observed.sum(axis=1) == 1).all()
        over = step.terminated | step.truncated
        assert not step.observation.obs[over][:, 0, where].any()  # a new episode has no last action
        assert (step.observation.obs[~over] == step.final.obs[~over]).all()
        partial_ends += bool(over.any() and not over.all())
    assert partial_ends  # some copies ended an episode while others continued


def test_next_actions_are_the_opponents_actions_of_the_next_step():
    env = foraging(information=("actions", "next_actions"))
    seen = env.reset()
    for _ in range(30):
        announced = seen.obs[:, 0, env.info.information_slice("next_actions")].argmax(axis=1)
        step = env.step(np.zeros((6, 1), np.int64))
        assert (step.final.obs[:, 0, env.info.information_slice("actions")].argmax(axis=1) == announced).all()
        seen = step.observation


def tag(information, names, **args):
    arguments = {"key": "mpe2.simple_tag_v3", "backend": "batched", **args}
    env = make_vec_env("pettingzoo", arguments, 6, 0, 0)
    return PoolEnv(env, pool_of(*names), "train", ["adversary_0"], list(information), 0, True)


KNOWN = ("actions", "goal", "belief", "next_actions")


@pytest.mark.parametrize(
    "make, limit",
    [
        (lambda steps: foraging(KNOWN, episode_limit=steps), 5),
        (lambda steps: tag(KNOWN, ["guard+clockwise", "chase+diamond"], max_cycles=steps), 9),
    ],
    ids=["foraging", "tag"],
)
def test_the_last_observation_of_a_truncated_episode_has_the_goals_and_beliefs_of_that_observation(make, limit):
    """They equal those of the same game with a longer time limit, which continues there."""
    short, long = make(limit), make(limit + 5)
    short.reset()
    long.reset()
    before = None
    for t in range(limit):
        moves = np.random.default_rng(t).integers(0, 5, (6, 1))
        last, going_on = short.step(moves), long.step(moves)
        if t == limit - 2:
            before = last.final.obs.copy()
    cut = last.truncated & ~going_on.terminated
    assert cut.sum() > 3
    np.testing.assert_allclose(last.final.obs[cut], going_on.observation.obs[cut], atol=1e-6)
    for name in KNOWN:  # so that stale features would differ
        at = short.info.information_slice(name)
        assert (before[cut][..., at] != last.final.obs[cut][..., at]).any(), name


@pytest.mark.parametrize(
    "make",
    [lambda: foraging(("belief",)), lambda: tag(("belief",), ["guard+clockwise", "chase+stray"], max_cycles=40)],
    ids=["foraging", "tag"],
)
def test_asking_for_the_belief_again_does_not_change_it(make):
    env = make()
    env.reset()
    for _ in range(20):
        env.step(np.zeros((6, 1), np.int64))
        again = env.information.observer.beliefs(env.all_obs).reshape(6, -1)
        assert (again == env.information.values["belief"]).all()


def test_opponents_play_equally_many_episodes_in_tests():
    env = foraging(n_envs=3, in_turn=True, episode_limit=5)
    play(env, 30)
    played = [(e.copy, e.opponent) for e in env.log.finished]
    assert [o for c, o in played if c == 1] == [(1 + 3 * i) % 3 for i in range(6)]
    env = foraging(n_envs=2, in_turn=True, episode_limit=5)
    play(env, 30)
    assert sorted(e.opponent for e in env.log.finished) == [0, 0, 0, 0, 1, 1, 1, 1, 2, 2, 2, 2]


def test_the_log_has_the_returns_lengths_and_endings_of_all_episodes():
    env = foraging(n_envs=4, episode_limit=12, in_turn=True)
    env.reset()
    total, completed, rng = 0.0, 0, np.random.default_rng(0)
    for _ in range(60):
        step = env.step(rng.integers(0, 6, (4, 1)))
        total, completed = total + step.reward.sum(), completed + step.terminated.sum()
    logged = sum(e.returns.sum() for e in env.log.finished) + env.log.returns.sum()
    assert logged == pytest.approx(total, abs=1e-5)
    assert sum(e.length for e in env.log.finished) + env.log.lengths.sum() == 240
    assert sum(e.terminated for e in env.log.finished) == completed
    env.reset()
    assert not env.log.finished and not env.log.returns.any() and not env.log.lengths.any()


def test_the_opponents_of_a_test_match_its_returns():
    """Copies that finish their episodes early play further ones until the last copy is done; those do not count."""
    env = foraging(n_envs=5, in_turn=True, episode_limit=40, max_food_level=[1, 1, 1])
    args = args_for(env.info)
    scheme, groups = make_scheme(env.info, False)
    runner = EpisodeRunner(env, RandomMoves(), scheme, groups, args, test_mode=True)
    runner.collect(15)
    counted = first_of_each_copy(env.log.finished, runner.episodes_per_copy(15))
    assert len(counted) == 15 < len(env.log.finished)
    assert [e.length for e in counted] == runner.stats.lengths and len({*runner.stats.lengths}) > 5
    for episode, returns in zip(counted, runner.stats.returns, strict=True):
        np.testing.assert_allclose(episode.returns, returns, atol=1e-5)
    lines = by_opponent(counted, env.members)
    assert [(line["name"], line["episodes"]) for line in lines[:3]] == [(name, 5) for name in NAMES]
    assert by_opponent(counted[::-1], env.members)[0]["name"] == NAMES[0]  # lines are in the pool's order


class RandomMoves:
    """A controller without memory."""

    def initial_carry(self, n):
        return torch.zeros(n, 1, 1)

    def act(self, observation, last_actions, carry, t_env, test_mode):
        return torch.randint(0, 6, observation.obs.shape[:2], generator=torch.Generator().manual_seed(t_env)), carry


def config_of(tmp_path, **values):
    write_pool(tmp_path, "gymnasium", {"key": KEY, "backend": "pettingzoo"}, list(pool_of(*NAMES).members), "")
    defaults = {"env": "gymnasium", "env_args": {"key": KEY, "backend": "batched"}, "pool": str(tmp_path)}
    return RunConfig(**{**defaults, **values})


def test_environment_and_opponents_have_separate_random_streams(tmp_path):
    env = make_env(config_of(tmp_path), 4, TRAIN_STREAM)
    boards = env.env._backend.random
    assert env.lineup.groups[0].random.shape == boards.shape and not (env.lineup.groups[0].random == boards).any()
    again = make_env(config_of(tmp_path), 4, TRAIN_STREAM)
    assert (env.lineup.groups[0].random == again.lineup.groups[0].random).all()


def test_a_pool_of_another_environment_is_refused_and_other_arguments_are_reported(tmp_path):
    other = {"key": "lbforaging:Foraging-8x8-2p-3f-coop-v3", "backend": "batched"}
    with pytest.raises(ConfigError, match=r"^pool: .* was made for .*-3f-v3, and this run is in .*coop-v3; make one"):
        make_env(config_of(tmp_path, env_args=other), 4, TRAIN_STREAM)
    batched, info = {"key": KEY, "backend": "batched"}, env_info()
    assert notices(config_of(tmp_path), info) == notices(config_of(tmp_path, pool=""), info) == []
    (line,) = notices(config_of(tmp_path, env_args={**batched, "sight": 2}), info)
    assert line.endswith("was made with other env_args: {'sight': None}")
    assert notices(config_of(tmp_path, env_args={**batched, "episode_limit": 9}), info) == []  # may be an estimate
    (line,) = notices(config_of(tmp_path, test_nepisode=2), info)
    assert line == "test_nepisode: tests of 2 episodes are against the first 2 of 3 opponents only"
    assert notices(config_of(tmp_path, test_nepisode=2, batch_size_run=1), info)
    assert notices(config_of(tmp_path, test_nepisode=3, batch_size_run=2), info) == []  # two of each copy
    (line,) = notices(config_of(tmp_path, trained_opponents_from=90, t_max=90), info)
    assert line == "trained_opponents_from: 90 is not below t_max=90, so only scripts play in training"
    assert notices(config_of(tmp_path, trained_opponents_from=89, t_max=90), info) == []
    (line,) = notices(config_of(tmp_path, pool="", common_reward=True), env_info(agent_types=("hunter", "prey")))
    assert line == "common_reward: hunter, prey share one reward, the sum of all"


def test_the_same_seed_gives_the_same_observations():
    one, other = (play(foraging(information=("actions", "belief")), 40) for _ in range(2))
    assert all((a == b).all() for a, b in zip(one, other, strict=True))
    another = play(foraging(information=("actions", "belief"), seed=1), 40)
    assert any((a != b).any() for a, b in zip(one, another, strict=True))


@pytest.mark.parametrize(
    "learners, information, message",
    [
        (["agent_*"], [], "names all of agent_0, agent_1"),
        (["predator"], [], "names none"),
        (["agent_0"], ["thoughts"], "'thoughts' is none of"),
    ],
)
def test_unusable_learners_and_information_are_refused(learners, information, message):
    env = make_vec_env("gymnasium", {"key": KEY, "backend": "batched"}, 2, 0, 0)
    with pytest.raises(ConfigError, match=message):
        PoolEnv(env, pool_of(*NAMES), "train", learners, information, 0, False)


def test_all_pairs_of_predator_and_prey_scripts_play_and_differ_in_returns():
    names = [f"{hunter}+{prey}" for hunter in PREDATOR_SCRIPTS for prey in PREY_SCRIPTS]
    n_envs = len(names)
    env = make_vec_env("pettingzoo", {"key": "mpe2.simple_tag_v3", "backend": "batched"}, n_envs, 0, 0)
    pool = PoolEnv(env, pool_of(*names), "train", ["adversary_0"], ["actions", "goal"], 0, True)
    assert pool.info.opponents == ("adversary_1", "adversary_2", "agent_0")
    pool.reset()
    for _ in range(100):
        pool.step(np.zeros((n_envs, 1), np.int64))
    caught = {}
    for e in pool.log.finished:
        caught.setdefault(names[e.opponent], []).append(e.returns.sum())
    assert len(caught) == n_envs
    mean = {name: np.mean(values) for name, values in caught.items()}
    assert mean["chase+centre"] > 10 + mean["guard+flee"]  # prey that waits in the centre is caught often
    with pytest.raises(ConfigError, match=r"not PREDATOR\+PREY"):
        PoolEnv(env, pool_of("chase"), "train", ["adversary_0"], [], 0, False)


@pytest.mark.parametrize("arguments", [{"num_good": 2}, {"num_obstacles": 0}, {"num_agent_neighbors": 1}])
def test_scripts_refuse_variants_of_tag_that_they_cannot_play(arguments):
    env = make_vec_env("pettingzoo", {"key": "mpe2.simple_tag_v3", **arguments}, 1, 0, 0)
    with pytest.raises(ConfigError, match="needs one prey and two obstacles, observed by all agents"):
        PoolEnv(env, pool_of("chase+flee"), "train", ["adversary_0"], ["actions"], 0, True)
    five = make_vec_env("pettingzoo", {"key": "mpe2.simple_tag_v3", "num_adversaries": 5}, 1, 0, 0)
    PoolEnv(five, pool_of("chase+clockwise"), "train", ["adversary_0"], ["actions", "belief"], 0, True).close()


def test_prey_on_a_round_visits_its_stops_in_order():
    """Prey starts at any stop; a stray goes to any other stop; no prey turns before it has reached its stop."""
    names = [f"guard+{prey}" for prey in ROUNDS]
    n_envs = 8 * len(names)
    env = make_vec_env(
        "pettingzoo", {"key": "mpe2.simple_tag_v3", "backend": "batched", "max_cycles": 60}, n_envs, 0, 0
    )
    pool = PoolEnv(env, pool_of(*names), "train", ["adversary_0"], ["goal"], 0, True)
    pool.reset()
    (scripts,) = pool.lineup.groups
    assert len(np.unique(scripts.stop % 4)) == 4
    turns = np.zeros(n_envs, np.int64)
    legs = {name: set() for name in ROUNDS}
    for _ in range(58):
        before = scripts.stop.copy()
        pool.step(np.zeros((n_envs, 1), np.int64))
        now = pool.all_obs[:, 3, 2:4]
        for e in np.flatnonzero(scripts.stop != before):
            name = list(ROUNDS)[pool.lineup.playing[e]]
            stops = np.array(ROUNDS[name])
            left, to = before[e] % len(stops), scripts.stop[e] % len(stops)
            legs[name].add((int(left), int(to)))
            assert np.linalg.norm(stops[left] - now[e]) < THERE, name
            assert to != left if name.startswith("stray") else to == (left + 1) % len(stops)
            np.testing.assert_allclose(pool.information.values["goal"][e, 4:6], stops[to], rtol=1e-6)
            turns[e] += 1
    assert turns.min() >= 1 and turns.mean() > 2
    assert all({left for left, _ in legs[name]} == set(range(len(s))) for name, s in ROUNDS.items() if len(s) < 5)
    assert len(legs["stray"]) > len(ROUNDS["stray"]) and len(legs["stray_corners"]) > 4


def rotated(stops):
    """The round rotated so that its smallest stop is first: equal rounds with different starts become equal."""
    return min(stops[i:] + stops[:i] for i in range(len(stops)))


def test_patrols_contain_each_round_once():
    """n stops have n! / n rounds; of the ways along three stops and back, half are distinct."""
    counts = {"pair": (6, 28), "triple": (8, 112), "quad": (6, 420), "back": (12, 168)}
    for name, rounds in PATROLS.items():
        kind, where = name.split("_")
        few, every = counts[kind]
        assert len(rounds) == {"any": every, "mixed": every - 2 * few}.get(where, few), name
        assert len({rotated(stops) for stops in rounds}) == len(rounds)
        assert all(LAPS % len(stops) == 0 and set(stops) <= set(STOPS) for stops in rounds)


def test_patrols_of_corners_of_sides_and_of_mixed_stops_have_no_round_in_common():
    names = [name for name in PATROLS if not name.endswith("_any")]
    rounds = [rotated(stops) for name in names for stops in PATROLS[name]]
    assert len({*rounds}) == len(rounds)


@pytest.mark.parametrize("script, point", [("mirror", [-0.8, 0.2]), ("outside", [0.9, -0.3])])
def test_predators_on_the_far_side_of_the_prey(script, point):
    prey = np.array([[0.8, -0.2]])
    found = PREDATOR_SCRIPTS[script](np.zeros((1, 2)), np.zeros((1, 3, 2)), prey, prey, np.zeros((1, 2, 2)))
    np.testing.assert_allclose(found, [point])


def test_prey_on_patrol_draws_one_round_per_episode():
    """The stops of an episode, in order, are those of one of its rounds."""
    names = ["guard+pair_corners", "centre+triple_any", "follow+back_sides", "circle+quad_any"]
    env = make_vec_env("pettingzoo", {"key": "mpe2.simple_tag_v3", "backend": "batched", "max_cycles": 100}, 80, 0, 0)
    pool = PoolEnv(env, pool_of(*names), "train", ["adversary_0"], ["goal"], 0, True)
    pool.reset()
    goals = []
    for _ in range(198):
        goals.append(pool.information.values["goal"][:, 4:6].copy())
        pool.step(np.zeros((80, 1), np.int64))
    drawn = {name: set() for name in names}
    for episode in (goals[:98], goals[100:]):
        for e in range(80):
            way = [tuple(float(f"{x:.1f}") for x in goal[e]) for goal in episode]
            way = [stop for i, stop in enumerate(way) if i == 0 or stop != way[i - 1]]
            script = names[e % 4].split("+")[1]
            fits = [stops for stops in rounds_of(script) if way_is_on(way, stops)]
            assert fits, (script, way)
            if len(way) > 4:
                drawn[names[e % 4]].add(rotated(fits[0]))
    assert {len(drawn[name]) > 4 for name in names} == {True}
    assert len(drawn["guard+pair_corners"]) == 6
    assert not any(is_stray(name) for name in PATROLS)


def way_is_on(way, stops):
    """Whether the stops of ``way`` follow each other in the round ``stops``; any stop can be the first."""
    return any(
        all(stop == stops[(first + i) % len(stops)] for i, stop in enumerate(way)) for first in range(len(stops))
    )


@pytest.mark.parametrize("changes", [{}, {"use_rnn": False}, {"share_parameters": "none"}])
def test_frozen_networks_choose_what_each_would_in_all_copies(changes):
    """For any assignment to copies, with recurrent state."""
    env = make_vec_env("pettingzoo", {"key": "mpe2.simple_tag_v3", "backend": "batched"}, 7, 0, 0)
    args = args_for(env.info, obs_last_action=True, evaluation_epsilon=0.0, **changes)
    scheme, groups = make_scheme(env.info, False)
    torch.manual_seed(0)
    macs = [BasicMAC(scheme, groups, args).requires_grad_(False) for _ in range(3)]
    for mac in macs:  # so that the last action matters
        for agent in mac.agents:
            agent.fc1.weight *= 4.0
    stack = FrozenNetworks(macs, env.info, [1, 2, 3], 7, 0)
    rows, which = np.array([0, 2, 3, 5, 6]), np.array([2, 0, 2, 1, 2])
    seen = env.reset()
    carries, last = [mac.initial_carry(7) for mac in macs], torch.zeros(7, 4, 5)
    stack.begin(rows, which)
    for t in range(6):
        if t == 3:  # two rows begin an episode
            stack.begin(rows[:2], which[:2])
            for row, k in zip(rows[:2], which[:2], strict=True):
                carries[k][row], last[row] = 0.0, 0.0
        actions = stack.act(rows, which, seen.obs, seen.avail)
        separate = []
        for k, mac in enumerate(macs):
            chosen, carries[k] = mac.act(seen, last, carries[k], 0, True)
            separate.append(chosen)
        for place, (row, k) in enumerate(zip(rows, which, strict=True)):
            assert separate[k][row, 1:].tolist() == actions[place].tolist(), (t, row)
        joint = np.random.default_rng(t).integers(0, 5, (7, 4))
        joint[np.ix_(rows, [1, 2, 3])] = actions
        stack.remember(rows, joint[rows])
        last = torch.nn.functional.one_hot(torch.from_numpy(joint), 5).float()
        seen = env.step(joint).observation
