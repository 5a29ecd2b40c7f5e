"""The page, the tables and the JSON document state the same numbers, and the page needs nothing beside it."""

from __future__ import annotations

import re
import sys
from html.parser import HTMLParser
from io import BytesIO
from pathlib import Path

import cv2
import numpy as np
import pytest

from edgefr.errors import EdgefrError
from edgefr.evaluation.bootstrap import Estimate
from edgefr.evaluation.figures import pooled_figures, signal_figures, trial_figures
from edgefr.evaluation.lfw_protocol import lfw_trials
from edgefr.evaluation.model_set import Model, ModelSet, System, system_from_output
from edgefr.evaluation.plots import Series, inline_svg, plot_lines
from edgefr.evaluation.protocols import degraded_crops, select_conditions
from edgefr.evaluation.report import Evaluation, all_tables, hardest_pairs, render_page, write_report
from edgefr.evaluation.tables import Result, Table, format_percent, format_points, format_ratio, json_document
from edgefr.types import Faces
from tests.evaluation.planted import collection, named_pairs, planted, projection

PEOPLE = 30
PICTURES = collection(PEOPLE, 2, noise=90)
EVIL = '<img src="http://example.org/x" onerror=alert(1)>&amp;\'"'
VOID = {"meta", "img", "br", "link"}


@pytest.fixture(scope="module")
def evaluation() -> Evaluation:
    """LFW's protocol on noisy planted people, in three conditions, with errors of every system."""
    models = planted()
    chosen = select_conditions(["clean", "14x14 pixels", "mixed, blur + noise"])
    signals = {"sharpness": lambda picture: float(picture.std())}
    trials = lfw_trials(
        "set", named_pairs(PEOPLE), degraded_crops(PICTURES.get, signals), chosen, models, lambda _: None
    )
    results = [Result(trial, trial_figures(trial, models.pair, lambda _: None)) for trial in trials]
    quality = signal_figures(trials, models.candidate)
    return Evaluation("fused", results, pooled_figures(trials, models.pair), quality, {"machine": "a <fast> one"})


@pytest.fixture(scope="module")
def page(evaluation: Evaluation) -> str:
    pytest.importorskip("matplotlib")
    return render_page(evaluation)


class Reader(HTMLParser):
    """Keeps the attributes and the cells; every element has to be closed in order."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.attributes: list[tuple[str, str, str]] = []
        self.cells: list[str] = []
        self.text: list[str] = []
        self.feed(page)
        self.close()
        assert self.open == []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.attributes += [(tag, key, value or "") for key, value in attrs]
        if tag not in VOID:
            self.open.append(tag)
        if tag in ("td", "th"):
            self.cells.append("")

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.attributes += [(tag, key, value or "") for key, value in attrs]

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.text.append(data)
        if self.open and self.open[-1] in ("td", "th"):
            self.cells[-1] += data


def test_the_page_is_self_contained(page: str) -> None:
    reader = Reader(page)
    assert not re.search(r"https?:|@import", page)
    for tag, key, value in reader.attributes:
        assert key not in ("srcset", "action", "onerror", "onload"), (tag, key)
        if key in ("src", "href"):
            assert value.startswith(("data:image/jpeg;base64,", "#")), value
    assert {"svg", "img"} <= {tag for tag, _, _ in reader.attributes}
    assert "url(" not in page.replace("url(#", "")
    linked = {value[1:] for tag, key, value in reader.attributes if (tag, key) == ("a", "href")}
    assert linked == {value for tag, key, value in reader.attributes if (tag, key) == ("section", "id")}


def test_the_page_the_tables_and_the_document_have_the_same_numbers(evaluation: Evaluation, page: str) -> None:
    told = json_document(evaluation.results, evaluation.pooled, evaluation.discards)
    cells = set(Reader(page).cells)
    printed = {cell for entry in all_tables(evaluation) for row in entry.rows for cell in row}
    assert printed <= cells

    def share(value: dict) -> str:
        low, high = value["ci95"]
        return f"{100 * value['value']:.2f} [{100 * low:.2f}, {100 * high:.2f}]"

    for trial in told["trials"]:
        for system in trial["systems"]:
            assert share(system["accuracy"]) in printed
            assert share(system["eer"]) in printed
            ratio = system["error_ratio"]
            assert format_ratio(Estimate(ratio["value"], ratio["ci95"])) in printed
            gain = system["gain_over_concatenation"]
            assert format_points(Estimate(gain["value"], gain["ci95"])) in printed
    for system in told["pooled"]:
        if system["system"] != "fused":
            judged = system["judged"]
            ratio, gain = (Estimate(judged[key]["value"], judged[key]["ci95"]) for key in ("error_ratio", "gain"))
            assert {format_ratio(ratio), format_points(gain)} <= printed
        assert {share(system["accuracy"]), f"{system['errors']:,} of {system['decisions']:,}"} <= printed
    for signal in told["discard"]:
        assert share(signal["area"]) in printed


def test_the_figures_are_those_of_the_decisions(evaluation: Evaluation) -> None:
    """Pooled over the degraded conditions only, against the backbone that is better there, from scratch."""
    degraded = [result.trial for result in evaluation.results[1:]]
    wrong = {name: sum(int((~trial.accuracy[name].right).sum()) for trial in degraded) for name in degraded[0].accuracy}
    better = min(("backbone A", "backbone B"), key=lambda name: wrong[name])
    decisions = sum(len(trial.comparisons["fused"].same) for trial in degraded)
    assert [entry.system for entry in evaluation.pooled] == list(wrong)
    for entry in evaluation.pooled:
        assert (entry.errors, entry.decisions) == (wrong[entry.system], decisions)
        assert entry.accuracy.value == pytest.approx(1 - wrong[entry.system] / decisions)
        assert entry.against.better == better
        assert entry.against.ratio.value == pytest.approx(wrong[entry.system] / wrong[better])
        gain = (wrong["concatenation"] - wrong[entry.system]) / decisions
        assert entry.against.gain.value == pytest.approx(gain)
        assert entry.against.gain.ci95[0] <= gain <= entry.against.gain.ci95[1]
    assert min(wrong.values()) > 0
    assert evaluation.pooled[0].judged is None
    for entry in evaluation.pooled[1:]:
        assert entry.judged.model == "fused"
        assert entry.judged.ratio.value == pytest.approx(wrong["fused"] / wrong[entry.system])
        assert entry.judged.gain.value == pytest.approx((wrong[entry.system] - wrong["fused"]) / decisions)
        assert entry.judged.gain.ci95[0] <= entry.judged.gain.value <= entry.judged.gain.ci95[1]


def test_other_models_are_compared_with_the_candidate_without_any_backbones() -> None:
    """The interval is that of the difference: a model beside itself differs by exactly nothing."""

    def embed(faces: Faces) -> list[System]:
        return [
            system_from_output("fused", projection(faces, 2, 64)),
            system_from_output("twin", projection(faces, 2, 64)),
        ]

    models = ModelSet((Model("fused", None, "planted", "fp32", embed),), None)
    chosen, find = select_conditions(["14x14 pixels"]), degraded_crops(PICTURES.get)
    trials = lfw_trials("set", named_pairs(PEOPLE), find, chosen, models, lambda _: None)
    fused, twin = pooled_figures(trials, None)
    assert (fused.judged, fused.against, twin.against) == (None, None, None)
    assert (twin.judged.gain.value, twin.judged.gain.ci95, twin.judged.ratio.value) == (0, (0, 0), 1)
    told = json_document(
        [Result(trial, trial_figures(trial, None, lambda _: None)) for trial in trials], [fused, twin], []
    )
    assert told["trials"][0]["systems"][1]["judged"]["gain"] == {"value": 0, "ci95": (0, 0)}


def test_the_same_people_in_two_data_sets_are_drawn_together() -> None:
    """Twice the decisions of the same people are no more evidence: their interval stays as wide."""
    models, chosen = planted(), select_conditions(["14x14 pixels"])
    once, again = (
        lfw_trials(name, named_pairs(PEOPLE), degraded_crops(PICTURES.get), chosen, models, lambda _: None)
        for name in ("one.zip", "two.zip")
    )
    assert (
        pooled_figures([*once, *again], models.pair)[0].accuracy.ci95
        == pooled_figures(once, models.pair)[0].accuracy.ci95
    )


def test_a_rate_that_the_comparisons_cannot_support_is_a_dash_with_the_number_needed(
    evaluation: Evaluation, page: str
) -> None:
    told = json_document(evaluation.results, [], [])["trials"][0]
    assert [entry["value"] for entry in told["systems"][0]["tar"]] == [None] * 4
    assert [entry["impostors_needed"] for entry in told["systems"][0]["tar"]] == [3000, 30_000, 300_000, 3_000_000]
    assert "1e-2 needs 3,000, 1e-3 needs 30,000" in page
    assert "—" in Reader(page).cells


def test_the_number_of_comparisons_is_stated(evaluation: Evaluation, page: str) -> None:
    told = json_document(evaluation.results, [], [])["trials"][0]
    assert (told["genuine"], told["impostors"], told["pictures"], told["people"]) == (30, 30, 60, 30)
    assert (told["failures_to_acquire"], told["fta"]) == (0, 0)
    assert "60 comparisons (30 genuine, 30 impostor), 30 people, 60 pictures, FTA 0 (0.00%)" in page


def test_names_are_escaped() -> None:
    models = planted()
    pictures = {f"{EVIL}{key}": picture for key, picture in PICTURES.items()}
    pairs = [
        type(pair)(f"{EVIL}{pair.first}", f"{EVIL}{pair.second}", pair.same, pair.fold) for pair in named_pairs(PEOPLE)
    ]
    trials = lfw_trials(
        f"set {EVIL}", pairs, degraded_crops(pictures.get), select_conditions(["clean"]), models, lambda _: None
    )
    results = [Result(trial, trial_figures(trial, models.pair, lambda _: None)) for trial in trials]
    extra = Table(f"runs {EVIL}", ["run", EVIL], [[EVIL, "1"]], (EVIL,))
    reader = Reader(render_page(Evaluation("fused", results, [], [], {EVIL: EVIL}), [extra]))
    assert all(key not in ("onerror",) for _, key, _ in reader.attributes)
    assert not [value for _, key, value in reader.attributes if key == "src" and not value.startswith("data:")]
    assert EVIL in reader.cells
    assert f"runs {EVIL}" in reader.text
    assert any(value.startswith(EVIL) for tag, key, value in reader.attributes if (tag, key) == ("img", "alt"))


def test_the_hardest_pairs_are_the_ones_nearest_to_a_wrong_decision(evaluation: Evaluation) -> None:
    trial = evaluation.results[0].trial
    comparisons = trial.comparisons["fused"]
    impostors, genuine = hardest_pairs(trial, "fused")
    wanted = np.sort(comparisons.similarity[~comparisons.same])[::-1][:6]
    assert [pair.similarity for pair in impostors] == pytest.approx(wanted.tolist())
    wanted = np.sort(comparisons.similarity[comparisons.same])[:6]
    assert [pair.similarity for pair in genuine] == pytest.approx(wanted.tolist())
    assert all(pair.first[0].split("/")[0] == pair.second[0].split("/")[0] for pair in genuine)
    assert all(pair.first[0].split("/")[0] != pair.second[0].split("/")[0] for pair in impostors)


def test_a_pair_without_a_face_is_not_shown() -> None:
    lost = next(iter(PICTURES))
    found = {key: picture for key, picture in PICTURES.items() if key != lost}
    trial = lfw_trials(
        "set", named_pairs(PEOPLE), degraded_crops(found.get), select_conditions(["clean"]), planted(), lambda _: None
    )[0]
    assert trial.comparisons["fused"].similarity.min() == -1
    assert all(pair.similarity > -1 for kind in hardest_pairs(trial, "fused") for pair in kind)


def test_without_matplotlib_the_tables_still_work(evaluation: Evaluation, tmp_path: Path, monkeypatch) -> None:
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    write_report(tmp_path / "report.html", evaluation)
    assert (tmp_path / "report.html").stat().st_mode & 0o777 == 0o600, "it shows faces"
    page = (tmp_path / "report.html").read_text(encoding="utf-8")
    cells = set(Reader(page).cells)
    assert {cell for entry in all_tables(evaluation) for row in entry.rows for cell in row} <= cells
    assert "[plot]" in page
    with pytest.raises(EdgefrError, match=r"\[plot\]"):
        plot_lines(tmp_path / "x.png", [], "x", "y")


def test_extra_tables_are_on_the_page(evaluation: Evaluation, monkeypatch) -> None:
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    reader = Reader(render_page(evaluation, [Table("Ablation", ["run", "accuracy"], [["without VIB", "98.70"]])]))
    assert {"without VIB", "98.70"} <= set(reader.cells)


def test_infinite_and_unknown_numbers_are_shown() -> None:
    assert format_ratio(Estimate(float("nan"), (0.0, float("inf")))) == "— [0.00, ∞]"
    assert format_percent(None) == "—"
    assert format_percent(0.5) == "50.00"
    assert format_percent(Estimate(0.98765, (0.9, 1.0))) == "98.77 [90.00, 100.00]"
    assert format_points(Estimate(-0.001, (-0.02, 0.01))) == "-0.10 [-2.00, +1.00]"


def test_lines_are_plotted_to_files_and_into_pages(tmp_path: Path) -> None:
    pytest.importorskip("matplotlib")
    x, y = np.logspace(-5, -1, 5), np.linspace(0, 1, 5)
    series = [Series("clean <&>", x, y, y - 0.1, y + 0.1), Series("poor", x, 1 - y)]
    plot_lines(tmp_path / "beta.png", series, "beta", "accuracy", log_x=True)
    picture = cv2.imread(str(tmp_path / "beta.png"))
    assert (picture[:, picture.shape[1] * 3 // 4 :] < 250).any()  # a single panel fills the picture
    svg = inline_svg(lambda target: plot_lines(target, series, "beta", "accuracy", log_x=True))
    Reader(svg)
    assert "clean &lt;&amp;&gt;" in svg
    assert "currentColor" in svg
    assert "http" not in svg
    with pytest.raises(EdgefrError, match=r"ends in .png, .svg or .pdf, found .*beta.txt"):
        plot_lines(tmp_path / "beta.txt", series, "beta", "accuracy")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["beta.png"]
    buffers = [BytesIO(), BytesIO()]
    for buffer in buffers:
        plot_lines(buffer, series, "beta", "accuracy")
    assert buffers[0].getvalue() == buffers[1].getvalue()
