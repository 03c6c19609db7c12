"""Diagnosis of the folders of omarl's and forks' runs: input files, written files, and errors."""

from __future__ import annotations

import cProfile
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from omarl.analysis.doctor import DiagnoseConfig, Diagnosis, Finding, diagnose
from omarl.analysis.doctor.report import write_report
from omarl.analysis.runs import read_metrics
from omarl.config.files import read_yaml
from omarl.configuration.layers import complete, from_files
from omarl.run import RunConfig
from omarl.types import OmarlError

N = 60
X = np.linspace(0, 1, N)
FILES = {"diagnosis.json", "diagnosis.md", "diagnosis.png", "suggested.yaml"}


def fork(folder: Path, config: dict[str, Any] | None = None, **values: Any) -> Path:
    """A fork's run: Sacred's metrics.json and config.json."""
    folder.mkdir(parents=True, exist_ok=True)
    kept = {"kld_loss": 17 + 3 * np.sin(30 * X), "recons_loss": 0.15 + 0.8 * np.exp(-9 * X)} | values
    steps = list(range(10_000, 10_000 * N + 1, 10_000))
    metrics = {
        n: {"steps": steps[: len(v)], "values": list(v), "timestamps": ["2025-01-01T00:00:00"] * len(v)}
        for n, v in kept.items()
    }
    (folder / "metrics.json").write_text(json.dumps(metrics))
    settings = {"vae_lr": 5e-4, "omg_vae_alpha": 0.001, "optim_alpha": 0.9, "grad_norm_clip": 5, "latent_dim": 32}
    (folder / "config.json").write_text(json.dumps(settings if config is None else config))
    return folder


def ours(folder: Path, alpha: float = 1e-6, **changed: Any) -> Path:
    """A run of this package whose KL weight is far too small."""
    folder.mkdir(parents=True, exist_ok=True)
    config = complete(from_files("omg_vae", "simple_tag"), RunConfig).values
    config |= {"seed": 7, "omg_vae_alpha": alpha, "vae_alpha_ramp": 0, "local_results_path": "/gone"} | changed
    (folder / "config.json").write_text(json.dumps(config))
    records = [
        {"t_env": 1000 * (i + 1), "vae_kl_loss": 150 + i / 10, "vae_kl_loss_std": 1.0, "vae_recon_loss": 0.07,
         "vae_alpha": alpha, "vae_explained_variance": 0.94, "vae_active_units": 16, "vae_clipped_share": 0.0,
         "updates": 20 * (i + 1), "vae_grad_norm": 0.5}
        for i in range(N)
    ]  # fmt: skip
    (folder / "metrics.jsonl").write_text("".join(json.dumps(r) + "\n" for r in records))
    return folder


def diagnosed(run: Path | str, out: str = "", **named: str) -> Diagnosis:
    return diagnose(DiagnoseConfig(run=str(run), out=out, diagnose=named))


def test_four_files_are_written_into_the_runs_folder(tmp_path):
    diagnosis = diagnosed(ours(tmp_path / "1"))
    assert {Path(f).name for f in diagnosis.files} == FILES and all(Path(f).is_file() for f in diagnosis.files)
    report = json.loads((tmp_path / "1" / "diagnosis.json").read_text())
    assert report["healthy"] is False
    (finding,) = report["findings"]
    assert finding["symptom"] == "kl_weight_too_small" and finding["remedy"].keys() == {"omg_vae_alpha"}
    assert finding["evidence"]["kl_weight"] == 1e-6 and 0 <= finding["confidence"] <= 1
    text = (tmp_path / "1" / "diagnosis.md").read_text()
    assert "kl_weight_too_small" in text and "omg_vae_alpha" in text
    assert (tmp_path / "1" / "diagnosis.png").read_bytes().startswith(b"\x89PNG")
    assert not [p for p in (tmp_path / "1").iterdir() if p.name.endswith(".tmp")]


def suggested(path: Path) -> dict[str, Any]:
    """The file as a run reads it, with all keys checked."""
    return complete(from_files(str(path), "simple_tag"), RunConfig).values


def test_the_suggestion_is_the_runs_configuration_with_the_remedy(tmp_path):
    diagnosed(ours(tmp_path / "1", env_args={"key": "mpe2.simple_spread_v3", "max_cycles": 30}, buffer_size=77))
    path = tmp_path / "1" / "suggested.yaml"
    values, raw = suggested(path), read_yaml(path)
    assert values["omg_vae_alpha"] > 1e-5 and values["buffer_size"] == 77 and values["vae_alpha_ramp"] == 0
    assert values["env_args"] == {"key": "mpe2.simple_spread_v3", "max_cycles": 30}
    assert not {"seed", "checkpoint_path", "local_results_path"} & raw.keys()
    assert "# kl_weight_too_small: was 1.0e-06" in path.read_text()


def test_the_suggestion_names_the_environments_configuration_if_necessary(tmp_path):
    diagnosed(ours(tmp_path / "1", env="gymnasium", env_args={"key": "lbforaging:Foraging-8x8-2p-3f-v3"}))
    assert "--env-config=foraging" in (tmp_path / "1" / "suggested.yaml").read_text()


def test_a_forks_suggestion_is_its_own_configuration_with_advice(tmp_path):
    """A fork's VAE does not read omarl's keys, so changes in the code are suggested instead."""
    diagnosis = diagnosed(fork(tmp_path / "3"))
    assert diagnosis.findings[0].symptom == "kl_oscillation"
    assert diagnosis.findings[0].remedy == {} and "PI controller" in diagnosis.findings[0].advice
    text, values = (tmp_path / "3" / "suggested.yaml").read_text(), read_yaml(tmp_path / "3" / "suggested.yaml")
    assert "# kl_oscillation: " in text and "PI controller" in text
    own = {"vae_lr": 5e-4, "omg_vae_alpha": 0.001, "optim_alpha": 0.9, "grad_norm_clip": 5, "latent_dim": 32}
    assert values == own


def test_advice_for_a_fork_names_the_forks_own_key(tmp_path):
    dead = {"kld_loss": 0.5 * np.exp(-300 * X) + 1e-4, "recons_loss": 0.072 + 0.02 * np.exp(-300 * X)}
    finding = diagnosed(fork(tmp_path / "3", {"kl_weight": 0.01, "z_dim": 64}, **dead)).findings[0]
    assert finding.symptom == "posterior_collapse" and "kl_weight (0.01)" in finding.advice and not finding.remedy


def test_the_user_can_name_the_series(tmp_path):
    run = fork(tmp_path / "4", kld_loss=[1.0] * N)
    metrics = json.loads((run / "metrics.json").read_text())
    metrics = {"divergence": metrics["kld_loss"], "train/recons_loss": metrics["recons_loss"]}
    (run / "metrics.json").write_text(json.dumps(metrics))
    assert any("No KL" in note for note in diagnosed(run).notes)
    assert diagnosed(run, kl="divergence").measured["kl_mean"] == 1.0
    with pytest.raises(OmarlError, match=r"diagnose\.kl: .*did you mean 'divergence'"):
        diagnosed(run, kl="divergense")
    with pytest.raises(OmarlError, match=r"diagnose\.kll: no such series; there are kl, recon"):
        diagnosed(run, kll="divergence")


def test_nan_and_jsonpickled_numbers_are_read(tmp_path):
    numpy = {"py/object": "numpy.float32", "dtype": "float32", "value": 17.0}
    run = fork(tmp_path / "5", kld_loss=[numpy] * (N - 2) + [float("nan"), None])
    series = read_metrics(run)["kld_loss"]
    assert series.value[0] == 17 and np.isnan(series.value[-2:]).all() and len(series) == N
    diagnosis = diagnosed(run)
    assert diagnosis.findings[0].symptom == "non_finite"
    assert diagnosis.findings[0].evidence["points_not_finite"] == {"vae_kl_loss": 2}
    json.loads((run / "diagnosis.json").read_text(), parse_constant=lambda word: pytest.fail(f"{word} is not JSON"))


def test_text_among_the_numbers_is_left_out(tmp_path):
    series = read_metrics(fork(tmp_path / "5", kld_loss=[17.0, "a lot", "NaN"] + [17.0] * (N - 3)))["kld_loss"]
    assert len(series) == N - 2 and (series.value == 17).all()


def test_diagnosis_json_has_null_for_nan_and_infinity(tmp_path):
    finding = Finding("kl_explosion", {"kl_peak": float("inf"), "kl_median": [float("nan")]}, "", {}, 0.5)
    write_report(Diagnosis((finding,)), tmp_path, "", read_metrics(ours(tmp_path)), {})
    evidence = json.loads((tmp_path / "diagnosis.json").read_text())["findings"][0]["evidence"]
    assert evidence == {"kl_peak": None, "kl_median": [None]}


def test_unequal_lengths_and_unreadable_tensors_give_a_note(tmp_path):
    tensor = {"py/reduce": [{"py/function": "torch._utils._rebuild_tensor_v2"}]}
    diagnosis = diagnosed(fork(tmp_path / "6", recons_loss=list(np.full(20, 0.2)), vae_grad_norm=[tensor] * N))
    assert any("unequally often (20, 60 points)" in note for note in diagnosis.notes)


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (None, "contains neither metrics.jsonl nor metrics.json"),
        ("", "cut off"),
        ('{"kld_loss": {"steps": [1, 2], "val', "cut off"),
        ("[1, 2]", "not one of Sacred's"),
        ('{"kld_loss": {"steps": 3, "values": 4}}', "not one of Sacred's"),
        ("{}", "nothing has been logged yet"),
        ('{"return_mean": {"steps": [1], "values": [2]}}', "It logs return_mean"),
    ],
)
def test_folders_that_are_no_runs_are_refused_in_one_line(tmp_path, content, words):
    if content is not None:
        (tmp_path / "metrics.json").write_text(content)
    with pytest.raises(OmarlError, match=words) as caught:
        diagnosed(tmp_path)
    assert "\n" not in str(caught.value)


def test_a_missing_folder_and_a_missing_argument_are_refused(tmp_path):
    with pytest.raises(OmarlError, match="no such directory"):
        diagnosed(tmp_path / "nowhere")
    with pytest.raises(OmarlError, match="run=FOLDER"):
        diagnosed("")


def test_a_run_that_is_still_being_written_is_diagnosed(tmp_path):
    run = ours(tmp_path / "1")
    with (run / "metrics.jsonl").open("a") as file:
        file.write('{"t_env": 61000, "vae_kl_')
    (run / "run.json").write_text('{"status": "RUNNING"}')
    assert any("still being written" in note for note in diagnosed(run).notes)
    (run / "metrics.jsonl").write_text("")
    with pytest.raises(OmarlError, match="nothing has been logged yet"):
        diagnosed(run)


def test_a_run_that_failed_with_a_non_finite_vae_is_diagnosed(tmp_path):
    run = ours(tmp_path / "1")
    trace = ["Traceback", "omarl.types.TrainingError: the VAE is not finite at step 3"]
    (run / "run.json").write_text(json.dumps({"status": "FAILED", "fail_trace": trace}))
    diagnosis = diagnosed(run)
    assert diagnosis.findings[0].symptom == "non_finite" and any("FAILED" in note for note in diagnosis.notes)


def test_out_names_another_folder(tmp_path):
    diagnosed(ours(tmp_path / "1"), out=str(tmp_path / "a" / "b"))
    assert {p.name for p in (tmp_path / "a" / "b").iterdir()} == FILES
    assert not FILES & {p.name for p in (tmp_path / "1").iterdir()}
    (tmp_path / "file").write_text("")
    with pytest.raises(OmarlError, match="out: cannot write into"):
        diagnosed(tmp_path / "1", out=str(tmp_path / "file"))


def test_a_read_only_run_is_diagnosed_without_files(tmp_path, monkeypatch):
    run = ours(tmp_path / "1")

    def refuse(*args: Any, **kwargs: Any) -> None:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(Path, "write_bytes", refuse)
    diagnosis = diagnosed(run)
    assert diagnosis.findings and not diagnosis.files
    assert any("Nothing was written" in note and "out=DIR" in note for note in diagnosis.notes)


def test_a_million_points_are_read_without_a_call_per_point(tmp_path):
    n = 1_000_000
    values = {"steps": list(range(n)), "values": [17.5] * n, "timestamps": ["2025-01-01T00:00:00.000000"] * n}
    (tmp_path / "metrics.json").write_text(
        json.dumps({"kld_loss": values, "recons_loss": values | {"values": [0.2] * n}})
    )
    profile = cProfile.Profile()
    profile.runcall(diagnosed, tmp_path)
    assert sum(entry.callcount for entry in profile.getstats()) < 2 * n  # for four million numbers
