import pytest
import torch
from fakes import RecordingLogger
from omarl.analysis.doctor import Finding
from omarl.components.vae_trainer import VAEConfig, VAETrainer
from omarl.learners import vae_watch
from omarl.learners.vae_watch import FIRST_LOOK, VAEWatch


class Verdict:
    """A fake diagnosis."""

    def __init__(self, *findings):
        self.findings = findings


def finding(symptom="kl_oscillation", confidence=0.9, **remedy):
    return Finding(symptom, {}, "because", remedy, confidence)


def watched(monkeypatch, acts, *findings):
    monkeypatch.setattr(vae_watch, "examine", lambda series, config: Verdict(*findings))
    logger = RecordingLogger()
    trainer = VAETrainer(3, VAEConfig(vae_alpha_schedule="constant"))
    return VAEWatch(trainer, logger, acts), trainer, logger


def look(watch, times, kl=5.0):
    for i in range(times):
        watch.look({"vae_kl_loss": kl, "vae_recon_loss": 0.2}, 100 * i)


def test_the_start_of_a_training_is_not_examined(monkeypatch, caplog):
    watch, _, _ = watched(monkeypatch, True, finding(vae_lr=1e-4))
    look(watch, FIRST_LOOK - 1)
    assert not caplog.text


def test_a_finding_is_logged_once(monkeypatch, caplog):
    watch, trainer, _ = watched(monkeypatch, False, finding(vae_lr=1e-4))
    look(watch, FIRST_LOOK + 20)
    assert caplog.text.count("kl_oscillation") == 1 and "try vae_lr=0.0001" in caplog.text
    assert trainer.lr == 2e-4  # warn does not act


@pytest.mark.parametrize("quiet", [finding("sampling_noise"), finding("too_short"), finding(confidence=0.3)])
def test_harmless_and_uncertain_findings_are_not_logged(monkeypatch, caplog, quiet):
    watch, _, _ = watched(monkeypatch, True, quiet)
    look(watch, FIRST_LOOK + 5)
    assert not caplog.text


def test_act_lowers_the_learning_rate_and_then_waits(monkeypatch, caplog):
    watch, trainer, logger = watched(monkeypatch, True, finding("learning_rate_too_high", vae_lr=1e-4))
    look(watch, FIRST_LOOK)
    assert trainer.lr == pytest.approx(1e-4)
    assert "acted on learning_rate_too_high: vae_lr 0.0002 -> 0.0001" in caplog.text
    assert logger.series("vae_watch_actions") == [(100 * (FIRST_LOOK - 1), 1.0)]
    look(watch, FIRST_LOOK + 5)  # the repeated advice does not lower the rate further
    assert watch.actions == 1
    trainer.update(torch.randn(8, 3))
    assert trainer.optimiser.param_groups[0]["lr"] == pytest.approx(1e-4)


def test_advice_after_an_action_is_based_on_the_current_settings(monkeypatch):
    """The doctor divides the learning rate in its configuration; with the initial one it could not lower it twice."""
    watch, trainer, _ = watched(monkeypatch, True)
    schedules = []

    def divide_by_three(series, config):
        schedules.append(config["vae_alpha_schedule"])
        return Verdict(finding("learning_rate_too_high", vae_lr=config["vae_lr"] / 3))

    monkeypatch.setattr(vae_watch, "examine", divide_by_three)
    look(watch, 2 * FIRST_LOOK)
    assert watch.actions == 2 and trainer.lr == pytest.approx(2e-4 / 9)
    trainer.weight.hand_over(5.0, trainer.updates)
    look(watch, FIRST_LOOK)
    assert schedules == ["constant", "constant", "pi"]


@pytest.mark.parametrize("configured", [0, 16])
def test_a_number_of_latents_is_judged_only_if_it_was_configured(monkeypatch, configured):
    examined = []

    def record(series, config):
        examined.append(config["vae_latent_dim"])
        return Verdict()

    monkeypatch.setattr(vae_watch, "examine", record)
    look(VAEWatch(VAETrainer(80, VAEConfig(vae_latent_dim=configured)), RecordingLogger(), False), FIRST_LOOK)
    assert examined == [configured]


def test_act_replaces_the_kl_schedule_by_a_controller_without_a_jump(monkeypatch):
    watch, trainer, _ = watched(monkeypatch, True, finding(vae_alpha_schedule="pi", vae_kl_target=7.0))
    before = trainer.alpha
    look(watch, FIRST_LOOK)
    controller = trainer.weight.controller
    assert controller is not None and controller.target == 7.0 and trainer.alpha == before


def test_act_ignores_other_keys_and_higher_learning_rates(monkeypatch):
    watch, trainer, _ = watched(monkeypatch, True, finding("latent_oversized", vae_latent_dim=8), finding(vae_lr=1.0))
    look(watch, FIRST_LOOK + 3)
    assert watch.actions == 0 and trainer.lr == 2e-4 and trainer.weight.controller is None
