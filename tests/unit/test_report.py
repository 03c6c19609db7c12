"""The report: its numbers, its sentences, what it needs to be read anywhere, and its size for 60 runs."""

import json
import re
import time
from html.parser import HTMLParser

import numpy as np
import pytest
from omarl.analysis.comparison import CompareConfig, compare, read_groups
from omarl.report.curves import STEPS, axes_of, band, lines_of
from omarl.report.facts import against_opponents, evaluation_of, origin_of
from omarl.report.page import page, shaded, table
from omarl.report.report import ReportConfig, report
from omarl.types import ConfigError, OmarlError
from studies import write_evaluation, write_film, write_run, write_study

VOID = {"meta", "link", "input", "br", "img"}


class Page(HTMLParser):
    """Reads a page and checks that its tags are closed in order."""

    def __init__(self, text):
        super().__init__()
        self.open, self.seen, self.words = [], [], {}
        self.feed(text)
        assert self.open == []

    def handle_starttag(self, tag, attrs):
        self.seen.append((tag, dict(attrs)))
        if tag not in VOID:
            self.open.append(tag)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        self.words[self.open[-1] if self.open else ""] = self.words.get(self.open[-1] if self.open else "", "") + data

    def all(self, tag):
        return [attrs for name, attrs in self.seen if name == tag]


@pytest.fixture(scope="module")
def study(tmp_path_factory):
    root = write_study(tmp_path_factory.mktemp("study"), ["iql", "omg_vae"], ["simple_tag", "rps"], 3)
    (root / "crossplay").mkdir()
    (root / "crossplay" / "crossplay.csv").write_text(",runs,a,all\niql,3,1,2\nomg_vae,3,3,nan\n")
    return root


@pytest.fixture(scope="module")
def text(study):
    assert report(ReportConfig(runs=str(study), out=str(study / "report.html"))) == f"written: {study}/report.html"
    return (study / "report.html").read_text()


def data_of(text):
    return json.loads(re.search(r'id="data">(.*?)</script>', text, re.S).group(1))


def test_the_page_is_one_file_that_loads_nothing(text):
    page = Page(text)
    links = [a.get("href") or a.get("src") for _, a in page.seen if a.get("href") or a.get("src")]
    assert links and all(link.startswith(("#", "data:")) for link in links)
    assert not re.search(r"@import|url\(|fetch\(|XMLHttpRequest", text)
    targets = {attrs.get("id") for _, attrs in page.seen}
    assert {link[1:] for link in links if link.startswith("#")} <= targets


def test_a_missing_charting_library_is_named_in_one_line(study, monkeypatch):
    monkeypatch.setattr("omarl.report.page.find_spec", lambda name: None)
    with pytest.raises(ConfigError, match=r"^report: its charts need uPlot; pip install uplot-python$"):
        report(ReportConfig(runs=str(study), out=str(study / "none.html")))
    assert not (study / "none.html").exists()


def test_the_page_can_be_read_on_a_phone_by_keyboard_and_by_a_screen_reader(text):
    page = Page(text)
    assert page.all("html") == [{"lang": "en"}]
    assert any(attrs.get("name") == "viewport" for attrs in page.all("meta"))
    assert len(page.all("main")) == len(page.all("h1")) == len(page.all("nav")) == 1
    assert page.all("a")[0]["class"] == "skip"
    assert all(attrs["aria-label"] for attrs in page.all("table"))
    assert all(attrs.get("scope") in ("col", "row") for attrs in page.all("th"))
    assert all(attrs.get("tabindex") == "0" for attrs in page.all("div") if attrs.get("class") == "scroll")
    assert "@media print" in text and len(page.all("figure")) == len(page.all("figcaption")) == 3


def test_the_summary_is_three_sentences_and_the_table_has_compares_numbers(study, text):
    summary = re.search(r'<p class="summary">(.*?)</p>', text).group(1)
    assert summary.startswith("12 runs of 2 algorithms on 2 environments, with 3 seeds each and up to 100,000 ")
    assert "Over all environments omg_vae has the highest normalised score" in summary
    # 2 / (6 over 3) = 0.1: three seeds cannot be enough
    assert "With so few seeds, none of the 2 differences between two algorithms can be clear" in summary
    assert summary.endswith("the VAE of 6 of 6 runs is healthy.")
    rows = compare(CompareConfig(runs=str(study)), write=False).rows
    for row in rows:
        assert f"{row.final.point:.4g} [{row.final.low:.4g}, {row.final.high:.4g}]" in text
    assert "fewer than 5 seeds" in text


def test_curves_are_interquartile_means_with_bootstrap_bands(study, text):
    charts = data_of(text)["charts"]
    assert [chart["task"] for chart in charts] == ["rps_v3", "simple_tag_v3"]
    metrics = charts[0]["metrics"]
    assert next(iter(metrics)) == "test return" and {"return_mean", "loss", "vae_kl_loss"} <= set(metrics)
    assert [line["label"] for line in metrics["vae_kl_loss"][STEPS]["lines"]] == ["omg_vae (3)"]
    axes = metrics["test return"]
    assert list(axes) == [STEPS, "seconds"] and axes["seconds"]["x"][-1] == 200
    line = axes[STEPS]["lines"][0]
    assert all(low <= mid <= high for low, mid, high in zip(line["low"], line["mid"], line["high"], strict=True))


def test_a_band_of_one_seed_has_no_interval_and_lines_end_where_their_runs_end(tmp_path):
    table = np.array([[0.0, 1.0], [2.0, 3.0], [4.0, 8.0]])
    mid, low, high = band(table)
    np.testing.assert_allclose(mid, [2, 4])
    assert (low < mid).all() and (mid < high).all()
    write_run(tmp_path / "1", "iql", "rps", 1, points=11)
    write_run(tmp_path / "2", "vdn", "rps", 1, points=11)
    lines = (tmp_path / "2" / "metrics.jsonl").read_text().splitlines()[:6]
    (tmp_path / "2" / "metrics.jsonl").write_text("\n".join(lines))
    groups = read_groups(CompareConfig(runs=str(tmp_path)))
    curves = [(group, list(group.curves)) for group in groups]
    found = lines_of(curves, {"iql": "#000", "vdn": "#111"})
    iql, vdn = found["lines"]
    assert "low" not in iql and None not in iql["mid"]
    assert [value is None for value in vdn["mid"]] == [x > 50_000 for x in found["x"]]
    (tmp_path / "1" / "metrics.jsonl").write_text('{"t_env": 5, "test_return_mean": 1.0}')
    groups = read_groups(CompareConfig(runs=str(tmp_path)))
    assert list(axes_of([(g, list(g.curves)) for g in groups], {"iql": "", "vdn": ""})) == [STEPS]


def test_returns_against_held_out_opponents_come_from_evaluations(study, text):
    groups = read_groups(CompareConfig(runs=str(study)))
    found = against_opponents(groups)[0]
    assert found.columns == ["iql", "omg_vae"]
    assert [(kind, name) for kind, name, _ in found.rows] == [
        ("all", "all"), ("family", "script"), ("family", "ippo"), ("opponent", "runner"), ("opponent", "hunter"),
        ("opponent", "ippo_1")]  # fmt: skip
    runs = [evaluation_of(record.run) for record in groups[0].records]
    overall = found.rows[0][2][0]
    assert overall.point == pytest.approx(np.mean([run["all", "all"] for run in runs]))
    assert overall.high - overall.low > 10  # opponents differ by 10, seeds by 1
    assert "all opponents" in text and "/crossplay: mean over runs" in text


def test_commands_come_from_the_run_or_from_its_sweep(tmp_path, text):
    assert "python main.py --config=omg_vae --env-config=rps with seed=3" in text
    assert "omarl 0.2.0 (0123456) (12 runs)" in text and "A processor, Linux 6, Python 3.11.7" in text
    run = write_run(tmp_path / "sacred" / "iql" / "rps" / "1", "iql", "rps", 1)
    (run / "run.json").write_text("{}")
    (record,) = read_groups(CompareConfig(runs=str(tmp_path)))[0].records
    assert origin_of(record) == ("", "", "", "")
    entry = {"command": ["--config=iql", "with", "label=a b"]}
    (tmp_path / "sweep.json").write_text(json.dumps({"runs": {"sacred/iql/rps/1": entry}}))
    assert origin_of(record).command == "python main.py --config=iql with 'label=a b'"
    (tmp_path / "sweep.json").write_text('{"runs": []}')
    assert origin_of(record).command == ""


def test_texts_of_files_are_no_html(tmp_path):
    evil = "</script><img src=x onerror=alert(1)>"
    run = write_run(tmp_path / "r" / "1", "iql", "rps", 1)
    config = {**json.loads((run / "config.json").read_text()), "label": evil}
    (run / "config.json").write_text(json.dumps(config))
    report(ReportConfig(runs=str(tmp_path), out=str(tmp_path / "out")))
    text = (tmp_path / "out" / "report.html").read_text()
    assert "<img" not in text and not Page(text).all("img")
    assert evil in data_of(text)["charts"][0]["metrics"]["test return"][STEPS]["lines"][0]["label"]


def test_matrices_are_shaded_by_column_and_tolerate_missing_numbers():
    html = shaded("m", ["", "runs", "a"], [["x", "3", "1"], ["y", "3", "nan"], ["z", "3", "2"]], 2)
    assert re.findall(r"--share:([\d.]+)", html) == ["0.00", "1.00"]
    assert "<td>nan</td>" in html and Page(page("t", [("s", html + table("c", ["h"], [["r"]]))], {}))


def test_runs_without_a_vae_a_pool_or_a_command_have_no_such_parts(tmp_path):
    write_run(tmp_path / "1", "iql", "rps", 1)
    report(ReportConfig(runs=str(tmp_path), out=str(tmp_path / "r.html")))
    text = (tmp_path / "r.html").read_text()
    for part in ("Differences", "Health of the VAEs", "Held-out opponents", "Cross-play"):
        assert f">{part}</h2>" not in text
    assert "no two algorithms have several seeds on one environment; no run trains a VAE" in text
    with pytest.raises(ConfigError, match="runs: name the runs"):
        report(ReportConfig())
    (tmp_path / "file").touch()
    with pytest.raises(OmarlError, match="out: cannot write"):
        report(ReportConfig(runs=str(tmp_path), out=str(tmp_path / "file" / "r.html")))


def test_sixty_runs_are_a_small_file(tmp_path):
    write_study(tmp_path, ["iql", "omg_vae", "qmix"], ["simple_tag", "rps", "pursuit", "foraging"], 5)
    begin = time.process_time()
    report(ReportConfig(runs=str(tmp_path), out=str(tmp_path / "r.html")))
    assert (tmp_path / "r.html").stat().st_size < 1_000_000
    assert time.process_time() - begin < 30


def test_an_unreadable_evaluation_is_left_out(tmp_path):
    write_evaluation(tmp_path, np.random.default_rng(0))
    assert evaluation_of(tmp_path)["family", "ippo"] == evaluation_of(tmp_path)["opponent", "ippo_1"]
    (tmp_path / "checkpoints" / "100000" / "evaluation.json").write_text('{"by_opponent": [3]}')
    assert evaluation_of(tmp_path) == {}


def test_films_are_inside_the_page_with_controls_and_in_words(tmp_path):
    write_study(tmp_path, ["iql", "vdn"], ["rps"], 2)
    for name, ending in (("iql", ".gif"), ("vdn", ".mp4")):
        folder = tmp_path / "sacred" / name / "rps" / "1"
        write_film(folder, ".gif").rename(folder / "checkpoints" / "100000" / "replay" / f"episode{ending}")
    report(ReportConfig(runs=str(tmp_path), out=str(tmp_path / "r.html")))
    page = Page((tmp_path / "r.html").read_text())
    (video,), (still, image) = page.all("video"), page.all("img")
    assert video["src"].startswith("data:video/mp4;base64,") and "controls" in video
    assert video["poster"].startswith("data:image/png;base64,")
    assert video["aria-label"] == "A test episode of vdn on rps_v3, seed 1, after 100,000 steps"
    assert still["src"].startswith("data:image/png;base64,") and still["alt"].startswith("A frame: A test episode")
    assert image["src"].startswith("data:image/gif;base64,") and image["alt"].startswith("A test episode of iql on")
    assert page.words["pre"].count("step 0: passes 3 | 4") == 2


def test_films_beyond_the_budget_are_named_and_every_group_has_one_first(tmp_path, monkeypatch):
    write_study(tmp_path, ["iql", "vdn"], ["rps"], 2)
    for name in ("iql", "vdn"):
        for seed in ("1", "2"):
            file = write_film(tmp_path / "sacred" / name / "rps" / seed)
    size = file.stat().st_size + (file.parent / "step_06.png").stat().st_size
    monkeypatch.setattr("omarl.report.films.BUDGET", 2 * size)
    report(ReportConfig(runs=str(tmp_path), out=str(tmp_path / "r.html")))
    text = (tmp_path / "r.html").read_text()
    assert sorted(re.findall(r'alt="A test episode of (\w+) on rps_v3, seed (\d)', text)) == [
        ("iql", "1"), ("vdn", "1")]  # fmt: skip
    left_out = re.search(r"Left out, because the page would be too large: (.*?)\.</p>", text).group(1)
    assert "iql/rps/2" in left_out and "vdn/rps/2" in left_out and "/1/" not in left_out
