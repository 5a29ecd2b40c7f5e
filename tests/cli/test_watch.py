"""`edgefr watch` and `edgefr gallery enroll --camera` as people and scripts use them."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
from pathlib import Path

import cv2
import pytest

from edgefr.manifest import Manifest, write_manifest
from tests.camera.people import PatchDetector, frame
from tests.conftest import REPOSITORY
from tests.gallery.people import thresholds

ADA, STRANGER = 1, 77


@pytest.fixture
def watch(edgefr, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """Commands with the fake model, on a gallery to be made plain."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("edgefr.recognition.verifier.open_detector", lambda *_: PatchDetector())
    monkeypatch.setenv("EDGEFR_GALLERY", str(tmp_path / "people.gallery"))
    monkeypatch.setenv("EDGEFR_MODEL", "fake")
    monkeypatch.delenv("EDGEFR_GALLERY_KEY", raising=False)
    monkeypatch.delenv("EDGEFR_SOURCE", raising=False)
    limits = thresholds((1e-2, 0.6), (1e-3, 0.7), (1e-5, 0.8))
    write_manifest(tmp_path / "fake", Manifest("onnx", "fake", thresholds=limits))
    return edgefr


def film(folder: Path, frames: list[list[tuple[int, int, int]]]) -> Path:
    """A folder of frames, each who stands where."""
    folder.mkdir()
    for number, people in enumerate(frames):
        image = frame(number / 25, *people).image
        cv2.imwrite(str(folder / f"{number:04}.png"), cv2.cvtColor(image, cv2.COLOR_RGB2BGR))
    return folder


@pytest.fixture
def ada(watch, tmp_path: Path) -> None:
    told = watch("gallery", "enroll", "Ada", "--camera", film(tmp_path / "enrol", [[(ADA, 50, 50)]] * 60), "--plain")
    assert told.code == 0, told.err
    assert "Ada is enrolled" in told.out
    assert "with 5 images more" in told.out


def test_a_film_is_watched_to_its_end(watch, ada: None, tmp_path: Path) -> None:
    shown = film(tmp_path / "film", [[(ADA, 50 + n, 40)] for n in range(30)] + [[]] * 30 + [[(STRANGER, 200, 80)]] * 30)
    told = watch("watch", shown, "--json", "--events", "events.jsonl", "--picture", "now.jpg", "--record", "film.mp4")
    assert told.code == 0, told.err
    events = [json.loads(line) for line in told.out.splitlines()]
    happened = [(event["what"], event["name"]) for event in events]
    assert happened == [("identified", "Ada"), ("left", "Ada"), ("unknown", None), ("left", None)]
    assert events[0]["seconds"] < 1 < events[2]["seconds"]
    assert (tmp_path / "events.jsonl").read_text() == told.out
    assert cv2.imread("now.jpg").shape == (240, 480, 3)
    assert (tmp_path / "film.mp4").stat().st_size > 1000
    assert watch("gallery", "audit", "--json").json["events"][-1]["what"] == "matched"


def test_for_people_events_are_sentences(watch, ada: None, tmp_path: Path) -> None:
    told = watch("watch", film(tmp_path / "film", [[(ADA, 50, 40)]] * 20))
    assert "Ada is here (similarity" in told.out
    assert "Ada has left" in told.out


def test_nothing_is_recorded_unasked(watch, ada: None, tmp_path: Path) -> None:
    shown = film(tmp_path / "film", [[(ADA, 50, 40)]] * 5)
    before = set(tmp_path.rglob("*"))
    assert watch("watch", shown).code == 0
    assert set(tmp_path.rglob("*")) == before


def test_a_camera_that_sees_nobody_enrols_nobody(watch, tmp_path: Path) -> None:
    told = watch("gallery", "enroll", "Eve", "--camera", film(tmp_path / "film", [[]] * 20), "--plain")
    assert told.code == 2
    assert "found no face" in told.err
    assert watch("gallery", "list", "--json").json["people"] == []


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        ((), "found neither SOURCE nor $EDGEFR_SOURCE"),
        (("rtsp://me:secret@door/live",), "put the URL into $EDGEFR_SOURCE"),
        (("nowhere.mp4",), "found no file nowhere.mp4"),
        (("film", "--hook", "ftp://there"), "by http or https"),
    ],
)
def test_what_cannot_be_watched_is_one_sentence(watch, ada, tmp_path, arguments, sentence: str) -> None:
    film(tmp_path / "film", [[]])
    told = watch("watch", *arguments)
    assert sentence in told.sentence
    assert "secret" not in told.err


def test_ctrl_c_ends_a_watch_in_good_order(watch, ada: None, tmp_path: Path) -> None:
    """A process of its own, as a service has: events so far are told, the exit is 0, and nothing is said of a fault."""
    shown = film(tmp_path / "film", [[(ADA, 50, 40)]] * 3000)
    code = (
        "import sys; from tests.camera.people import PatchDetector; import edgefr.recognition.verifier as v;"
        "v.open_detector = lambda *_: PatchDetector(); from edgefr.cli import main;"
        f"sys.argv = ['edgefr', 'watch', {str(shown)!r}, '--json', '--live']; main()"
    )
    root = REPOSITORY
    with subprocess.Popen(
        [sys.executable, "-c", f"import sys; sys.path.insert(0, {str(root)!r}); {code}"],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    ) as process:
        assert process.stdout is not None
        assert json.loads(process.stdout.readline())["name"] == "Ada"
        process.send_signal(signal.SIGTERM)
        out, err = process.communicate(timeout=30)
    assert process.returncode == 0
    assert json.loads(out)["what"] == "left"
    assert err == ""
