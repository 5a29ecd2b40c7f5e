"""`edgefr door check` and `edgefr watch --rules`, as people and scripts use them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import cv2
import pytest

from edgefr.manifest import Manifest, write_manifest
from edgefr.recognition.verifier import Verifier
from tests.camera.brokers import free_port
from tests.camera.people import PatchDetector, enrolled
from tests.door.doors import ADA, EMPTY, STRANGER, Film
from tests.gallery.people import thresholds
from tests.liveness.nets import mean_net

RULES = """\
zone = "Europe/Berlin"

[groups]
staff = ["Ada"]

[command.relay]
run = ["/usr/bin/tee", "-a", "opened.txt"]

[[rules]]
name = "day"
groups = ["staff"]
when = ["always"]
live = false
cooldown_s = 0
open = ["relay"]
"""


@pytest.fixture
def check(edgefr: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    """`edgefr door check` of a door.toml in the current folder."""
    monkeypatch.chdir(tmp_path)
    Path("door.toml").write_text(RULES)
    return lambda *options: edgefr("door", "check", "door.toml", *options)


@pytest.fixture
def door(check: Any, edgefr: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    """Commands with the fake model in a folder with rules, a film, and a gallery that Ada is enrolled in."""
    monkeypatch.setattr("edgefr.recognition.verifier.open_detector", lambda *_: PatchDetector())
    monkeypatch.setenv("EDGEFR_GALLERY", str(tmp_path / "people.gallery"))
    monkeypatch.setenv("EDGEFR_MODEL", "fake")
    monkeypatch.delenv("EDGEFR_GALLERY_KEY", raising=False)
    limits = thresholds((1e-2, 0.6), (1e-3, 0.7), (1e-5, 0.8))
    write_manifest(tmp_path / "fake", Manifest("onnx", "fake", thresholds=limits))
    enrolled(tmp_path / "people.gallery", Verifier.open("fake"), {"Ada": ADA}).close()
    film(tmp_path / "film", Film((2.2, EMPTY), (1.2, [(STRANGER, 60, 60)]), (1, [(ADA, 300, 60)])))
    return edgefr


def film(folder: Path, shown: Film) -> None:
    folder.mkdir()
    for number, one in enumerate(shown.frames()):
        cv2.imwrite(str(folder / f"{number:04}.png"), cv2.cvtColor(one.image, cv2.COLOR_RGB2BGR))


def test_a_film_opens_the_door_for_the_enrolled_person_only(door: Any, tmp_path: Path) -> None:
    result = door("watch", "film", "--rules", "door.toml", "--json")
    assert result.code == 0, result.err
    decisions = [event for event in map(json.loads, result.out.splitlines()) if event["what"] in ("opened", "refused")]
    assert [(one["what"], one["name"], one["rule"], one["reason"]) for one in decisions] == [
        ("refused", None, None, "an unknown person"),
        ("opened", "Ada", "day", None),
    ]
    assert json.loads((tmp_path / "opened.txt").read_text()) == decisions[1]
    logged = door("gallery", "audit", "--json").json["events"]
    assert [(event["what"], event["name"]) for event in logged[-3:]] == [
        ("refused", ""),
        ("matched", "Ada"),
        ("opened", "Ada"),
    ]
    sentences = door("watch", "film", "--rules", "door.toml").out
    assert "the door opens for Ada (rule day)" in sentences
    assert "the door stays closed for an unknown person (an unknown person)" in sentences


def test_a_rule_for_living_faces_needs_a_liveness_check(door: Any, tmp_path: Path) -> None:
    rules = tmp_path / "door.toml"
    rules.write_text(RULES.replace("live = false\n", ""))
    told = door("watch", "film", "--rules", rules)
    assert "expected --liveness for the rule day" in told.sentence
    assert not (tmp_path / "opened.txt").exists()
    net = mean_net(tmp_path / "net.onnx", {"scale": 3.0, "std": 255.0})
    assert door("watch", "film", "--rules", rules, "--liveness", net).code == 0


@pytest.mark.parametrize(
    ("old", "new", "options", "sentence"),
    [
        ("live = false", "live = false\nfmr = 1e-9", [], "a model that is calibrated for the fmr of the rule day"),
        ("", "", ["--threshold", "0.1"], "expected the threshold of the model for a door, found --threshold"),
        ("/usr/bin/tee", "/usr/bin/nothing-such", [], "a program at /usr/bin/nothing-such"),
        ("always", "Mon", [], "(door.toml, line 12)"),
    ],
)
def test_what_cannot_be_a_door_is_an_error(door: Any, old: str, new: str, options: list[str], sentence: str) -> None:
    Path("door.toml").write_text(RULES.replace(old, new, 1))
    assert sentence in door("watch", "film", "--rules", "door.toml", *options).sentence


def test_a_stricter_rule_is_kept_and_a_laxer_one_is_not(door: Any) -> None:
    """Ada's similarity is about 0.9995; the threshold of the gallery is 0.6."""
    for demanded, opens in (("similarity = 0.99999", False), ("fmr = 1e-5", True), ("similarity = 0.1", True)):
        Path("door.toml").write_text(RULES + demanded)
        result = door("watch", "film", "--rules", "door.toml")
        assert ("the door opens for Ada" in result.out) == opens, result.out


def test_a_name_that_is_not_enrolled_is_told(door: Any) -> None:
    Path("door.toml").write_text(RULES.replace('["Ada"]', '["Ada", "Gracie"]'))
    assert "the rules name Gracie, who is not enrolled" in door("watch", "film", "--rules", "door.toml").err


def test_check_prints_the_rules(check: Any) -> None:
    result = check()
    assert result.code == 0
    header, row = result.out.splitlines()
    assert header.split()[:3] == ["rule", "who", "when"]
    assert row.split() == ["day", "Ada", "daily", "00:00-24:00", "gallery's", "no", "3", "0", "s", "no", "relay"]


@pytest.mark.parametrize(
    ("at", "person", "code", "answer"),
    [
        ("Mon 08:30", "Ada", 0, "day: opens: relay"),
        ("Mon 06:59", "Ada", 1, "day: outside the times of the rule"),
        ("2027-03-01T08:30", "Ada", 0, "day: opens: relay"),
        ("2027-03-06T08:30", "Ada", 1, "day: outside the times of the rule"),
        ("Mon 08:30", "Grace", 1, "day: no rule for this person"),
    ],
)
def test_check_says_what_would_happen(check: Any, at: str, person: str, code: int, answer: str) -> None:
    Path("door.toml").write_text(RULES.replace("always", "Mon-Fri 07:00-19:00"))
    result = check("--at", at, "--person", person)
    assert result.code == code
    assert answer in result.out
    told = check("--at", at, "--person", person, "--json")
    assert told.code == code
    assert (told.json["question"]["refused"]["day"] is None) == (code == 0)


def test_check_answers_for_now_and_refuses_other_times(check: Any) -> None:
    assert check("--person", "Ada").code == 0
    for wrong in ("Mo 08:30", "8:30", "tomorrow", "2027-13-01T08:30"):
        assert "write such a time" in check("--at", wrong).sentence.lower()


def test_every_kind_of_action_is_opened_and_what_fails_is_in_the_log(
    door: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nobody listens for the hook, the topic and Home Assistant; the relay is at a pin that is not there."""
    gpiozero = pytest.importorskip("gpiozero")
    monkeypatch.setenv("GPIOZERO_PIN_FACTORY", "mock")
    monkeypatch.setattr(gpiozero.Device, "pin_factory", None)
    secret = tmp_path / "hook.secret"
    secret.write_text("whsec_" + "A" * 32)
    secret.chmod(0o600)
    port = free_port()
    more = f"""
[gpio.pin]
pin = "GPIO17"
[hook.controller]
url = "http://127.0.0.1:{port}/open"
secret_file = "{secret}"
[mqtt.topic]
url = "mqtt://127.0.0.1:{port}/open"
[home_assistant]
url = "mqtt://127.0.0.1:{port}"
"""
    Path("door.toml").write_text(
        RULES.replace('open = ["relay"]', 'open = ["relay", "pin", "controller", "topic"]') + more
    )
    result = door("watch", "film", "--rules", "door.toml")
    assert result.code == 0, result.err
    assert "the door opens for Ada" in result.out
    failed = [
        event["detail"] for event in door("gallery", "audit", "--json").json["events"] if event["what"] == "failed"
    ]
    assert sorted(failed) == [
        'door, rule "day": controller: edgefr has ended',
        'door, rule "day": topic: edgefr has ended',
    ]
    assert "cannot send events to Home Assistant at mqtt://127.0.0.1" in result.err
