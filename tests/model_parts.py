"""A runner and a learner with an opponent model, small enough for unit tests."""

from pathlib import Path

import torch
from fakes import RecordingLogger, args_for
from omarl.components.episode_batch import make_scheme
from omarl.controllers.model_controller import ModelMAC
from omarl.envs.make import make_vec_env
from omarl.learners.opponent_model_learner import OpponentModelLearner
from omarl.opponents.pool import Member, Pool
from omarl.opponents.pool_env import PoolEnv
from omarl.runners.rollout_runner import RolloutRunner

KEY = "lbforaging:Foraging-8x8-2p-3f-v3"


def parts(prior, model="omg", base="ppo_learner", copies=6, information=("actions",), key=KEY, **values):
    env = make_vec_env("gymnasium", {"key": key, "backend": "batched", "episode_limit": 7}, copies, 0, 0)
    names = ("nearest", "farthest")
    pool = Pool(Path(), "g", {}, tuple(Member(n, "script", "scripted", "train", script=n) for n in names))
    env = PoolEnv(env, pool, "train", ["agent_0"], list(information), 0, False)
    args = args_for(
        env.info, env_info=env.info, opponent_model=model, base_learner=base, source=str(prior), rollout_steps=9,
        vae_latent_dim=4, vae_hidden_dim=8, model_hidden_dim=8, model_places=5, agent="features",
        obs_last_action=False, action_selector="softmax", t_max=1000, learner_log_interval=1, omg_anneal_time=0,
    )  # fmt: skip
    vars(args).update(values)
    return connected(env, args, seed=1)


def connected(env, args, runner=RolloutRunner, seed=0):
    """A runner and a learner with an opponent model, made with torch's ``seed``."""
    scheme, groups = make_scheme(env.info, False)
    torch.manual_seed(seed)
    mac = ModelMAC(scheme, groups, args)
    learner = OpponentModelLearner(mac, scheme, RecordingLogger(), args)
    return runner(env, mac, scheme, groups, args), learner


def conditioned(learner, runner, t_env=10**6):
    """A rollout with its condition, and its targets if the learner has no memory."""
    batch = runner.run()
    return batch, condition(learner, batch, t_env)


@torch.no_grad()
def condition(learner, batch, t_env=10**6):
    """Sets the condition of a rollout as ``train`` does, and returns its targets."""
    learner.model.observe(batch)
    targets = learner.model.targets(batch, learner.base) if learner.memory is None else None
    if not learner.model.is_shared:
        inferred = learner.model.condition(batch, learner.base, t_env, targets)
        batch.condition = learner.mac.as_acted(inferred, batch.ends)
    return targets


def numbers_of_actions(model, batch):
    """The subjects' Discrete actions, int64 [E, T, N, M]; -1 if the subject did not act."""
    taken = model.actions_taken(batch)
    return torch.where(model.observed.acted(taken), model.observed.actions(taken)[..., 0], -1)


def update(learner, batch, targets, mask=None):
    """One update of the model on all copies of a rollout."""
    mask = batch["agent_mask"][:, :-1].float() if mask is None else mask
    return learner.trained.update(batch, targets, mask)
