"""The commands of `edgefr gallery` with each store."""

from __future__ import annotations

from pathlib import Path

import pytest

from edgefr.gallery.address import LITE, POSTGRES, Address
from edgefr.manifest import Manifest, write_manifest
from tests.gallery.people import StubDetector, photo, thresholds
from tests.stores import place_in

MODEL = ("-m", "fake")


def test_the_commands_are_the_same_in_every_store(
    place: Path | Address, edgefr, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("edgefr.recognition.verifier.open_detector", lambda *_: StubDetector())
    monkeypatch.setenv("SECRET", "correct horse battery")
    monkeypatch.delenv("EDGEFR_GALLERY", raising=False)
    monkeypatch.delenv("EDGEFR_GALLERY_KEY", raising=False)
    write_manifest(tmp_path / "fake", Manifest("onnx", "fake", thresholds=thresholds((1e-3, 0.5), (1e-5, 0.6))))
    there = ("--gallery", place, "--key-file", tmp_path / "key")
    for person, name in enumerate(("ada", "grace")):
        for picture in range(2):
            photo(tmp_path / "people" / name / f"{picture}.png", person, picture)

    result = edgefr("gallery", "enroll", "--folder", "people", *there, *MODEL, "--json")
    assert result.code == 0, result.err
    assert result.json["gallery"] == str(place)
    assert ("sees every template in clear" in result.err) == isinstance(place, Address)
    seen = [photo(tmp_path / "seen" / f"{number}.png", number, 9) for number in (0, 1, 77)]
    result = edgefr("gallery", "identify", *seen, *there, *MODEL, "--json")
    assert result.code == 1, result.err
    assert [answer["name"] for answer in result.json["answers"]] == ["ada", "grace", None]
    assert result.err == ""

    out, passphrase = tmp_path / "out", ("--file-passphrase-env", "SECRET")
    assert edgefr("gallery", "export", out, *there, *passphrase).code == 0
    file = ("--gallery", tmp_path / "carried.gallery")
    result = edgefr("gallery", "import", out, *file, "--plain", *passphrase, "--json")
    assert result.json["people"] == 2, result.err
    before, after = (edgefr("gallery", "list", *where, "--json").json for where in (there, file))
    assert before["people"] == after["people"]

    assert edgefr("gallery", "remove", "ada", *there).out == "Removed ada; 1 person left.\n"
    result = edgefr("gallery", "identify", seen[0], *there, *MODEL, "--json")
    assert [answer["name"] for answer in result.json["answers"]] == [None]
    audit = edgefr("gallery", "audit", *there, "--json").json
    assert (audit["people"], audit["images"]) == (1, 2)
    assert [event["what"] for event in audit["events"]] == [
        *["enrolled"] * 2,
        *["matched"] * 2,
        "exported",
        "removed",
    ]

    result = edgefr("gallery", "rotate-key", "--new-key-file", tmp_path / "new", *there)
    assert result.code == 0, result.err
    assert ("the gallery key has not changed" in result.err) == isinstance(place, Address)


@pytest.mark.parametrize(
    ("address", "named"),
    [
        ("postgresql://me:secret@host/db/people", "Set PGPASSWORD"),
        ("milvus://token:secret@host/people", "MILVUS_TOKEN"),
        ("postgresql://me:secret/12@host/db/people", "expected an address such as"),
        ("postgresql://me:12/secret@host/db/people", "expected an address such as"),
        ("postgresql://me:12/secret@host/people", "does not match"),
        ("milvus://host:19530/people; DROP", "does not match"),
        ("milvus:/host/people", "no // before the host"),
        ("postgresql:me@host/db/people", "no // before the host"),
        ("http://host/people", "expected an address such as milvus://"),
    ],
)
def test_a_malformed_address_is_refused_without_printing_its_password(edgefr, address: str, named: str) -> None:
    result = edgefr("gallery", "list", "--gallery", address)
    assert named in result.sentence
    assert "secret" not in result.sentence


@pytest.mark.parametrize("store", [LITE, POSTGRES])
def test_templates_are_transformed_by_the_commands(
    store: str, request: pytest.FixtureRequest, edgefr, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    place = place_in(store, request, tmp_path, monkeypatch)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("edgefr.recognition.verifier.open_detector", lambda *_: StubDetector())
    monkeypatch.setattr("edgefr.gallery.database_gallery.TRANSFORM_WAIT_S", 0.0)
    monkeypatch.delenv("EDGEFR_GALLERY_KEY", raising=False)
    write_manifest(tmp_path / "fake", Manifest("onnx", "fake", thresholds=thresholds((1e-3, 0.5), (1e-5, 0.6))))
    there = ("--gallery", place, "--key-file", tmp_path / "key")
    ada = photo(tmp_path / "ada.png", 1)
    result = edgefr("gallery", "enroll", "Ada", ada, *there, *MODEL, "--transform-templates")
    assert "transformed by a secret of the gallery" in result.err
    assert "in clear" not in result.err
    assert edgefr("gallery", "identify", ada, *there, *MODEL, "--json").json["answers"][0]["name"] == "Ada"
    result = edgefr("gallery", "transform-templates", *there, "--off", "--json")
    assert result.json == {"gallery": str(place), "people": 1, "transformed": False}
    refused = edgefr("gallery", "enroll", "Ada", ada, *there, *MODEL, "--transform-templates")
    assert "run `edgefr gallery transform-templates`" in refused.sentence.lower()
    assert "are transformed now" in edgefr("gallery", "transform-templates", *there).out
    assert edgefr("gallery", "identify", ada, *there, *MODEL, "--json").json["answers"][0]["name"] == "Ada"
    file = ("--gallery", tmp_path / "a.gallery", "--key-file", tmp_path / "key")
    refused = edgefr("gallery", "enroll", "Ada", ada, *file, *MODEL, "--transform-templates")
    assert "found a gallery in a file, which encrypts them" in refused.sentence
