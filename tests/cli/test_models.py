"""edgefr models, and the names of published models where a file is expected."""

from __future__ import annotations

import os
import pty
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from edgefr.errors import WrongModelError
from edgefr.models import SHIPPED, shipped_model
from edgefr.training.common.recipes import BackboneConfig
from tests.conftest import REPOSITORY
from tests.downloads.servers import Place, broken_off, running_server, serve


@pytest.fixture
def home(edgefr, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The user's folder of models."""
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path / "home"))
    return tmp_path / "home/edgefr/models"


@pytest.fixture
def mirror(yunet: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Place]:
    """A mirror that has YuNet."""
    for name in ("http_proxy", "HTTP_PROXY"):
        monkeypatch.delenv(name, raising=False)
    with running_server() as place:
        place.files["/models/yunet.onnx"] = yunet.read_bytes()
        monkeypatch.setenv("EDGEFR_MODELS_URL", f"{place.url}/models")
        yield place


def test_the_models_that_edgefr_can_use_are_listed(edgefr, home: Path) -> None:
    told = edgefr("models")
    assert told.code == 0
    assert told.err == ""
    lines = {line.split()[0]: line for line in told.out.splitlines() if line}
    for part in ("IResNet-50", "WebFace600K", "LFW 99.83", "174.4", "no", "non-commercial", "InsightFace"):
        assert part in lines["w600k-r50"]
    assert lines["mini"].endswith("present")
    assert not lines["sface"].endswith("present")
    assert "retinaface-r34" not in lines
    assert "retinaface-r34" in edgefr("models", "--all").out
    assert "sface" not in edgefr("models", "--kind", "detector").out


def test_the_list_as_json_has_everything(edgefr, home: Path) -> None:
    home.mkdir(parents=True)
    (home / "sface.onnx").write_bytes(b"placed by hand")
    models = {model["name"]: model for model in edgefr("models", "--json").json["models"]}
    assert (models["sface"]["present"], models["sface"]["path"]) == (True, str(home / "sface.onnx"))
    assert (models["mini"]["present"], models["mini"]["path"]) == (True, str(shipped_model("mini")))
    assert models["w600k-r50"]["present"] is False
    assert models["w600k-r50"]["commercial"] == "no"
    assert models["w600k-r50"]["input"] == {"colour": "rgb", "mean": [127.5], "std": [127.5], "size": 112}
    assert models["w600k-r50"]["files"][0]["bytes"] == 174_383_860
    assert models["yunet"]["files"][0]["digest_from"] == "third party"


def test_the_list_works_without_a_home(edgefr, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("edgefr.models.user_folder", lambda kind: None)
    assert edgefr("models").code == 0
    monkeypatch.setattr("edgefr.io.user_folders.user_folder", lambda kind: None)
    assert "a home directory for models" in edgefr("models", "path", "sface").sentence


@pytest.mark.shared
def test_a_model_is_downloaded_checked_and_used_by_its_name(edgefr, home: Path, mirror: Place, shared: Path) -> None:
    mirror.behaviours["/models/yunet.onnx"] = [broken_off(100_000), serve]
    assert "found none. Run `edgefr models get yunet`" in edgefr("models", "path", "yunet").sentence
    told = edgefr("models", "get", "yunet", "--accept-license")
    assert told.code == 0
    assert told.out == f"{home / 'yunet.onnx'} is ready. Use it by the name yunet.\n"
    assert told.err == (
        "edgefr: yunet: YuNet by OpenCV. Licence: MIT; commercial use: yes "
        "(https://github.com/opencv/opencv_zoo/tree/main/models/face_detection_yunet). "
        "Its SHA-256 was stated by a third party.\n"
    )
    again = edgefr("models", "get", "face_detection_yunet_2023mar", "--json")
    assert (again.json["downloaded"], again.json["path"], again.err) == (False, str(home / "yunet.onnx"), "")
    assert edgefr("models", "path", "yunet").out == f"{home / 'yunet.onnx'}\n"
    photo = shared / "photos/astronaut.png"
    assert edgefr("verify", photo, photo, "--detector", "yunet", "--json").json["detector"] == "yunet"
    assert edgefr("models", "remove", "yunet", "--json").json == {"removed": [str(home / "yunet.onnx")]}
    assert "Run `edgefr models get yunet`" in edgefr("verify", photo, photo, "--detector", "yunet").sentence


@pytest.mark.shared
def test_a_file_at_hand_is_added(edgefr, home: Path, yunet: Path) -> None:
    told = edgefr("models", "add", yunet)
    assert told.out.startswith(f"{home / 'yunet.onnx'}: yunet. Licence: MIT; commercial use: yes")
    assert (home / "yunet.onnx").read_bytes() == yunet.read_bytes()
    assert edgefr("models", "add", yunet, "--json").json["models"][0]["name"] == "yunet"
    assert "Use it as your own model: `edgefr adopt" in edgefr("models", "add", shipped_model("mini")).sentence


def test_a_licence_has_to_be_accepted(edgefr, home: Path) -> None:
    told = edgefr("models", "get", "w600k-r50")
    assert (told.code, told.out) == (2, "")
    notice, error = told.err.splitlines()
    assert "Licence: non-commercial research only; commercial use: no" in notice
    assert "expected --accept-license, found none. Read https://github.com/deepinsight/insightface" in error
    assert not home.exists()


@pytest.mark.shared
@pytest.mark.parametrize(("reply", "code"), [("y", 0), ("", 2), ("no", 2)])
def test_a_terminal_is_asked_for_the_licence(home: Path, mirror: Place, reply: str, code: int) -> None:
    terminal, inside = pty.openpty()
    process = subprocess.Popen(
        [sys.executable, "-m", "edgefr", "models", "get", "yunet"],
        stdin=inside,
        stdout=subprocess.PIPE,
        stderr=inside,
        cwd=REPOSITORY,
    )
    os.close(inside)
    shown = b""
    while b"[y/N]" not in shown:
        shown += os.read(terminal, 1000)
    os.write(terminal, f"{reply}\n".encode())
    process.communicate(timeout=60)
    os.close(terminal)
    assert process.returncode == code
    assert (home / "yunet.onnx").exists() == (code == 0)


@pytest.mark.parametrize(
    ("name", "hint"),
    [
        ("w600k-r5o", "Perhaps w600k-r50"),
        ("buffalo_l", "Name one of them: w600k-r50, scrfd-10g"),
        ("!", "Choose one that `edgefr models` lists"),
    ],
)
def test_a_name_that_is_not_known_is_one_sentence(edgefr, home: Path, name: str, hint: str) -> None:
    for command in ("get", "remove", "path"):
        assert hint in edgefr("models", command, name).sentence


def test_what_is_on_a_drive_is_placed_by_hand(edgefr, home: Path) -> None:
    sentence = edgefr("models", "get", "adaface-ir50-ms1mv2").sentence
    assert "https://drive.google.com/file/d/1eUaSHG4pGlIZK7hBkqjyp2fc2epKoBvI/view" in sentence
    assert f"by hand, and save it as {home / 'adaface-ir50-ms1mv2.ckpt'}." in sentence


def test_the_models_that_come_with_edgefr_are_there_and_stay(edgefr, home: Path) -> None:
    for name in SHIPPED:
        assert edgefr("models", "get", name).out.startswith(f"{shipped_model(name)} is there already")
        assert "found one that comes with edgefr" in edgefr("models", "remove", name).sentence
        assert shipped_model(name).is_file()


@pytest.mark.parametrize(
    "arguments",
    [
        ("verify", "a.jpg", "b.jpg", "--model"),
        ("verify", "a.jpg", "b.jpg", "--detector"),
        ("embed", "a.jpg", "-o", "a.npz", "--model"),
        ("gallery", "identify", "a.jpg", "--model"),
        ("export", "-o", "a.onnx"),
        ("bench",),
    ],
    ids=lambda arguments: " ".join(arguments[:2]),
)
def test_a_name_that_is_not_present_says_how_to_get_it(
    edgefr, home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, arguments: tuple[str, ...]
) -> None:
    monkeypatch.chdir(tmp_path)
    sentence = edgefr(*arguments, "sface").sentence
    assert f"expected the model sface in {home}, found none. Run `edgefr models get sface`." in sentence


def test_a_model_that_is_not_present_is_not_calibrated(edgefr, home: Path, tmp_path: Path) -> None:
    assert "Run `edgefr models get sface`" in edgefr("calibrate", "sface", tmp_path).sentence
    assert "found none at mini" in edgefr("calibrate", "mini", tmp_path).sentence, "the package is not written to"


def test_recipes_name_backbones_of_the_catalogue(edgefr, home: Path) -> None:
    with pytest.raises(WrongModelError, match="Run `edgefr models get adaface-ir18-casia`"):
        BackboneConfig(Path("adaface-ir18-casia"), "adaface")
    home.mkdir(parents=True)
    (home / "adaface-ir18-casia.ckpt").write_bytes(b"")
    assert BackboneConfig(Path("adaface-ir18-casia"), "adaface").checkpoint == home / "adaface-ir18-casia.ckpt"
    assert BackboneConfig(Path("mine.pt"), "adaface").checkpoint == Path("mine.pt")


def test_the_model_of_the_environment_may_be_a_name(edgefr, home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("EDGEFR_MODEL", "glintr100")
    assert "Run `edgefr models get glintr100`" in edgefr("verify", "a.jpg", "b.jpg").sentence
    monkeypatch.delenv("EDGEFR_MODEL")
    monkeypatch.setenv("EDGEFR_DETECTOR", "scrfd-10g")
    assert "Run `edgefr models get scrfd-10g`" in edgefr("verify", "a.jpg", "b.jpg").sentence
