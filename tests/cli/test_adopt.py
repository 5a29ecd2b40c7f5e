"""`edgefr adopt` and `edgefr fuse`: published files become one that verifies, with thresholds."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("onnx")

from edgefr.data.collections import open_faces
from edgefr.manifest import HeldOut, model_manifest, read_manifest, write_model_manifest
from edgefr.recognition.recogniser import open_recogniser
from tests.conftest import made_once
from tests.published_nets import people_zip, save_net

RED, GREEN = (1, 0, 0), (0, 1, 0)


@pytest.fixture(scope="session")
def people(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """500 pictures of 250 people who differ in red and in green."""
    return made_once(tmp_path_factory, "people", lambda folder: people_zip(folder / "people.zip")) / "people.zip"


def test_colours_and_scale_are_measured(edgefr, people: Path, tmp_path: Path) -> None:
    """Blue says nothing of a person: a net that looks at its first channel wants RGB, at its third one BGR."""
    for name, colours, colour in (("first", (1, 0, 0), "rgb"), ("last", (0, 0, 1), "bgr")):
        net = save_net(tmp_path / f"{name}.onnx", colours=colours)
        told = edgefr("adopt", net, "--faces", people, "-o", tmp_path / "native.onnx", "--json")
        assert told.code == 0, told.err
        assert told.json["convention"]["colour"] == colour
        assert told.json["convention"]["mean"] == [127.5] * 3
        assert told.json["convention_from"] == "measurement"
        assert told.json["measured"][0]["identified"] > 0.5
        assert [entry["fmr"] for entry in told.json["thresholds"]] == [1e-2, 1e-3]  # as 124,500 pairs suffice for
        manifest = model_manifest(tmp_path / "native.onnx")
        assert manifest == read_manifest(tmp_path / "native.onnx")
        assert manifest is not None
        assert manifest.made_from["published"]["file"] == f"{name}.onnx"
        assert not manifest.is_outdated(tmp_path / "native.onnx")


def test_the_table_shows_what_was_measured(edgefr, people: Path, tmp_path: Path) -> None:
    told = edgefr("adopt", save_net(tmp_path / "net.onnx"), "--faces", people, "-o", tmp_path / "native.onnx")
    first, second, *_ = told.out.splitlines()
    assert first.split() == [
        "input",
        "convention",
        "faces",
        "identified",
        "loss",
        "loss",
        "above",
        "the",
        "best",
        "(95",
        "%)",
    ]
    assert second.startswith("RGB, (x - 127.5) / 127.5 (and 3 like it)")
    assert "net.onnx takes RGB, (x - 127.5) / 127.5, as measured on these faces." in told.out


def test_a_net_to_which_the_order_of_colours_makes_no_difference_is_adopted(
    edgefr, people: Path, tmp_path: Path
) -> None:
    net = save_net(tmp_path / "net.onnx", colours=(0.5, 0, 0.5))
    told = edgefr("adopt", net, "--faces", people, "-o", tmp_path / "native.onnx", "--json")
    assert told.json["convention"]["colour"] == "rgb"
    assert "BGR, (x - 127.5) / 127.5" in told.json["measured"][0]["alike"]


def test_a_net_that_does_not_recognise_these_people_is_refused_with_the_table(edgefr, tmp_path: Path) -> None:
    strangers = people_zip(tmp_path / "strangers.zip", people=60, noise=5000)
    told = edgefr("adopt", save_net(tmp_path / "net.onnx"), "--faces", strangers, "-o", tmp_path / "none.onnx")
    assert told.code == 2
    assert told.err.startswith("input convention")  # the table
    assert "none of the usual input conventions" in told.err.splitlines()[-1]
    assert not (tmp_path / "none.onnx").exists()


def test_options_replace_the_measurement(edgefr, tmp_path: Path) -> None:
    net = save_net(tmp_path / "net.onnx")
    options = ("--colour", "bgr", "--mean", "1,2,3", "--std", "64")
    told = edgefr("adopt", net, "-o", tmp_path / "native.onnx", *options, "--json")
    assert told.json["convention"]["mean"] == [1, 2, 3]
    assert (told.json["convention_from"], told.json["thresholds"]) == ("option", [])
    assert "edgefr calibrate" in edgefr("adopt", net, "-o", tmp_path / "native.onnx", *options).out


@pytest.mark.parametrize(
    ("options", "found"),
    [
        (("--colour", "rgb"), "--colour, --mean and --std together"),
        (("--colour", "rgb", "--mean", "nan", "--std", "1"), "--mean as one number or three"),
        (("--colour", "rgb", "--mean", "1,2", "--std", "1"), "--mean as one number or three"),
        (("--colour", "rgb", "--mean", "1", "--std", "0"), "--std above 0"),
        ((), "faces to measure"),
        (("--output-name", "scores"), "one of the outputs features"),
    ],
)
def test_options_that_do_not_fit_are_refused(edgefr, tmp_path: Path, options: tuple, found: str) -> None:
    told = edgefr("adopt", save_net(tmp_path / "net.onnx"), "-o", tmp_path / "native.onnx", *options)
    assert found in told.sentence
    assert not (tmp_path / "native.onnx").exists()


def test_after_adoption_the_published_file_can_be_named(edgefr, tmp_path: Path, monkeypatch) -> None:
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path / "data"))
    net = save_net(tmp_path / "net.onnx")
    assert f"edgefr adopt {net} --faces FACES" in edgefr("bench", net).sentence
    told = edgefr("adopt", net, "--colour", "rgb", "--mean", "127.5", "--std", "127.5", "--json")
    assert Path(told.json["output"]).is_relative_to(tmp_path / "data")
    assert edgefr("bench", net, "--seconds", "0.01", "--json").code == 0


def test_fused_nets_are_better_than_each_and_explain_themselves(edgefr, people: Path, tmp_path: Path) -> None:
    red = save_net(tmp_path / "red.onnx", colours=RED)
    green = save_net(tmp_path / "green.onnx", colours=GREEN, channels_last=True, opset=13)
    native = tmp_path / "red-native.onnx"
    assert edgefr("adopt", red, "--faces", people, "-o", native).code == 0
    arguments = ("--colour", "rgb", "--mean", "127.5", "--std", "127.5")
    assert edgefr("adopt", green, "-o", tmp_path / "green-native.onnx", *arguments).code == 0
    manifest = model_manifest(native)
    assert manifest is not None
    ours = HeldOut(None, (), open_faces(people).digest())
    write_model_manifest(native, replace(manifest, trained_on="these people", held_out=ours))
    told = edgefr(
        "fuse", native, tmp_path / "green-native.onnx", "--faces", people, "-o", tmp_path / "door.onnx", "--json"
    )
    assert told.code == 0, told.err
    rows = {row["name"]: row for row in told.json["systems"]}
    assert rows["fused"]["degraded_loss"] < min(
        rows["red-native"]["degraded_loss"], rows["green-native"]["degraded_loss"]
    )
    assert [entry["fmr"] for entry in told.json["thresholds"]] == [1e-2, 1e-3]
    assert "who had no part in fitting" in told.json["thresholds"][0]["measured_on"]
    assert "who were also trained on" in told.json["thresholds"][0]["measured_on"]
    assert "red-native was trained on" in told.err
    folder = open_faces(people)
    faces = folder.read_faces(folder.names[:7])
    fused = open_recogniser(tmp_path / "door.onnx", "onnxruntime").embed(faces)
    assert fused.embedding.shape == (7, 128)
    assert fused.uncertainty is not None
    parts = [
        open_recogniser(tmp_path / name, "onnxruntime").embed(faces).embedding
        for name in ("red-native.onnx", "green-native.onnx")
    ]
    door = model_manifest(tmp_path / "door.onnx")
    assert door is not None
    assert door.trained_on == "these people"
    shares = door.spec["weights"]
    joined = np.concatenate([share**0.5 * part for share, part in zip(shares, parts, strict=True)], axis=1)
    if not told.json["whitened"]:
        np.testing.assert_allclose(fused.embedding, joined, atol=1e-3)


def test_fusing_needs_two_files_and_enough_people(edgefr, people: Path, tmp_path: Path) -> None:
    net = save_net(tmp_path / "net.onnx")
    edgefr("adopt", net, "-o", tmp_path / "native.onnx", "--colour", "rgb", "--mean", "0", "--std", "255")
    told = edgefr("fuse", tmp_path / "native.onnx", "--faces", people, "-o", tmp_path / "door.onnx")
    assert "two to four recognisers" in told.sentence
    told = edgefr("fuse", net, tmp_path / "native.onnx", "--faces", people, "-o", tmp_path / "native.onnx")
    assert "none of the inputs" in told.sentence
