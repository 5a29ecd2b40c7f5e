"""`edgefr watch` and `edgefr gallery enroll --camera`, as people and scripts use them."""

from __future__ import annotations

import json
import resource
import signal
import socket
import subprocess
import sys
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from urllib.parse import urlsplit

import cv2
import pytest

from edgefr.manifest import Manifest, write_manifest
from tests.camera.people import PatchDetector, frame
from tests.camera.servers import sends, served
from tests.conftest import REPOSITORY
from tests.gallery.people import thresholds
from tests.liveness.nets import mean_net
from tests.waiting import wait_for

ADA, STRANGER = 1, 77
TOKEN = "a token of some length"  # noqa: S105


@pytest.fixture
def watch(edgefr, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """Commands with the fake model, and the path of a gallery that does not exist yet."""
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
    """A folder of frames, each given as (person, x, y)."""
    folder.mkdir()
    for number, people in enumerate(frames):
        image = frame(number / 25, *people).image
        cv2.imwrite(str(folder / f"{number:04}.png"), cv2.cvtColor(image, cv2.COLOR_RGB2BGR))
    return folder


@pytest.fixture
def ada(watch, tmp_path: Path) -> None:
    result = watch("gallery", "enroll", "Ada", "--camera", film(tmp_path / "enrol", [[(ADA, 50, 50)]] * 60), "--plain")
    assert result.code == 0, result.err
    assert "Enrolled Ada (5 images)" in result.out


def test_a_film_is_watched_to_its_end(watch, ada: None, tmp_path: Path) -> None:
    shown = film(tmp_path / "film", [[(ADA, 50 + n, 40)] for n in range(30)] + [[]] * 30 + [[(STRANGER, 200, 80)]] * 30)
    result = watch("watch", shown, "--json", "--events", "events.jsonl", "--picture", "now.jpg", "--record", "film.mp4")
    assert result.code == 0, result.err
    events = [json.loads(line) for line in result.out.splitlines()]
    happened = [(event["what"], event["name"]) for event in events]
    assert happened == [("identified", "Ada"), ("left", "Ada"), ("unknown", None), ("left", None)]
    assert events[0]["seconds"] < 1 < events[2]["seconds"]
    assert (tmp_path / "events.jsonl").read_text() == result.out
    assert cv2.imread("now.jpg").shape == (240, 480, 3)
    assert (tmp_path / "film.mp4").stat().st_size > 1000
    assert {(event["threshold"], event["threshold_from"]) for event in events} == {(0.6, "a test")}, "as in verify"
    assert {event["fmr"] for event in events} == {event["fpir"] for event in events} == {1e-2}
    assert watch("gallery", "audit", "--json").json["events"][-1]["what"] == "matched"


def test_files_with_names_and_faces_are_private_also_if_they_were_not(watch, ada: None, tmp_path: Path) -> None:
    files = [tmp_path / "events.jsonl", tmp_path / "film.mp4"]
    for path in files:
        path.touch()
        path.chmod(0o666)
    shown = film(tmp_path / "film", [[(ADA, 50, 40)]] * 5)
    assert watch("watch", shown, "--events", files[0], "--record", files[1]).code == 0
    assert [path.stat().st_mode & 0o777 for path in files] == [0o600] * 2


def test_events_are_sentences_without_json(watch, ada: None, tmp_path: Path) -> None:
    result = watch("watch", film(tmp_path / "film", [[(ADA, 50, 40)]] * 20))
    assert "Ada is here (similarity" in result.out
    assert "Ada has left" in result.out


def test_nothing_is_recorded_without_an_option(watch, ada: None, tmp_path: Path) -> None:
    shown = film(tmp_path / "film", [[(ADA, 50, 40)]] * 5)
    before = set(tmp_path.rglob("*"))
    assert watch("watch", shown).code == 0
    assert set(tmp_path.rglob("*")) == before


def test_a_film_without_a_face_enrols_nobody(watch, tmp_path: Path) -> None:
    result = watch("gallery", "enroll", "Eve", "--camera", film(tmp_path / "film", [[]] * 20), "--plain")
    assert result.code == 2
    assert "expected one face in" in result.err
    assert "found none" in result.err
    assert watch("gallery", "list", "--json").json["people"] == []


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        ((), "found neither SOURCE nor $EDGEFR_SOURCE"),
        (("rtsp://me:secret@door/live",), "found one in SOURCE. Put SOURCE into $EDGEFR_SOURCE instead."),
        (("nowhere.mp4",), "found no file nowhere.mp4"),
        (("/dev/video97",), "expected a camera at /dev/video97"),
        (("rtspsrc location=x user-pw=secret ! appsink",), "found one in SOURCE. Put SOURCE into $EDGEFR_SOURCE"),
        (("v4l2src ! videoconvert",), "expected a GStreamer pipeline that ends in appsink"),
        (("film", "--hook", "ftp://there"), "expected a webhook URL of http or https, found ftp://there."),
    ],
)
def test_what_cannot_be_watched_is_an_error(watch, ada, tmp_path, arguments, sentence: str) -> None:
    film(tmp_path / "film", [[]])
    result = watch("watch", *arguments)
    assert sentence in result.sentence
    assert "secret" not in result.err


def test_pictures_that_cannot_be_read_are_named(watch, ada: None, tmp_path: Path) -> None:
    shown = film(tmp_path / "film", [[(ADA, 50, 40)]] * 10)
    (shown / "0003.png").write_bytes(b"no picture")
    result = watch("watch", shown, "--json")
    assert result.code == 0
    assert result.err.count("left out") == 1
    assert "0003.png" in result.err


def test_a_fixed_rotation_turns_the_frames(watch, ada: None, tmp_path: Path) -> None:
    shown = film(tmp_path / "film", [[(ADA, 50, 40)]] * 10)
    for path in shown.iterdir():
        cv2.imwrite(str(path), cv2.rotate(cv2.imread(str(path)), cv2.ROTATE_90_CLOCKWISE))
    upright = watch("watch", shown, "--json", "--rotate", "270", "--picture", "now.jpg")
    assert [json.loads(line)["name"] for line in upright.out.splitlines()] == ["Ada", "Ada"]
    assert cv2.imread("now.jpg").shape == (240, 480, 3)
    assert watch("watch", shown, "--json", "--rotate", "0").out == ""
    (shown / "0000.png").write_bytes(b"no picture")
    for degrees, is_ada in (("0", False), ("270", True)):
        enrolled = watch("gallery", "enroll", f"Turned by {degrees}", "--camera", shown, "--rotate", degrees, "--force")
        assert enrolled.code == 0, enrolled.err
        assert ("looks like Ada" in enrolled.err) == is_ada
        assert "0000.png" in enrolled.err


def test_a_stream_that_is_missing_ends_with_an_error_once(watch, ada: None) -> None:
    with served(sends()) as url, pytest.MonkeyPatch.context() as patch:
        patch.setenv("EDGEFR_SOURCE", url)
        result = watch("watch", "--once")
    assert result.code == 2
    assert "found none: it ended. Check the camera" in result.err


def test_the_page_creates_a_gallery_that_is_locked(watch, tmp_path: Path) -> None:
    shown, key = film(tmp_path / "film", [[(ADA, 50, 40)]] * 3), tmp_path / "gallery.key"
    arguments = ("watch", shown, "--web", "--once", "--port", 0)
    assert "no terminal to ask on" in watch(*arguments).sentence
    assert not (tmp_path / "people.gallery").exists()
    created = watch(*arguments, "--key-file", key)
    assert created.code == 0, created.err
    assert f"created the gallery {tmp_path / 'people.gallery'}, locked with the key file {key}" in created.err
    assert watch("gallery", "list", "--key-file", key, "--json").json["people"] == []
    assert watch("gallery", "list").code == 2
    assert "created" not in watch(*arguments, "--key-file", key).err


def test_the_page_creates_a_gallery_without_a_secret_on_request(watch, tmp_path: Path) -> None:
    shown = film(tmp_path / "film", [[(ADA, 50, 40)]] * 3)
    created = watch("watch", shown, "--web", "--once", "--port", 0, "--plain")
    assert "without a secret: anyone who can read it" in created.err
    assert watch("gallery", "list", "--json").json["people"] == []


@contextmanager
def process(*arguments: object) -> Iterator[subprocess.Popen[str]]:
    """`edgefr watch` as a process of its own, with the detector of the fake frames."""
    code = (
        f"import sys; sys.path.insert(0, {str(REPOSITORY)!r});"
        "from tests.camera.people import PatchDetector; import edgefr.recognition.verifier as v;"
        "v.open_detector = lambda *_: PatchDetector(); from edgefr.cli import main;"
        f"sys.argv = ['edgefr', 'watch', *{[str(argument) for argument in arguments]!r}]; main()"
    )
    command = [sys.executable, "-c", code]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as started:
        yield started
        started.kill()


def test_sigterm_ends_a_watch_without_an_error(watch, ada: None, tmp_path: Path) -> None:
    shown = film(tmp_path / "film", [[(ADA, 50, 40)]] * 3000)
    with process(shown, "--json", "--live") as started:
        assert started.stdout is not None
        assert json.loads(started.stdout.readline())["name"] == "Ada"
        started.send_signal(signal.SIGTERM)
        out, err = started.communicate(timeout=30)
    assert started.returncode == 0
    assert json.loads(out)["what"] == "left"
    assert err == ""


def test_the_page_of_a_film_says_that_it_ended_and_closes_on_one_sigterm(
    watch, ada: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("EDGEFR_WEB_TOKEN", TOKEN)
    with process(film(tmp_path / "film", [[(ADA, 50, 40)]] * 10), "--json", "--web", "--port", 0) as started:
        assert started.stderr is not None
        url = started.stderr.readline().split()[-1].partition("#")[0]
        started.stderr.readline()
        state = urllib.request.Request(f"{url}api/state", headers={"Authorization": f"Bearer {TOKEN}"})  # noqa: S310
        wait_for(lambda: json.load(urllib.request.urlopen(state))["condition"] == "ended")  # noqa: S310
        started.send_signal(signal.SIGTERM)
        out, err = started.communicate(timeout=30)
    assert started.returncode == 0
    assert "source" not in [json.loads(line)["what"] for line in out.splitlines()]
    assert err == ""


def test_each_printed_link_signs_in_once_and_a_signal_prints_another(watch, ada: None, tmp_path: Path) -> None:
    def sign_in(link: str) -> int:
        url, _, code = link.partition("#code=")
        body = json.dumps({"token": code}).encode()
        login = urllib.request.Request(f"{url}api/login", body, {"Content-Type": "application/json"})  # noqa: S310
        try:
            return int(urllib.request.urlopen(login).status)  # noqa: S310
        except urllib.error.HTTPError as error:
            return error.code

    with process(film(tmp_path / "film", [[(ADA, 50, 40)]] * 10), "--json", "--web", "--port", 0) as started:
        assert started.stderr is not None
        assert started.stdout is not None
        link, note = started.stderr.readline().split()[-1], started.stderr.readline()
        assert f"`kill -USR1 {started.pid}`" in note
        started.stdout.readline()  # it watches
        assert [sign_in(link), sign_in(link)] == [204, 401]
        started.send_signal(signal.SIGUSR1)
        assert sign_in(started.stderr.readline().split()[-1]) == 204


def test_idle_connections_do_not_end_a_watch(watch, ada: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """More connections than files that the process may open; it goes on opening files, and answers."""
    monkeypatch.setenv("EDGEFR_WEB_TOKEN", TOKEN)
    shown = film(tmp_path / "film", [[(ADA, 50, 40)]] * 10)
    with process(shown, "--json", "--web", "--port", 0) as started, ExitStack() as stack:
        assert started.stderr is not None
        url = started.stderr.readline().split()[-1].partition("#")[0]
        limit = len(list(Path(f"/proc/{started.pid}/fd").iterdir())) + 260
        resource.prlimit(started.pid, resource.RLIMIT_NOFILE, (limit, limit))
        parts = urlsplit(url)
        for _ in range(400):
            stack.enter_context(socket.create_connection((parts.hostname or "", parts.port or 0), timeout=30))
        people = urllib.request.Request(f"{url}api/people", headers={"Authorization": f"Bearer {TOKEN}"})  # noqa: S310
        for _ in range(5):
            assert [person["name"] for person in json.load(urllib.request.urlopen(people))["people"]] == ["Ada"]  # noqa: S310
        assert started.poll() is None
        started.send_signal(signal.SIGTERM)
        assert started.wait(30) == 0


def test_faces_that_are_not_alive_are_not_identified(watch, tmp_path: Path) -> None:
    """The ground around the faces is dark, which this net takes for a print, or for a living face."""
    pytest.importorskip("onnx")
    net = mean_net(tmp_path / "net.onnx", {"scale": 3.0, "std": 255.0})
    ada = film(tmp_path / "ada", [[(ADA, 100, 60)]])
    assert watch("gallery", "enroll", "Ada", ada, "--plain").code == 0
    source = film(tmp_path / "film", [[(ADA, 100, 60)]] * 30)
    refused = watch("watch", source, "--once", "--liveness", net, "--json")
    (event, *_) = map(json.loads, refused.out.splitlines())
    assert (event["what"], event["name"], event["live"]) == ("unknown", None, False)
    told = watch("watch", source, "--once", "--liveness", net)
    assert "a face that is not live is here" in told.out
    (tmp_path / "net.toml").write_text("scale = 3.0\nstd = 255.0\nlive = 0\n")
    passed = watch("watch", source, "--once", "--liveness", net, "--json", "--liveness-threshold", 0.3)
    (event, *_) = map(json.loads, passed.out.splitlines())
    assert (event["what"], event["name"], event["live"]) == ("identified", "Ada", True)


def test_the_same_holds_for_photographs(watch, tmp_path: Path) -> None:
    pytest.importorskip("onnx")
    net = mean_net(tmp_path / "net.onnx", {"scale": 3.0, "std": 255.0})
    ada = film(tmp_path / "ada", [[(ADA, 100, 60)]]) / "0000.png"
    assert watch("gallery", "enroll", "Ada", ada, "--plain").code == 0
    refused = watch("gallery", "identify", ada, "--liveness", net, "--json")
    assert refused.code == 1
    (answer,) = refused.json["answers"]
    assert answer["name"] is None
    assert answer["candidates"][0]["name"] == "Ada"
    assert answer["liveness"]["live"] is False
    assert "not live: its liveness score 0.00 is below 0.50" in watch("gallery", "identify", ada, "--liveness", net).out
    same = watch("verify", ada, ada, "--liveness", net, "--json")
    assert same.code == 1
    assert same.json["same"] is False
    assert same.json["similarity"] > same.json["threshold"]
    assert [face["liveness"]["live"] for face in same.json["faces"]] == [False, False]
    assert len(same.json["reasons"]) == 2
    assert watch("verify", ada, ada, "--liveness", net).out.startswith("Not accepted: similarity 1.000 reaches")
    assert watch("verify", ada, ada).code == 0
