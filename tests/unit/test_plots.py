"""Reading the files of runs, and the picture of a run."""

from __future__ import annotations

import json
import logging
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from omarl.analysis import plots
from omarl.analysis.plots import MAX_POINTS, draw_curves
from omarl.analysis.runs import read_config, read_metrics
from omarl.types import OmarlError

PNG = b"\x89PNG\r\n\x1a\n"


def write(run: Path, *records: dict[str, Any], end: str = "") -> Path:
    run.mkdir(exist_ok=True)
    (run / "metrics.jsonl").write_text("".join(json.dumps(r) + "\n" for r in records) + end)
    return run


@pytest.fixture
def figure_of(monkeypatch: pytest.MonkeyPatch) -> Any:
    """Draws a run and returns the figure instead of saving it."""

    def draw(run: Path) -> Any:
        figures: list[Any] = []
        monkeypatch.setattr(plots, "save_figure", lambda figure, target: figures.append(figure))
        draw_curves(run)
        figures[0].canvas.draw()
        return figures[0]

    return draw


def titles(figure: Any) -> list[str]:
    return [ax.get_title(loc="left") for ax in figure.axes]


# --- reading ---------------------------------------------------------------------------------------------


def test_metrics_are_sorted_and_null_is_nan(tmp_path: Path) -> None:
    run = write(
        tmp_path,
        {"t_env": 20, "wall_s": 2.0, "loss": None, "note": "text"},
        {"t_env": 10, "wall_s": 1.0, "loss": 3, "return_mean": -1.5},
    )
    metrics = read_metrics(run)
    assert set(metrics) == {"wall_s", "loss", "return_mean"}
    np.testing.assert_array_equal(metrics["loss"].t, [10, 20])
    np.testing.assert_array_equal(metrics["loss"].value, [3, np.nan])
    np.testing.assert_array_equal(metrics["return_mean"].t, [10])


def test_a_step_logged_twice_keeps_the_later_value(tmp_path: Path) -> None:
    records = [{"t_env": t, "loss": v} for t, v in [(10, 1), (20, 2), (20, 5), (30, 6)]]
    series = read_metrics(write(tmp_path, *records))["loss"]
    np.testing.assert_array_equal(series.t, [10, 20, 30])
    np.testing.assert_array_equal(series.value, [1, 5, 6])


@pytest.mark.parametrize("cut", range(1, 25))
def test_an_incomplete_last_line_is_ignored(tmp_path: Path, caplog, cut: int) -> None:
    line = json.dumps({"t_env": 20, "loss": 2.0})
    run = write(tmp_path, {"t_env": 10, "loss": 1.0}, end=line[:cut])
    with caplog.at_level(logging.WARNING):
        assert read_metrics(run)["loss"].value.tolist() in ([1.0], [1.0, 2.0])
    assert not caplog.records


def test_unreadable_lines_before_the_last_give_a_warning(tmp_path: Path, caplog) -> None:
    (tmp_path / "metrics.jsonl").write_text('{"t_env": 1, "loss": 1}\n{"t_en{"t\n[7]\n{"t_env": 2, "loss": 2}\n')
    with caplog.at_level(logging.WARNING):
        assert read_metrics(tmp_path)["loss"].value.tolist() == [1, 2]
    assert "2 unreadable lines" in caplog.text


def test_sacreds_metrics_are_read_without_a_metrics_jsonl(tmp_path: Path) -> None:
    numpy_scalar = {"py/object": "numpy.float32", "dtype": "float32", "value": 0.5}
    odd = {"py/reduce": [{"py/type": "numpy.core.multiarray.scalar"}]}
    metrics = {
        "loss": {"steps": [20, 10, 30], "values": [numpy_scalar, 1.0, odd], "timestamps": ["", "", ""]},
        "nothing": {"steps": [1], "values": [odd], "timestamps": [""]},
    }
    (tmp_path / "metrics.json").write_text(json.dumps(metrics))
    read = read_metrics(tmp_path)
    assert set(read) == {"loss"}
    assert read["loss"].t.tolist() == [10, 20]
    assert read["loss"].value.tolist() == [1.0, 0.5]
    write(tmp_path, {"t_env": 1, "epsilon": 1.0})
    assert set(read_metrics(tmp_path)) == {"epsilon"}


def test_folders_that_are_no_runs_are_refused_in_one_line(tmp_path: Path) -> None:
    with pytest.raises(OmarlError, match="no such directory"):
        read_metrics(tmp_path / "absent")
    with pytest.raises(OmarlError, match=r"neither metrics\.jsonl nor metrics\.json") as caught:
        read_metrics(tmp_path)
    assert "\n" not in str(caught.value)
    for text in ('{"loss": {"st', "[1, 2]", '{"loss": 3}'):
        (tmp_path / "metrics.json").write_text(text)
        with pytest.raises(OmarlError, match="Sacred"):
            read_metrics(tmp_path)


def test_an_unreadable_config_is_empty(tmp_path: Path) -> None:
    assert read_config(tmp_path) == {}
    (tmp_path / "config.json").write_text('{"seed": ')
    assert read_config(tmp_path) == {}


# --- drawing ---------------------------------------------------------------------------------------------


def test_the_picture_is_written_to_the_runs_folder_or_the_given_path(tmp_path: Path) -> None:
    run = write(tmp_path / "run", {"t_env": 0, "loss": 1.0}, {"t_env": 5, "loss": 0.5})
    assert draw_curves(run) == run / "curves.png"
    assert (run / "curves.png").read_bytes().startswith(PNG)
    out = draw_curves(str(run), tmp_path / "new" / "a.svg")
    assert "<svg" in out.read_text()
    with pytest.raises(OmarlError, match="png"):
        draw_curves(run, tmp_path / "curves.xyz")


def test_an_interrupted_drawing_leaves_the_old_picture_intact(tmp_path: Path, monkeypatch) -> None:
    from matplotlib.figure import Figure

    run = write(tmp_path, {"t_env": 0, "loss": 1.0})
    before = draw_curves(run).read_bytes()

    def interrupted(self: Any, file: Any, **_: Any) -> None:
        file.write(b"half")
        raise KeyboardInterrupt

    monkeypatch.setattr(Figure, "savefig", interrupted)
    with pytest.raises(KeyboardInterrupt):
        draw_curves(run)
    assert (run / "curves.png").read_bytes() == before
    assert sorted(p.name for p in run.iterdir()) == ["curves.png", "metrics.jsonl"]


def test_the_vaes_losses_are_the_first_panels(tmp_path: Path, figure_of) -> None:
    names = ("loss", "return_mean", "vae_alpha", "vae_loss", "vae_kl_loss", "vae_recon_loss")
    run = write(tmp_path, *({"t_env": t, **dict.fromkeys(names, 1.0)} for t in range(3)))
    assert titles(figure_of(run)) == [
        "Reconstruction loss",
        "KL divergence (nats)",
        "Total VAE loss",
        "KL weight (alpha)",
        "Return, training",
        "Agents' loss",
    ]


def test_a_run_without_a_vae_has_no_empty_panels(tmp_path: Path, figure_of) -> None:
    names = ("loss", "return_mean", "test_return_mean", "epsilon")
    run = write(tmp_path, *({"t_env": t, **dict.fromkeys(names, 1.0)} for t in range(3)))
    expected = ["Return, training", "Return, test", "Agents' loss", "Exploration (epsilon)"]
    assert titles(figure_of(run)) == expected


def test_standard_deviations_and_extremes_are_drawn_as_bands(tmp_path: Path, figure_of) -> None:
    band = {"vae_loss": 5.0, "vae_loss_std": 1.0, "vae_loss_min": 2.0, "vae_loss_max": 9.0}
    pymarl = {"return_mean": 1.0, "return_std": 0.5}
    figure = figure_of(write(tmp_path, *({"t_env": t, **band, **pymarl} for t in (0, 10))))
    loss, returns = figure.axes
    std, span = (c.get_paths()[0].get_extents() for c in loss.collections)
    assert (std.y0, std.y1) == (4, 6)
    assert (span.y0, span.y1) == (2, 9)
    assert [t.get_text() for t in loss.get_legend().get_texts()] == ["mean", "±1 std", "min to max"]
    assert [t.get_text() for t in returns.get_legend().get_texts()] == ["mean", "±1 std"]


def test_bands_stay_within_possible_values(tmp_path: Path, figure_of) -> None:
    skewed = {"vae_kl_loss": 1.0, "vae_kl_loss_std": 3.0, "vae_kl_loss_min": 0.25, "vae_kl_loss_max": 2.0}
    named = {"vae_alpha": 0.1, "vae_alpha_std": 0.5, "model_action_accuracy": 0.9, "model_action_accuracy_std": 0.3}
    figure = figure_of(write(tmp_path, *({"t_env": t, **skewed, **named} for t in (0, 10))))
    bands = {ax.get_title(loc="left"): ax.collections[0].get_paths()[0].get_extents() for ax in figure.axes}
    shown = {title: (band.y0, band.y1) for title, band in bands.items()}
    assert shown == {
        "KL divergence (nats)": (0.25, 2.0),  # the logged extremes
        "KL weight (alpha)": (0.0, pytest.approx(0.6)),
        "model_action_accuracy": (pytest.approx(0.6), 1.0),
    }


def test_bands_of_thinned_curves_stay_within_possible_values(tmp_path: Path, figure_of) -> None:
    values = {"vae_kl_loss": 1.0, "vae_kl_loss_std": 3.0, "vae_kl_loss_min": 0.25, "vae_kl_loss_max": 2.0}
    (ax,) = figure_of(write(tmp_path, *({"t_env": t, **values} for t in range(3 * MAX_POINTS)))).axes
    band = ax.collections[0].get_paths()[0].get_extents()
    assert (band.y0, band.y1) == (0.25, 2.0)


def test_learner_specific_losses_have_panels(tmp_path: Path, figure_of) -> None:
    names = ("omg_kl_loss", "omg_kl_loss_std", "model_loss", "contrastive", "loss", "policy_loss", "grad_norm")
    run = write(tmp_path, *({"t_env": t, **dict.fromkeys(names, 1.0)} for t in range(3)))
    assert titles(figure_of(run)) == ["omg_kl_loss", "model_loss", "contrastive", "Agents' loss", "Policy loss"]


def test_metrics_that_are_not_drawn_are_counted(tmp_path: Path, figure_of) -> None:
    names = [f"mine_{i}_loss" for i in range(15)]
    run = write(tmp_path, *({"t_env": t, **dict.fromkeys(names, 1.0)} for t in range(3)))
    figure = figure_of(run)
    assert len(figure.axes) == 12 and "3 further metrics not drawn" in figure.get_supxlabel()


def test_held_out_values_share_the_panel_of_training_values(tmp_path: Path, figure_of) -> None:
    early = {"vae_explained_variance": -2.0, "test_vae_explained_variance": -2.5, "test_omg_hit_ratio": 0.1}
    late = {"vae_explained_variance": 0.95, "test_vae_explained_variance": 0.9, "test_omg_hit_ratio": 0.4}
    variance, hits = figure_of(write(tmp_path, {"t_env": 0, **early}, {"t_env": 9, **late})).axes
    assert [t.get_text() for t in variance.get_legend().get_texts()] == ["mean", "held-out"]
    assert variance.lines[2].get_ydata().tolist() == [-2.5, 0.9]
    assert variance.get_ylim()[0] == pytest.approx(-0.1)  # the untrained VAE does not determine the axis
    assert hits.get_title(loc="left") == "omg_hit_ratio, test"


@pytest.mark.parametrize(("formula", "unit"), [("nats", " (nats)"), ("mean", ""), (None, " (nats)")])
def test_titles_of_vae_losses_state_their_unit(tmp_path: Path, figure_of, formula: str | None, unit: str) -> None:
    values = {"vae_recon_loss": 7.0, "vae_loss": 12.0, "vae_recon_null": 25.0, "vae_alpha": 0.01, "vae_beta": 0.25}
    run = write(tmp_path, *({"t_env": t, **values} for t in range(3)))
    (run / "config.json").write_text(json.dumps({"vae_formula": formula} if formula else {}))
    recon, total, weight = figure_of(run).axes
    assert recon.get_title(loc="left") == f"Reconstruction loss{unit}"
    assert total.get_title(loc="left") == f"Total VAE loss{unit}"
    assert (len(recon.lines) > 2) == bool(unit)  # the line of vae_recon_null exists only in nats
    assert weight.get_title(loc="right") == "beta 0.25  ·  last 0.01"


def test_the_legend_is_above_the_curves(tmp_path: Path, figure_of) -> None:
    values = {"vae_kl_loss_std": 1.0, "vae_kl_loss_min": 1.0, "vae_kl_loss_max": 9.0}
    for name, peak in (("flat", 5.0), ("spike", 9000.0)):
        run = write(tmp_path / name, *({"t_env": t, "vae_kl_loss": (5.0, peak)[t == 1], **values} for t in range(9)))
        (ax,) = figure_of(run).axes
        below = ax.get_legend().get_window_extent().y0
        tops = [ax.transData.transform((0, band.get_paths()[0].get_extents().y1))[1] for band in ax.collections]
        assert max(tops) <= below and ax.transData.transform((0, peak))[1] <= below


def test_agents_share_a_panel_unless_there_are_too_many(tmp_path: Path, figure_of) -> None:
    few = {"return_mean/a": 1.0, "return_mean/a_std": 0.1, "return_mean/b": 2.0}
    (ax,) = figure_of(write(tmp_path / "few", {"t_env": 0, **few}, {"t_env": 1, **few})).axes
    assert [t.get_text() for t in ax.get_legend().get_texts()] == ["a", "b"]
    many = {f"return_mean/{i}": 1.0 for i in range(7)}
    assert not figure_of(write(tmp_path / "many", {"t_env": 0, **many})).axes


@pytest.mark.parametrize("values", [[1.0], [None], [None, 2.0, None], [1.0, float("inf"), 3.0], [0.0, 0.0]])
def test_series_with_missing_values_are_drawn(tmp_path: Path, figure_of, values: list[float | None]) -> None:
    records = ({"t_env": t, "loss": v, "loss_min": v, "loss_max": v} for t, v in enumerate(values))
    (ax,) = figure_of(write(tmp_path, *records)).axes
    missing = sum(v is None or not np.isfinite(v) for v in values)
    assert (f"{missing} not finite" in ax.get_title(loc="right")) == bool(missing)
    dots = ax.lines[1].get_xdata()
    assert len(dots) == {1: 1, 2: 0, 3: 2}[len(values)] - (values == [None]) - (values == [None, 2.0, None])


def test_the_picture_of_a_run_without_metrics_says_so(tmp_path: Path, figure_of) -> None:
    figure = figure_of(write(tmp_path))
    assert not figure.axes
    assert figure.texts[-1].get_text() == "nothing logged yet"


def test_the_title_states_run_environment_and_seed(tmp_path: Path, figure_of) -> None:
    run = write(tmp_path / "run_7", {"t_env": 0, "loss": 1.0})
    assert figure_of(run).get_suptitle() == "run_7"
    config = {"name": "omg_vae", "seed": 0, "env_args": {"key": "simple_tag"}}
    (run / "config.json").write_text(json.dumps(config))
    assert figure_of(run).get_suptitle() == "omg_vae  ·  simple_tag  ·  seed 0"


def test_panels_share_the_steps_and_write_them_as_20k(tmp_path: Path, figure_of) -> None:
    run = write(tmp_path, {"t_env": 0, "loss": 1.0, "epsilon": 1}, {"t_env": 40_000, "loss": 1.0})
    loss, epsilon = figure_of(run).axes
    assert "20k" in [label.get_text() for label in loss.get_xticklabels()]
    assert loss.get_xlim() == epsilon.get_xlim()


def test_only_losses_with_a_large_spike_have_a_log_axis(tmp_path: Path, figure_of) -> None:
    values = {
        "vae_loss": (900.0, 1.0, 1.0),
        "loss": (9.0, 1.0, 1.0),
        "vae_kl_loss": (0.01, 20.0, 17.0),  # rises from zero; the difference between 20 and 17 must remain visible
        "vae_alpha": (0.001, 1.0, 1.0),
    }
    run = write(tmp_path, *({"t_env": t, **{k: v[t] for k, v in values.items()}} for t in range(3)))
    scales = {ax.get_title(loc="left"): ax.get_yscale() for ax in figure_of(run).axes}
    assert scales == {
        "KL divergence (nats)": "linear", "Total VAE loss": "log", "KL weight (alpha)": "linear",
        "Agents' loss": "linear",
    }  # fmt: skip


def test_thinning_keeps_means_and_spikes_and_is_stated(tmp_path: Path, figure_of) -> None:
    count = 50 * MAX_POINTS
    values = np.arange(count) / count
    values[7] = 30.0
    run = write(tmp_path, *({"t_env": t, "epsilon": float(v)} for t, v in enumerate(values)))
    (ax,) = figure_of(run).axes
    line = ax.lines[0]
    np.testing.assert_allclose(line.get_ydata(), values.reshape(MAX_POINTS, 50).mean(axis=1))
    assert ax.collections[0].get_paths()[0].get_extents().y1 == 30
    assert "50 logged per point" in ax.get_title(loc="right")


def test_drawing_does_not_change_matplotlibs_global_state(tmp_path: Path) -> None:
    import matplotlib

    before = dict(matplotlib.rcParams)
    draw_curves(write(tmp_path, {"t_env": 0, "loss": 1.0}))
    assert dict(matplotlib.rcParams) == before


def test_bands_take_the_standard_deviation_of_their_own_step(tmp_path: Path) -> None:
    records = [
        {"t_env": 0, "own": 1.0},
        {"t_env": 10, "own": 2.0, "own_std": 0.5},
        {"t_env": 20, "own": 3.0, "own_std": 1},
    ]
    curve = plots._curve(read_metrics(write(tmp_path, *records)), "own")
    np.testing.assert_array_equal(curve.above, [np.nan, 2.5, 4.0])
