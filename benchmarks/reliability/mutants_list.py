"""The mutants of ``mutants.py``: a file of ``src/``, a text in it, its replacement, and tests in ``tests/unit/``.

The six of ``KNOWN`` once survived all tests. The others are in ``MUTANTS``.
"""

from __future__ import annotations

from typing import NamedTuple


class Mutant(NamedTuple):
    """One wrong change; ``old`` occurs exactly once in ``file``, and ``tests`` are node ids or files."""

    file: str
    old: str
    new: str
    tests: tuple[str, ...]


Q, QD, TD = "test_q_learner.py", "test_q_learner_details.py", "test_td_error.py"
MIX, MASKS = "test_mixers.py", "test_masks.py"
PPO, PQN, RETURNS = "test_ppo_learner.py", "test_pqn_learner.py", "test_returns.py"
MODELS = "opponent_models/test_opponent_model_learner.py"
TRAINING, ABSENT = "opponent_models/test_training_details.py", "opponent_models/test_absent_opponents.py"
SELECTOR = "opponent_models/test_omg.py::test_the_selector_takes_the_best_the_worst_the_next_the_third_or_any"
WINDOWS = MODELS + "::test_updates_use_consecutive_rollouts_from_memory"
CONDITION = TRAINING + "::test_the_policy_is_trained_under_the_acting_models_condition_if_another_copy_is_trained"
FOLLOWS = MODELS + "::test_the_acting_model_moves_towards_the_trained_one"
OMG, PLACES = "opponent_models/test_omg.py", "opponent_models/test_place_prediction.py"
OBJECTS, RATES = "opponent_models/test_object_prediction.py", "opponent_models/test_model_evaluation.py"
POOL, ROLLOUT, RUNNER, MEMORY = (
    "opponents/test_pool_env.py",
    "test_rollout_runner.py",
    "test_runner.py",
    "test_rollout_memory.py",
)
SKIPPED, NORMALISERS, LOSSES = "test_skipped_updates.py", "test_normalisers.py", "test_losses.py"
VAE, TRAINER, SCHEDULES = "test_omg_vae_learner.py", "test_vae_trainer.py", "test_schedules.py"
FORAGING, TAG, BUFFER = "games/test_foraging.py", "games/test_tag_observer.py", "test_episode_batch.py"
BATCHED = "../contracts/test_batched.py"

KNOWN = (
    Mutant("opponent_models/omg/inference.py", "kl_gaussians(mu, log_var, mu_p, log_var_p)",
           "kl_gaussians(mu_p, log_var_p, mu, log_var)",
           (TRAINING + "::test_omgs_kl_is_that_of_the_inferred_from_the_prior_distribution",)),
    Mutant("learners/ppo_learner.py", "ratio = (taken - old).exp()", "ratio = (taken - taken.detach()).exp()",
           (PPO,)),
    Mutant("learners/agent_learner.py", "return ahead, ended(batch)[:, :-1, None]",
           'return ahead, batch["terminated"][:, :-1].float()', (PPO, PQN)),
    Mutant("learners/opponent_model_learner.py", "as_acted(self.model.condition(",
           "as_acted(self.trained.condition(", (CONDITION,)),
    Mutant("learners/pqn_learner.py", "self.mac.head(features, goals).mean(dim=-1)",
           "self.mac.head(features, goals).amax(dim=-1)",
           (TRAINING + "::test_the_value_of_a_subgoal_is_the_mean_over_actions_and_not_the_best",)),
    Mutant("opponent_models/liam.py", '.flatten(2)[:, : features.shape[1], self.seen]',
           '.flatten(2)[:, 1 : features.shape[1] + 1, self.seen]',
           (TRAINING + "::test_liam_predicts_the_observations_and_actions_of_the_present_step",)),
)  # fmt: skip

LEARNERS = (
    Mutant("modules/td_error.py", "reward + gamma * (1.0 - terminated) * next_alive * next_value",
           "reward + gamma * next_alive * next_value", (Q,)),
    Mutant("modules/td_error.py", "reward + gamma * (1.0 - terminated) * next_alive * next_value",
           "reward + gamma * (1.0 - terminated) * next_value", (Q,)),
    Mutant("modules/value_kernels.py", "goes_on * next_alive[b, t, k] * next_values", "goes_on * next_values", (TD,)),
    Mutant("modules/value_kernels.py", "gamma * (np.float32(1.0) - np.float32(terminated[b, t, 0]))", "gamma", (TD,)),
    Mutant("modules/value_kernels.py", "chooser = q[b, t + 1, n] if double_q else target_q[b, t + 1, n]",
           "chooser = target_q[b, t + 1, n]", (Q,)),
    Mutant("modules/value_kernels.py", "best(chooser, avail[b, t + 1, n])", "chooser.argmax()", (Q,)),
    Mutant("modules/value_kernels.py", "taken[b, t, n] = q[b, t, n, actions[b, t, n, 0]]",
           "taken[b, t, n] = q[b, t, n, actions[b, t + 1, n, 0]]", (Q,)),
    Mutant("learners/q_learner.py", "next_values = values_of_living(next_values, next_alive, True)", "pass", (Q,)),
    Mutant("learners/q_learner.py", "self.updates % round(rate) == 0", "self.updates % round(rate) == 1", (Q,)),
    Mutant("learners/q_learner.py", "self.reward_stats.update(reward[valid].unsqueeze(-1))",
           "self.reward_stats.update(reward.reshape(-1, 1))", (Q,)),
    Mutant("learners/q_learner.py", "next_alive = mask, next_alive.amax(dim=2, keepdim=True)",
           "next_alive = mask, next_alive.amin(dim=2, keepdim=True)", (MIX,)),
    Mutant("learners/q_learner.py", "self.target_mixer(next_values * next_alive, state[:, 1:])",
           "self.target_mixer(next_values * next_alive, state[:, :-1])", (MIX,)),
    Mutant("learners/ppo_learner.py", "torch.minimum(ratio * advantage", "torch.maximum(ratio * advantage", (PPO,)),
    Mutant("learners/ppo_learner.py", "-masked_mean(clipped_objective(ratio, advantage, c.clip_ratio), alive)",
           "-clipped_objective(ratio, advantage, c.clip_ratio).mean()", (PPO,)),
    Mutant("learners/ppo_learner.py", "- c.entropy_coef * mean_entropy", "+ c.entropy_coef * mean_entropy", (PPO,)),
    Mutant("learners/ppo_learner.py", "(self._values(batch)[0][:, :-1] - returns)",
           "(self._values(batch)[0][:, 1:] - returns)", (PPO,)),
    Mutant("learners/ppo_learner.py", "gae(own_rewards(batch, alive)", 'gae(batch["reward"][:, :-1]', (PPO,)),
    Mutant("learners/ppo_learner.py", "values_of_living(self._unnormalised(output), alive, common)",
           "self._unnormalised(output) * alive", (PPO,)),
    Mutant("learners/ppo_learner.py", 'memories[:, -2] * (1.0 - batch["begins"][:, -1:].float())', "memories[:, -2]",
           (PPO,)),
    Mutant("learners/ppo_learner.py", "(advantage - real.mean()) / (real.std", "advantage / (real.std", (PPO,)),
    Mutant("learners/agent_learner.py", 'last * (1.0 - batch["terminated"][at].float())', "last", (PPO, PQN)),
    Mutant("learners/pqn_learner.py", "q.masked_fill(avail == 0, -torch.inf).amax(dim=-1)", "q.amax(dim=-1)", (PQN,)),
    Mutant("learners/pqn_learner.py", "return values_of_living(values, alive, common)", "return values * alive",
           (PQN,)),
    Mutant("components/masks.py", "return reward if is_common(batch, alive.shape[2]) else reward * alive[:, :-1]",
           "return reward", (PQN, PPO)),
    Mutant("components/masks.py", "return reward if is_common(batch, alive.shape[2]) else reward * alive[:, :-1]",
           "return reward * alive[:, :-1]", (PPO,)),
    Mutant("components/masks.py", "/ alive.sum(dim=-1, keepdim=True).clamp(min=1.0)", "/ alive.shape[-1]", (MASKS,)),
    Mutant("components/returns.py", "decay = gamma * lambda_ * (1.0 - ended)",
           "decay = gamma * lambda_ * torch.ones_like(ended)", (RETURNS,)),
    Mutant("components/returns.py", "goes_on = 1.0 - ended", "goes_on = torch.ones_like(ended)", (RETURNS,)),
    Mutant("components/returns.py", "lambda_ * goes_on[:, t]", "(1.0 - lambda_) * goes_on[:, t]", (RETURNS,)),
    Mutant("components/masks.py", "(ended(batch)[:, :-2].cumsum(dim=1) == 0)",
           "(ended(batch)[:, 1:-1].cumsum(dim=1) == 0)",
           (MASKS, Q)),
    Mutant("components/optimisers.py", "self.in_a_row = 0 if flag else self.in_a_row + 1",
           "self.in_a_row = self.in_a_row if flag else self.in_a_row + 1", (SKIPPED,)),
    Mutant("components/optimisers.py", "torch.isfinite(grad_norm + loss.detach())", "torch.isfinite(grad_norm)",
           (SKIPPED,)),
    Mutant("components/replay_buffer.py", "self.data[name][rows, length:] = 0", "pass", (BUFFER,)),
    Mutant("components/action_selectors.py",
           "return scores.masked_fill(avail_actions == 0, -torch.inf).argmax(dim=-1)",
           "return scores.argmax(dim=-1)", (QD,)),
)  # fmt: skip

RUNNERS = (
    Mutant("components/rollout.py", 'return previous * (1.0 - self["begins"].float())[..., None]', "return previous",
           (ROLLOUT,)),
    Mutant("components/rollout.py", "step=rollout.ends.step + steps", "step=rollout.ends.step", (MEMORY,)),
    Mutant("components/rollout.py", "self.carry[index], self.last_actions[index], None)",
           "self.carry[: len(index)], self.last_actions[index], None)", (MEMORY, ROLLOUT)),
    Mutant("runners/rollout_runner.py", "self._write(step.observation, t + 1)", "self._write(step.final, t + 1)",
           (ROLLOUT,)),
    Mutant("runners/rollout_runner.py", "torch.full_like(rows, t)", "torch.full_like(rows, t + 1)", (ROLLOUT,)),
    Mutant("runners/player.py", "self.carry = self.carry.index_copy(0, rows, self.fresh_carry[rows])", "pass",
           (RUNNER, ROLLOUT)),
    Mutant("runners/episode_runner.py", "zip(OBSERVATION_KEYS, step.final, strict=True)",
           "zip(OBSERVATION_KEYS, step.observation, strict=True)", (RUNNER,)),
    Mutant("runners/episode_runner.py", "episodes[steps[None, :] > lengths[:, None]] = 0", "pass", (RUNNER,)),
)  # fmt: skip

OPPONENTS = (
    Mutant("components/observed_actions.py", "features[..., -1] > 0 if self.is_marked else features.amax(dim=-1) > 0",
           "features[..., -1] >= 0 if self.is_marked else features.amax(dim=-1) >= 0",
           (ABSENT + "::test_actions_of_absent_opponents_are_neither_targets_nor_hits",)),
    Mutant("opponent_models/model.py", "if batch.ends is not None:\n        obs = obs.clone()",
           "if False:\n        obs = obs.clone()",
           (MODELS + "::test_opponents_actions_are_read_from_the_next_observation",)),
    Mutant("opponent_models/horizon.py", "going_on = going_on * (1.0 - past)", "pass",
           (OMG + "::test_candidates_stay_inside_the_episode",)),
    Mutant("opponent_models/horizon.py", "at = (torch.arange(length, device=steps.device)[:, None] + steps)",
           "at = (torch.arange(length, device=steps.device)[:, None] + steps + 1)",
           (OMG + "::test_candidates_are_the_next_states",)),
    Mutant("opponent_models/horizon.py", "scores.masked_fill(valid[:, :, None] == 0, -torch.inf).argmax",
           "scores.argmax", (SELECTOR,)),
    Mutant("opponent_models/omg/selector.py", "values if optimistic else -values",
           "-values if optimistic else values", (SELECTOR,)),
    Mutant("opponent_models/omg/inference.py",
           'features[:, :-1] * (1.0 - batch["begins"][:, 1:-1].float())[..., None]', "features[:, :-1]",
           (OMG + "::test_the_decoder_gets_the_previous_step_of_the_same_episode",)),
    Mutant("opponent_models/omg/model.py",
           "inferred.critic if self.config.omg_critic_input == \"inferred\" else acting", "acting",
           (OMG + "::test_a_critic_is_conditioned_only_on_inferred_subgoals",)),
    Mutant("opponent_models/place_prediction.py", "visits / visits.sum(dim=-1, keepdim=True).clamp(min=1)", "visits",
           (PLACES + "::test_targets_are_the_shares_of_the_horizon_at_each_place",)),
    Mutant("opponent_models/places.py", "true[:, t + 1 : t + 1 + horizon]", "true[:, t : t + horizon]", (RATES,)),
    Mutant("opponent_models/object_prediction.py", "(beside.sum(dim=-1) == 1)", "(beside.sum(dim=-1) >= 1)",
           (OBJECTS,)),
    Mutant("opponent_models/object_prediction.py", "(rest - clock < self.horizon)", "(rest - clock <= self.horizon)",
           (OBJECTS,)),
    Mutant("opponent_models/evaluation.py", "share[0] + RISEN * (share.max() - share[0])", "RISEN * share.max()",
           (RATES,)),
    Mutant("learners/opponent_model_learner.py", "mask = mask * targets.complete[..., None]", "pass", (WINDOWS,)),
    Mutant("learners/opponent_model_learner.py", "acting.lerp_(trained, self.config.model_tau)",
           "acting.lerp_(trained, 1.0 - self.config.model_tau)", (FOLLOWS,)),
    Mutant("opponents/lineup.py", "self.turn[rows] += self.n_envs", "self.turn[rows] += 1",
           (POOL + "::test_opponents_play_equally_many_episodes_in_tests",)),
)  # fmt: skip

GAMES = (
    Mutant("games/foraging/scripts.py", "return second if kind == 2 and second >= 0 else best", "return best",
           (FORAGING,)),
    Mutant("games/foraging/observer.py", "fits = wanted == actions[r] or (wanted == 0 and actions[r] > 0)",
           "fits = wanted == actions[r]", (FORAGING,)),
    Mutant("games/foraging/batched.py", "if strength < food:", "if strength <= food:",
           (BATCHED + "::test_foraging_agrees_on_every_transition",)),
    Mutant("games/tag/observer.py", "self.belief[:, self.after] += arrived[:, : len(self.after)]", "pass",
           (TAG + "::test_at_a_stop_the_belief_moves_to_the_next_stops",)),
    Mutant("games/tag/batched.py", "cost = 10.0 * own", "cost = 10.0 * (own > 0)",
           (BATCHED + "::test_particles_agree_along_whole_episodes",)),
)  # fmt: skip

STATE_VAE = (
    Mutant("modules/losses.py", "0.5 * (mu.square() + log_var.exp() - 1.0 - log_var)",
           "0.5 * (mu.square() + log_var.exp() - 1.0 + log_var)", (LOSSES,)),
    Mutant("components/vae_trainer.py", "batches[-self.config.vae_window :]", "batches[: self.config.vae_window]",
           (TRAINER,)),
    Mutant("learners/omg_vae_learner.py",
           "return states if ends is None else torch.cat([states, as_stored(ends.state.flatten(1), states.dtype)])",
           "return states", (VAE,)),
    Mutant("components/vae_optimiser.py", "(self.updates + 1) / warmup", "self.updates / warmup", (SCHEDULES,)),
)  # fmt: skip

MUTANTS = (*LEARNERS, *RUNNERS, *OPPONENTS, *GAMES, *STATE_VAE)
