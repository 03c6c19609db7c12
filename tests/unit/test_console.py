"""Terminal output: the progress bar, log lines and the summary."""

import io

import pytest
from omarl.utils import console
from omarl.utils.console import ProgressBar, headline, live, progress_line, summary
from omarl.utils.metric_names import bounds, own_numbers

VAE = {"return_mean": -10.53, "vae_recon_loss": 7.123, "vae_kl_loss": 17.94, "test_vae_explained_variance": 0.9294,
       "loss": 0.3051, "vae_alpha": 0.01}  # fmt: skip


@pytest.mark.parametrize("n", [0, 1234, 99_999, 150_000])
@pytest.mark.parametrize("rate", [None, 0.37, 1234.5])
def test_numbers_are_never_cut_at_any_terminal_width(n, rate):
    numbers = live(VAE)
    full_line = progress_line(n, 150_000, rate, numbers, 1000)
    known = {*full_line.split(), f"{int(100 * n / 150_000)}%"}
    last = 0
    for columns in range(1, 201):
        line = progress_line(n, 150_000, rate, numbers, columns)
        assert len(line) <= columns
        assert {word for word in line.split() if word[-1].isalnum() or word[-1] == "%"} <= known, line
        last = max(last, len(line))
    assert all(text in full_line for text in numbers) and last > 100


def test_narrow_terminals_show_progress_and_time_left():
    assert progress_line(75_000, 150_000, 1000.0, ["return 1"], 21) == "75.0k/150k 01:15 left"
    assert progress_line(75_000, 150_000, 1000.0, ["return 1"], 14) == "50% 01:15 left"
    assert progress_line(75_000, 150_000, 1000.0, ["return 1"], 13) == "75.0k/150k"
    assert progress_line(75_000, 150_000, 1000.0, ["return 1"], 9) == "50%"
    assert progress_line(75_000, 150_000, 1000.0, ["return 1"], 2) == ""


def test_the_bar_is_filled_in_proportion():
    line = progress_line(75_000, 150_000, 1000.0, [], 200)
    assert "█" * 10 + " " * 10 in line and "█" * 11 not in line
    assert "█" * 20 in progress_line(150_000, 150_000, 1000.0, [], 200)


@pytest.fixture
def clock(monkeypatch):
    """A clock in seconds that the test advances."""
    now = [1000.0]
    monkeypatch.setattr(console.time, "monotonic", lambda: now[0])
    return now


def test_the_time_left_excludes_start_up(clock):
    with ProgressBar(10_000, 0, {}, disable=False, file=io.StringIO(), dynamic_ncols=False) as bar:
        clock[0] += 100  # compilation and filling the buffer
        bar.advance(200, learning=False)
        clock[0] += 50  # the first update also compiles
        bar.advance(400, learning=True)
        assert bar.rate is None and "? left" in str(bar)
        for i in range(1, 11):
            clock[0] += 1
            bar.advance(400 + 100 * i, learning=True)
        assert bar.rate == pytest.approx(100)
        assert "01:26 left" in str(bar)  # 8,600 steps remain


def test_the_time_left_uses_the_speed_of_the_last_two_minutes(clock):
    with ProgressBar(1_000_000, 0, {}, disable=False, file=io.StringIO(), dynamic_ncols=False) as bar:
        step = 0
        for rate, seconds in ((1000, 300), (10, 200)):
            for _ in range(seconds):
                clock[0] += 1
                step += rate
                bar.advance(step, learning=True)
        assert bar.rate == pytest.approx(10, rel=0.01)


def test_learner_specific_metrics_are_shown():
    latest = {
        "t_env": 1.0, "episode": 3.0, "loss": 1.5, "loss_std": 0.5, "loss_min": 1.0, "loss_max": 2.0,
        "grad_norm": 9.0,
        "omg_kl_loss": 4.25, "omg_kl_loss_std": 1.0, "model_action_accuracy": 0.75, "model_grad_norm": 3.0,
        "contrastive": 0.125, "my_aux_loss": 2.5, "my_aux_loss_max": 3.0, "test_model_action_accuracy": 0.5,
        "steps_per_second": 100.0, "vae_lr": 1.0, "vae_kl_loss": 1.0, "vae_mix_loss": 2.0, "value_target_rms": 3.0,
    }  # fmt: skip
    own = ["omg_kl_loss", "model_action_accuracy", "contrastive", "my_aux_loss", "vae_mix_loss"]
    assert own_numbers(latest) == own
    shown = ["omg_kl 4.25", "model_action_accuracy 0.75", "contrastive 0.125", "my_aux 2.5"]
    assert set(shown) <= set(live(latest)) and live(latest)[-1] == "loss 1.5"
    assert all(text in headline(latest, 5) for text in shown)
    (line,) = [line for line in summary(latest, ["a"], 1, 1, 1) if line.startswith("learner: ")]
    assert line == (
        "learner: loss 1.5, omg_kl_loss 4.25, model_action_accuracy 0.75 (held-out 0.5), contrastive 0.125, "
        "my_aux_loss 2.5, vae_mix_loss 2, grad_norm 9"
    )


def test_skipped_updates_are_reported_if_there_were_any():
    latest = {"loss": 1.5, "skipped_updates": 0.0, "vae_skipped_updates": 2.0}
    assert own_numbers(latest) == [] and live(latest) == ["loss 1.5"]
    assert summary(latest, ["a"], 1, 1, 1)[2:] == ["learner: loss 1.5", "vae_skipped_updates: 2 (not finite)"]


def test_the_summary_states_the_units_of_the_vae_losses():
    latest = {**VAE, "vae_active_units": 16.0, "vae_recon_null": 25.6, "test_vae_accuracy": 0.987}
    (line,) = [line for line in summary(latest, [], 1, 1, 1) if line.startswith("VAE: ")]
    assert line == (
        "VAE: reconstruction 7.12 nats, KL 17.9 nats, alpha 0.01, 0.929 of held-out variance explained, "
        "held-out accuracy 0.987, 16 active units"
    )
    del latest["vae_recon_null"]  # the mean squared error of vae_formula: mean
    assert "reconstruction 7.12, KL 17.9 nats" in "".join(summary(latest, [], 1, 1, 1))


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("vae_kl_loss", (0, float("inf"))),
        ("vae_clipped_share", (0, 1)),
        ("vae_explained_variance", (-float("inf"), 1)),
        ("vae_log_var_mean", (-float("inf"), float("inf"))),
        ("return_mean", (-float("inf"), float("inf"))),
        ("policy_loss", (-float("inf"), float("inf"))),
        ("test_model_action_accuracy", (0, 1)),
    ],
)
def test_bounds_of_metrics_follow_from_their_names(name, expected):
    assert bounds(name) == expected
