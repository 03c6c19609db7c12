"""The doctor's input formats other than Sacred's, and curves of real users."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from omarl.analysis.doctor import DiagnoseConfig, Diagnosis, diagnose, diagnose_arrays, examine
from omarl.analysis.runs import Series
from omarl.analysis.tables import read_any
from omarl.types import ConfigError, OmarlError

CURVES = Path(__file__).parents[1] / "data" / "curves"
N = 120
X = np.linspace(0, 1, N)
STEP = (np.arange(1, N + 1) * 500).astype(int)
KL = 17 - 15 * np.exp(-20 * X) + 3 * np.sin(40 * X)
RECON = 0.15 + 0.8 * np.exp(-9 * X)


def diagnosed(path: Path, out: Path, **named: str) -> Diagnosis:
    return diagnose(DiagnoseConfig(run=str(path), out=str(out), diagnose=named))


def symptoms(diagnosis: Diagnosis) -> list[str]:
    return [f.symptom for f in diagnosis.findings]


@pytest.mark.parametrize(
    ("name", "alpha", "expected"),
    [
        ("refreshed_batches", 0.001, ["data_refresh"]),
        ("collapse_from_the_start", 0.01, ["posterior_collapse"]),
        ("collapse_by_ramp", 0.01, ["posterior_collapse", "data_refresh"]),
    ],
)
def test_curves_of_real_users_are_diagnosed_correctly(tmp_path, name, alpha, expected):
    config = {"vae_lr": 5e-4, "omg_vae_alpha": alpha, "grad_norm_clip": 5, "optim_alpha": 0.9, "subgoal_dim": 64}
    (tmp_path / "config.json").write_text(json.dumps(config))
    (tmp_path / "curve.csv").write_bytes((CURVES / f"{name}.csv").read_bytes())
    diagnosis = diagnosed(tmp_path / "curve.csv", tmp_path)
    assert symptoms(diagnosis) == expected
    assert all(not f.remedy and f.advice for f in diagnosis.findings)  # not omarl's VAE, so no remedies
    if "data_refresh" in expected:
        refresh = next(f for f in diagnosis.findings if f.symptom == "data_refresh")
        assert 850 < refresh.evidence["period_steps"] < 950 and "last 4" in refresh.advice
    if name == "collapse_by_ramp":
        assert diagnosis.findings[0].driven_by_weight and "grows" in diagnosis.findings[0].cause


def write_csv(path: Path, step: str = "global_step", **columns: np.ndarray) -> Path:
    head = [step, *columns]
    rows = zip(STEP, *columns.values(), strict=True)
    path.write_text(",".join(head) + "\n" + "".join(",".join(map(str, row)) + "\n" for row in rows))
    return path


def test_a_csv_file_or_its_folder_is_read(tmp_path):
    file = write_csv(tmp_path / "log.csv", "epoch", kld=KL, recon_loss=RECON)
    diagnosis = diagnosed(file, tmp_path)
    assert symptoms(diagnosis) == ["kl_oscillation"] and diagnosis.window.end == STEP[-1]
    assert symptoms(diagnosed(tmp_path, tmp_path)) == ["kl_oscillation"]  # the folder with this table


def test_the_user_can_name_the_columns(tmp_path):
    file = write_csv(tmp_path / "log.csv", "iteration", divergence=KL, error=RECON)
    assert symptoms(diagnosed(file, tmp_path, kl="divergence", recon="error")) == ["kl_oscillation"]
    with pytest.raises(OmarlError, match="no VAE in this run") as caught:
        diagnosed(file, tmp_path)
    assert "\n" not in str(caught.value) and "divergence" in str(caught.value)


def test_the_vaes_kl_is_preferred_to_the_policys_in_rllibs_file(tmp_path):
    prefix = "info/learner/default_policy/"
    columns = {
        f"{prefix}learner_stats/kl": 0.01 + 0 * X, f"{prefix}learner_stats/total_loss": -1 + X,
        f"{prefix}vae/kl": KL, f"{prefix}vae/recon": RECON, "timesteps_total": STEP,
    }  # fmt: skip
    diagnosis = diagnosed(write_csv(tmp_path / "progress.csv", "training_iteration", **columns), tmp_path)
    assert diagnosis.measured["kl_mean"] == pytest.approx(17, abs=1)
    assert diagnosis.window.end == STEP[-1]


def test_a_policys_kl_without_a_vae_is_refused(tmp_path):
    columns = {"train/approx_kl": 0.01 + 0 * X, "train/loss": X, "learner_stats/kl": 0.02 + 0 * X}
    with pytest.raises(OmarlError, match="no VAE in this run"):
        diagnosed(write_csv(tmp_path / "progress.csv", "time/total_timesteps", **columns), tmp_path)


def test_json_lines_with_nested_objects_are_read(tmp_path):
    records = [
        {"timesteps_total": int(t), "done": False, "info": {"learner": {"vae": {"kl_loss": k, "recon_loss": r}}}}
        for t, k, r in zip(STEP, KL, RECON, strict=True)
    ]
    file = tmp_path / "result.json"
    file.write_text("".join(json.dumps(record) + "\n" for record in records) + '{"timesteps_to')
    assert symptoms(diagnosed(file, tmp_path)) == ["kl_oscillation"]
    assert set(read_any(file)) == {"info/learner/vae/kl_loss", "info/learner/vae/recon_loss"}


def test_tensorboard_files_and_folders_are_read(tmp_path):
    from torch.utils.tensorboard import SummaryWriter

    with SummaryWriter(str(tmp_path / "events")) as writer:
        for t, k, r in zip(STEP, KL, RECON, strict=True):
            writer.add_scalar("vae/kl_loss", k, int(t))
            writer.add_scalar("vae/recon_loss", r, int(t))
    series = read_any(tmp_path / "events")["vae/kl_loss"]
    assert len(series) == N and series.t[-1] == STEP[-1]
    (file,) = (tmp_path / "events").iterdir()
    for place in (tmp_path / "events", file):
        assert symptoms(diagnosed(place, tmp_path / "out")) == ["kl_oscillation"]


def test_arrays_in_memory_are_diagnosed():
    assert symptoms(diagnose_arrays({"kl": KL, "recon": list(RECON)}, steps=STEP)) == ["kl_oscillation"]
    assert symptoms(diagnose_arrays({"d": KL, "e": RECON}, kl="d", recon="e")) == ["kl_oscillation"]
    with pytest.raises(ConfigError, match="kl: 120 values, but 3 steps"):
        diagnose_arrays({"kl": KL}, steps=[1, 2, 3])
    with pytest.raises(ConfigError, match="no VAE"):
        diagnose_arrays({"return": KL})


def test_names_of_omg_series_are_known():
    series = {"omg_kld_loss": Series(STEP * 1.0, KL), "omg_recons_loss": Series(STEP * 1.0, RECON)}
    assert symptoms(examine(series, {})) == ["kl_oscillation"]


@pytest.mark.parametrize(
    ("name", "content", "words"),
    [
        ("log.csv", "1,2\n3,4\n", "no header line"),
        ("log.jsonl", "nothing\n", "contains no JSON objects"),
        ("log.xlsx", "PK", "unknown format"),
        ("log.csv", "step,kl\n", "nothing has been logged yet"),
    ],
)
def test_files_that_are_not_logs_are_refused_in_one_line(tmp_path, name, content, words):
    (tmp_path / name).write_text(content)
    with pytest.raises(OmarlError, match=words) as caught:
        diagnosed(tmp_path / name, tmp_path)
    assert "\n" not in str(caught.value)


def test_cells_without_a_number_are_left_out(tmp_path):
    (tmp_path / "log.csv").write_text("step,kld,recon_loss\n1,2.0,\n2,,0.5\n3,nan,0.4\n")
    series = read_any(tmp_path / "log.csv")
    assert series["kld"].t.tolist() == [1, 3] and np.isnan(series["kld"].value[1])
    assert series["recon_loss"].t.tolist() == [2, 3]


def test_the_doctor_does_not_import_torch_or_numba():
    code = (
        "import sys, omarl.analysis.doctor as d, omarl.analysis.doctor.report, omarl.analysis.doctor.picture;"
        "d.diagnose_arrays({'kl': [1.0] * 50});"
        "print([m for m in ('torch', 'numba', 'tensorboard') if m in sys.modules])"
    )
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert result.stdout.strip() == "[]"
