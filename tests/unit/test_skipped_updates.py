"""Updates whose loss or gradient is not finite: skipped, counted, and after three in a row the end of a run."""

import itertools

import pytest
import torch
from fakes import RecordingLogger, args_for, env_info, random_batch, rollouts_for
from model_parts import parts
from omarl.components.optimisers import DivergenceError, SkippedUpdates, make_optimiser, optimiser_step
from omarl.controllers.basic_controller import BasicMAC
from omarl.learners.ppo_learner import PPOLearner
from omarl.learners.pqn_learner import PQNLearner
from omarl.learners.q_learner import QLearner

NAN, INF = float("nan"), float("inf")


@pytest.mark.parametrize("name", ["adam", "rmsprop"])
@pytest.mark.parametrize("faulty", [NAN, INF, -INF])
@pytest.mark.parametrize("part", ["loss", "gradient"])
def test_a_skipped_update_leaves_parameters_and_moments_unchanged(name, faulty, part):
    """Training with a faulty update equals training without it."""

    def trained(faults):
        weight = torch.nn.Parameter(torch.tensor([1.0, 2.0]))
        optimiser, skipped = make_optimiser(name, [weight], 0.1), SkippedUpdates("it", "lr")
        for fault in faults:
            loss = weight.square().sum()
            if fault and part == "loss":
                loss = loss + faulty  # its gradient is finite
            elif fault:
                loss = loss + weight[0] * faulty * 0.0 + (weight[1] - weight[1].detach()) * faulty
            optimiser_step(optimiser, loss, [weight], 1.0, skipped)
        return weight.detach(), skipped

    weight, skipped = trained([0, 1, 0, 1, 1, 0])
    assert torch.equal(weight, trained([0, 0, 0])[0]) and (skipped.count, skipped.in_a_row) == (3, 0)


def test_the_third_skipped_update_in_a_row_raises_and_names_the_key():
    skipped, good, bad = SkippedUpdates("the model", "model_lr"), torch.tensor(True), torch.tensor(False)
    for flag in (bad, bad, good, bad, bad):
        skipped.record(flag, 0.5)
    assert (skipped.count, skipped.in_a_row) == (4, 2)
    copy = SkippedUpdates("the model", "model_lr")
    copy.load_state_dict(skipped.state_dict())
    for each in (skipped, copy):
        with pytest.raises(
            DivergenceError, match=r"^the model is not finite: 3 updates .* lower model_lr \(0.5 now\)"
        ):
            each.record(bad, 0.5)


def test_flags_of_a_gpu_are_read_in_groups(monkeypatch):
    """``meta`` tensors have no values, so reading one would fail."""
    monkeypatch.setattr("omarl.components.optimisers.READ_EVERY", 4)
    skipped = SkippedUpdates("it", "lr")
    for _ in range(3):
        skipped.record(torch.tensor(False, device="meta"), 0.5)
    assert len(skipped.pending) == 3 and skipped.count == 0
    skipped.pending = [torch.tensor(flag) for flag in (False, False, True)]
    skipped.record(torch.tensor(False), 0.5)
    assert not skipped.pending and (skipped.count, skipped.in_a_row) == (3, 1)


def replay_learner():
    info = env_info()
    batch = random_batch(info, [3, 5])
    args = args_for(info, learner_log_interval=1)
    torch.manual_seed(0)
    learner = QLearner(BasicMAC(batch.scheme, batch.groups, args), batch.scheme, RecordingLogger(), args)
    return learner, [random_batch(info, [3, 5], seed) for seed in range(4)]


def rollout_learner(cls, selector):
    runner, learner = rollouts_for(
        cls, [[2, 4], [3]], True, 3, action_selector=selector, learner_log_interval=1, epochs=1, minibatches=1
    )
    batches = []
    for _ in range(4):
        batch = runner.run()
        batch.data = {name: tensor.clone() for name, tensor in batch.data.items()}
        batches.append(batch)
    return learner, batches


LEARNERS = {
    "q": replay_learner,
    "ppo": lambda: rollout_learner(PPOLearner, "softmax"),
    "pqn": lambda: rollout_learner(PQNLearner, "epsilon_greedy"),
}


@pytest.mark.parametrize("name", LEARNERS)
def test_learners_skip_and_count_updates_on_faulty_batches(name):
    learner, batches = LEARNERS[name]()
    batches[1].data["obs"][0, 1, 0, 0] = NAN
    parameters = []
    for t, batch in enumerate(batches):
        learner.train(batch, t + 1, 0)
        parameters.append([p.detach().clone() for p in learner.parameters])
    pairs = itertools.pairwise(parameters)
    changed = [any(not torch.equal(a, b) for a, b in zip(*pair, strict=True)) for pair in pairs]
    counts = [count for _, count in learner.logger.series("skipped_updates")]
    assert changed == [False, True, True] and counts == [0, 1, 1, 1]
    assert all(torch.isfinite(p).all() for p in learner.parameters)


@pytest.mark.parametrize("name", LEARNERS)
def test_a_diverged_policy_names_lr(name):
    learner, batches = LEARNERS[name]()
    with torch.no_grad():
        learner.parameters[0].fill_(NAN)
    learner.train(batches[0], 1, 0)
    learner.train(batches[1], 2, 0)
    with pytest.raises(DivergenceError, match=r"the agents' network is not finite: .* lower lr \("):
        learner.train(batches[2], 3, 0)


@pytest.mark.parametrize("model, words, key", [
    ("naive", {}, "model_lr"), ("place_prediction", {}, "model_lr"), ("liam", {"model_tau": 0.5}, "model_lr"),
    ("omg", {}, "vae_lr"), ("omg", {"omg_inference": "mlp"}, "vae_lr"),
])  # fmt: skip
def test_a_diverged_opponent_model_names_its_learning_rate(tmp_path, model, words, key):
    from omarl.components.vae_trainer import VAEConfig, VAETrainer

    torch.save(VAETrainer(30, VAEConfig(vae_latent_dim=4, vae_hidden_dim=8)).state_dict(), tmp_path / "vae.th")
    runner, learner = parts(tmp_path, model, model_minibatches=1, **words)
    learner.train(runner.run(), runner.t_env, 0)
    assert [count for _, count in learner.logger.series("model_skipped_updates")] == [0]
    with torch.no_grad():  # of the trained model, and not of the condition that the policy is given
        learner.trained.fc.weight.fill_(NAN)
    learner.base.train = lambda *args: None
    message = rf"the opponent model is not finite: .* lower {key} \("
    with pytest.raises(DivergenceError, match=message):
        for _ in range(3):
            learner.train(runner.run(), runner.t_env, 0)
    assert learner.trained.skipped.count == 3


def test_fused_adam_skips_a_step_if_its_flag_is_set():
    """``optimiser_step`` relies on it on a GPU, without a transfer to the host."""

    def trained(flags):
        weight = torch.nn.Parameter(torch.tensor([1.0, 2.0]))
        optimiser = make_optimiser("adam", [weight], 0.1)
        for flag in flags:
            weight.grad = torch.full_like(weight, NAN if flag else 1.0)
            optimiser.found_inf = torch.tensor(flag)
            optimiser.step()
        return weight.detach()

    assert torch.equal(trained([0.0, 1.0, 0.0]), trained([0.0, 0.0]))
