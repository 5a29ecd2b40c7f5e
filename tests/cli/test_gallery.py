"""The commands of `edgefr gallery`."""

from __future__ import annotations

import os
from pathlib import Path

import cv2
import numpy as np
import pytest

from edgefr import Identifier, NoSecret, Verifier, open_gallery
from edgefr.detection.base import Detections, Face
from edgefr.manifest import Manifest, write_manifest
from edgefr.types import TEMPLATE, Image
from tests.cli.conftest import Told
from tests.gallery.people import NOBODY, TWO, StubDetector, photo, thresholds


@pytest.fixture
def gallery(edgefr, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """Runs commands on one gallery without a secret, with the fake model and its manifest in the current folder."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("edgefr.recognition.verifier.open_detector", lambda *_: StubDetector())
    monkeypatch.setenv("EDGEFR_GALLERY", str(tmp_path / "people.gallery"))
    monkeypatch.delenv("EDGEFR_GALLERY_KEY", raising=False)
    limits = thresholds((1e-2, 0.4), (1e-3, 0.5), (1e-5, 0.6))
    write_manifest(tmp_path / "fake", Manifest("onnx", "fake", thresholds=limits))
    return lambda *arguments: edgefr("gallery", *arguments)


MODEL = ("-m", "fake")


@pytest.fixture
def three(gallery, tmp_path: Path) -> Told:
    """Three people, enrolled from a folder of folders."""
    for person, name in enumerate(("ada", "grace", "emmy")):
        for picture in range(2):
            photo(tmp_path / "people" / name / f"{picture}.png", person, picture)
    result: Told = gallery("enroll", "--folder", "people", "--plain", "--keep-crops", *MODEL, "--json")
    assert result.code == 0, result.err
    return result


def test_people_enrolled_from_a_folder_are_identified(gallery, three: Told, tmp_path: Path) -> None:
    assert [(one["name"], one["images"]) for one in three.json["people"]] == [("ada", 2), ("emmy", 2), ("grace", 2)]
    seen = [photo(tmp_path / "seen" / f"{person}.png", person, 9) for person in range(3)]
    result = gallery("identify", *seen, *MODEL, "--json")
    assert result.code == 0
    assert [answer["name"] for answer in result.json["answers"]] == ["ada", "grace", "emmy"]
    assert result.json["value"] == result.json["threshold"] == pytest.approx(0.448, abs=1e-3)
    assert result.json["source"] == result.json["threshold_from"]
    assert result.json["source"].endswith("interpolated between the calibrated false match rates 0.01 and 0.001")
    assert result.json["fpir"] == pytest.approx(0.01)
    assert result.json["fmr"] == pytest.approx(0.01 / 3, rel=0.01)
    assert [event["name"] for event in gallery("audit", "--json").json["events"]][-3:] == ["ada", "grace", "emmy"]


def test_a_stranger_is_unknown(gallery, three: Told, tmp_path: Path) -> None:
    stranger = photo(tmp_path / "stranger.png", 77)
    result = gallery("identify", stranger, *MODEL)
    assert result.code == 1
    assert "stranger.png: unknown (similarity" in result.out
    assert "is below 0.448" in result.out
    both = gallery("identify", stranger, photo(tmp_path / "ada.png", 0, 5), *MODEL, "--json")
    assert both.code == 1
    assert [answer["name"] for answer in both.json["answers"]] == [None, "ada"]


GROUP = 5
"""Value of the first pixel of a photograph that `group` makes."""


class GroupDetector(StubDetector):
    """Finds six faces in a group: two of 112 pixels, one of 56 pixels in front of them, two of 10 and 19 pixels in the
    background, with the highest scores, and a large pattern that is hardly a face."""

    def detect(self, image: Image) -> Detections:
        if image[0, 0, 0] != GROUP:
            return super().detect(image)
        found = [(0.99, 5, 150, 10), (0.8, 30, 20, 112), (0.9, 200, 20, 112), (0.78, 150, 120, 56), (0.95, 350, 5, 19)]
        found.append((0.7, 100, 20, 120))
        return Detections.from_faces(
            [Face((x, y, side, side), TEMPLATE * side / 112 + np.float32([x, y]), score) for score, x, y, side in found]
        )


@pytest.fixture
def group(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A photograph of ada on the left and of somebody else on the right, with a small person between them."""
    monkeypatch.setattr("edgefr.recognition.verifier.open_detector", lambda *_: GroupDetector())
    pictures = [cv2.imread(str(photo(tmp_path / f"{person}.png", person, 5))) for person in (0, 77)]
    both = np.hstack(pictures)
    both[:4, :4] = GROUP
    cv2.imwrite(str(tmp_path / "group.png"), both)
    return tmp_path / "group.png"


def test_everyone_on_a_group_photograph_gets_an_answer(gallery, three: Told, group: Path) -> None:
    result = gallery("identify", group, *MODEL, "--json")
    assert result.code == 1, "the person on the right is unknown"
    answers = result.json["answers"]
    assert [answer["name"] for answer in answers] == [None, "ada", None]
    assert [answer["box"] for answer in answers] == [[200, 20, 112, 112], [30, 20, 112, 112], [150, 120, 56, 56]]
    assert {answer["faces_found"] for answer in answers} == {6}
    assert {answer["path"] for answer in answers} == {str(group)}
    assert result.err == f"edgefr: {group}: 3 of 6 faces left out, which have less than 20 pixels or are uncertain\n"
    assert [event["name"] for event in gallery("audit", "--json").json["events"]][3:] == ["ada"]


def test_the_sentences_name_the_faces_of_a_group(gallery, three: Told, group: Path, tmp_path: Path) -> None:
    first, second, _, alone = gallery("identify", group, photo(tmp_path / "alone.png", 2, 8), *MODEL).out.splitlines()
    assert first.startswith(f"{group}, face of 112x112 pixels at 200,20: unknown (similarity ")
    assert second.startswith(f"{group}, face of 112x112 pixels at 30,20: ada (similarity ")
    assert alone.startswith(f"{tmp_path}/alone.png: emmy (similarity ") or "alone.png: grace" in alone


def test_one_face_of_a_group_is_identified_on_request(gallery, three: Told, group: Path) -> None:
    largest = gallery("identify", group, *MODEL, "--face", "largest", "--json")
    assert [answer["box"] for answer in largest.json["answers"]] == [[200, 20, 112, 112]]
    assert (largest.code, largest.err) == (1, "")
    assert len(gallery("identify", group, *MODEL, "--face", "centre", "--json").json["answers"]) == 1
    assert gallery("identify", group, *MODEL, "--face", "only", "--json").code == 2


def test_from_python_everyone_is_identified_alike(gallery, three: Told, group: Path, tmp_path: Path) -> None:
    with open_gallery(tmp_path / "people.gallery", NoSecret()) as opened:
        identifier = Identifier(Verifier.open("fake"), opened)
        found = identifier.identify_all(group)
        assert [one.name for one in found] == [None, "ada", None]
        assert [one.face.box[0] for one in found if one.face is not None] == [200, 30, 150]
        assert identifier.identify(group).name is None


def test_a_photograph_of_small_faces_only_gives_one_answer(
    gallery, three: Told, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    small = [
        Face((x, 9, side, side), TEMPLATE * side / 112 + np.float32([x, 9]), 0.9) for x, side in ((9, 12), (50, 18))
    ]
    monkeypatch.setattr(StubDetector, "detect", lambda *_: Detections.from_faces(small))
    result = gallery("identify", photo(tmp_path / "far.png", 0), *MODEL, "--json")
    assert [answer["box"] for answer in result.json["answers"]] == [[50, 9, 18, 18]]


def test_a_photograph_without_a_face_is_listed_with_exit_code_2(gallery, three: Told, tmp_path: Path) -> None:
    result = gallery("identify", photo(tmp_path / "wall.png", 5, kind=NOBODY), *MODEL, "--json")
    assert result.code == 2
    assert result.json["answers"] == []
    assert "expected a face in" in result.json["left_out"][0]["reason"]
    assert "wall.png" in result.err


def test_a_rejected_photograph_gives_exit_code_2_and_the_others_are_enrolled(gallery, tmp_path: Path) -> None:
    good, bad = photo(tmp_path / "good.png", 1), photo(tmp_path / "bad.png", 1, kind=TWO)
    result = gallery("enroll", "Ada", good, bad, "--plain", *MODEL)
    assert result.code == 2
    assert "left out: expected one face in" in result.err
    assert "found two of similar size" in result.err
    assert result.out == f"Enrolled Ada (1 image) in {tmp_path}/people.gallery.\n"
    assert gallery("list", "--json").json["people"][0]["images"] == 1


def test_a_person_under_a_second_name_is_enrolled_only_by_force(gallery, three: Told, tmp_path: Path) -> None:
    image = photo(tmp_path / "c.png", 0, 7)
    result = gallery("enroll", "countess", image, *MODEL)
    assert result.code == 2
    assert f"left out: {image} looks like ada, who is enrolled (similarity 0.9" in result.err
    assert result.out == "Nothing was enrolled for countess: every photograph was left out.\n"
    assert len(gallery("list", "--json").json["people"]) == 3
    result = gallery("enroll", "countess", image, "--force", *MODEL)
    assert result.code == 0
    assert "please check: countess looks like ada" in result.err
    assert len(gallery("list", "--json").json["people"]) == 4


def test_a_face_of_a_group_is_enrolled_on_request(gallery, tmp_path: Path) -> None:
    group = photo(tmp_path / "group.png", 1, kind=TWO)
    assert gallery("enroll", "Ada", group, "--plain", *MODEL).code == 2
    result = gallery("enroll", "Ada", group, "--face", "largest", *MODEL, "--json")
    assert result.code == 0
    (person,) = result.json["people"]
    assert person["notes"] == [f"{group} shows 2 faces, and the largest one was taken"]
    assert person["notes"][0] in result.err


def test_one_image_of_a_person_is_removed(gallery, three: Told, tmp_path: Path) -> None:
    assert gallery("remove", "ada", "--image", "0.png").out == "Removed 0.png from ada; 1 image left.\n"
    assert [one["source"] for one in gallery("show", "ada", "--json").json["images"]] == ["1.png"]
    assert "1.png is the only image of ada. Remove the person with" in gallery("remove", "ada", "--image", "1.png").err
    assert "found none. See `edgefr gallery show" in gallery("remove", "emmy", "--image", "7.png").sentence
    twice = photo(tmp_path / "other" / "0.png", 1, 5)
    assert gallery("enroll", "grace", twice, *MODEL).code == 0
    assert "one image 0.png of grace, found 2." in gallery("remove", "grace", "--image", "0.png").sentence
    removed = gallery("remove", "grace", "--image", "#3", "--json").json
    assert removed == {"removed": "0.png", "name": "grace", "images": 2, "erased": True}
    assert [event["what"] for event in gallery("audit", "--json").json["events"]][-1] == "image removed"


def test_audit_finds_images_and_people_that_should_be_checked(gallery, three: Told, tmp_path: Path) -> None:
    clean = gallery("audit", "--strict", *MODEL, "--json")
    assert (clean.code, clean.json["outliers"]) == (0, {"images": [], "people": []})
    gallery("enroll", "grace", photo(tmp_path / "stranger.png", 50), "--force", *MODEL)
    gallery("enroll", "countess", photo(tmp_path / "c.png", 0, 7), "--force", *MODEL)
    result = gallery("audit", *MODEL, "--json")
    assert result.code == 0
    (image,), (pair,) = result.json["outliers"]["images"], result.json["outliers"]["people"]
    assert (image["name"], image["source"]) == ("grace", "stranger.png")
    assert image["similarity"] < 0.5
    assert (pair["name"], pair["other"]) == ("ada", "countess")
    assert pair["similarity"] > 0.6
    printed = gallery("audit", "--strict", *MODEL)
    assert printed.code == 1
    assert "Please check: stranger.png looks unlike the other images of grace (similarity" in printed.out
    assert "Please check: ada looks like countess (similarity" in printed.out
    assert gallery("audit", "--no-outliers", *MODEL, "--json").json["outliers"] is None
    other = gallery("audit", "--json")
    assert (other.code, other.json["outliers"]) == (0, None)
    assert "outliers were not searched: expected the model fake" in other.err
    assert "Give it with --model" in gallery("audit", "--strict").sentence


def test_list_show_rename_and_remove(gallery, three: Told) -> None:
    listed = gallery("list", "--json").json
    assert [one["name"] for one in listed["people"]] == ["ada", "emmy", "grace"]
    assert listed["made_by"]["detector"] == "stub"
    assert "ada" in gallery("list").out
    shown = gallery("show", "ada", "--json").json["images"]
    assert [one["source"] for one in shown] == ["0.png", "1.png"]
    assert all(one["similarity_to_template"] > 0.9 and one["crop_kept"] for one in shown)
    assert gallery("rename", "ada", "Ada Lovelace").out == "Renamed ada to Ada Lovelace.\n"
    assert "ada is not enrolled in " in gallery("remove", "ada").sentence
    assert gallery("remove", "Ada Lovelace", "--json").json == {
        "removed": "Ada Lovelace",
        "people": 2,
        "erased": True,
    }
    events = gallery("audit", "--json").json["events"]
    assert [event["what"] for event in events] == ["enrolled"] * 3 + ["renamed", "removed"]


def test_audit_verifies_the_gallery_and_prints_the_log(gallery, three: Told, tmp_path: Path) -> None:
    result = gallery("audit", "--lines", 2)
    assert result.out.startswith("Verified 3 people, 6 images, 6 crops and 3 events.")
    assert result.out.count("\n") == 3
    path = tmp_path / "people.gallery"
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 255  # within a crop
    path.write_bytes(content)
    assert "Restore a copy" in gallery("audit").sentence


def test_export_and_import_into_a_new_gallery(gallery, three: Told, tmp_path: Path, monkeypatch) -> None:
    monkeypatch.setenv("CARRY", "correct horse battery")
    result = gallery("export", "people.export", "--file-passphrase-env", "CARRY")
    assert result.out == "Exported 3 people to people.export.\n"
    monkeypatch.setenv("EDGEFR_GALLERY", str(tmp_path / "other.gallery"))
    key = tmp_path / "key"
    result = gallery("import", "people.export", "--file-passphrase-env", "CARRY", "--key-file", key, "--json")
    assert result.json["people"] == 3
    assert "expected the key file" in gallery("list").sentence
    monkeypatch.setenv("EDGEFR_GALLERY_KEY", str(key))
    assert [one["name"] for one in gallery("list", "--json").json["people"]] == ["ada", "emmy", "grace"]
    assert "ada is enrolled in " in gallery("import", "people.export", "--file-passphrase-env", "CARRY").sentence


def test_rotate_from_plain_to_a_passphrase_and_back(gallery, three: Told, monkeypatch) -> None:
    monkeypatch.setenv("NEW", "correct horse battery")
    assert gallery("rotate-key", "--new-passphrase-env", "NEW").code == 0
    assert "no terminal to ask on" in gallery("list").sentence
    assert len(gallery("list", "--passphrase-env", "NEW", "--json").json["people"]) == 3
    reader, writer = os.pipe()
    os.write(writer, b"correct horse battery\n")
    os.close(writer)
    assert gallery("rotate-key", "--passphrase-fd", reader, "--plain").code == 0
    assert len(gallery("list", "--json").json["people"]) == 3
    assert "$OTHER, found it not set" in gallery("rotate-key", "--new-passphrase-env", "OTHER").sentence


def test_a_gallery_without_a_secret_is_refused_if_a_secret_is_given(
    gallery, three: Told, tmp_path, monkeypatch
) -> None:
    monkeypatch.setenv("SECRET", "correct horse battery")
    seen = photo(tmp_path / "seen.png", 0, 9)
    for secret in (("--key-file", tmp_path / "key"), ("--passphrase-env", "SECRET"), ("--passphrase-fd", 0)):
        assert "people.gallery to be locked with the given secret" in gallery("list", *secret).sentence
        assert "Restore the right file" in gallery("enroll", "ada", seen, *MODEL, *secret).sentence
    monkeypatch.setenv("EDGEFR_GALLERY_KEY", str(tmp_path / "key"))
    assert "found a gallery without a secret" in gallery("identify", seen, *MODEL).sentence


def test_an_enrolment_after_an_interrupted_creation_creates_the_gallery(gallery, tmp_path: Path) -> None:
    (tmp_path / "people.gallery").touch()
    seen = photo(tmp_path / "seen.png", 0)
    assert "found an empty file. Create one with `edgefr gallery enroll" in gallery("list").sentence
    assert gallery("enroll", "ada", seen, "--plain", *MODEL).code == 0
    assert gallery("enroll", "grace", photo(tmp_path / "grace.png", 1), *MODEL).code == 0
    assert [one["name"] for one in gallery("list", "--json").json["people"]] == ["ada", "grace"]


def test_a_folder_enrolled_twice_changes_nobody(gallery, three: Told) -> None:
    result = gallery("enroll", "--folder", "people", *MODEL)
    assert result.code == 0
    assert [line.split() for line in result.out.splitlines()[1:-1]] == [
        [name, "0", "2", "0", "unchanged"] for name in ("ada", "emmy", "grace")
    ]
    assert [one["images"] for one in gallery("list", "--json").json["people"]] == [2, 2, 2]


def test_one_unusable_person_of_a_folder_leaves_the_others_enrolled(gallery, tmp_path: Path) -> None:
    photo(tmp_path / "people/ada/1.png", 0)
    photo(tmp_path / "people/faceless/1.png", 5, kind=NOBODY)
    photo(tmp_path / "people" / "\x07bell" / "1.png", 6)
    (tmp_path / "people/empty").mkdir()
    photo(tmp_path / "people/grace/1.png", 1)
    result = gallery("enroll", "--folder", "people", "--plain", *MODEL)
    assert result.code == 2
    assert [one["name"] for one in gallery("list", "--json").json["people"]] == ["ada", "grace"]
    header, *rows, total = result.out.splitlines()
    assert header.split() == ["name", "added", "known", "left", "out", "result"]
    results = {row.split()[0]: row.split(maxsplit=4)[4] for row in rows}
    assert results["ada"] == results["grace"] == "enrolled"
    assert results["faceless"].startswith("not enrolled: expected one face in people/faceless/1.png, found none.")
    assert results["empty"] == "not enrolled: expected photographs in people/empty, found none. Check the path."
    assert results["\x07bell"].startswith("not enrolled: expected a name of 1 to 200 printable characters")
    assert total == f"2 of 5 people enrolled in {tmp_path}/people.gallery."


def test_an_invalid_name_of_a_single_person_is_an_error(gallery, tmp_path: Path) -> None:
    seen = photo(tmp_path / "seen.png", 0)
    assert "printable characters" in gallery("enroll", "\x07bell", seen, "--plain", *MODEL).sentence


def test_enrolments_are_described_in_sentences(gallery, tmp_path: Path) -> None:
    photos = [photo(tmp_path / f"{number}.png", 0, number) for number in range(3)]
    path = tmp_path / "people.gallery"
    result = gallery("enroll", "Ada", photos[0], "--plain", *MODEL)
    assert result.out == f"Enrolled Ada (1 image) in {path}.\n"
    result = gallery("enroll", "Ada", *photos, "--days", 7, *MODEL)
    assert result.out == f"Added 2 images to Ada in {path}. 1 photograph had been enrolled before.\n"
    result = gallery("enroll", "Ada", photos[0], *MODEL)
    assert result.out == f"Nothing new for Ada in {path}. 1 photograph had been enrolled before.\n"
    gallery("enroll", "Grace", photo(tmp_path / "grace.png", 1), *MODEL)
    header, ada, grace = (line.split() for line in gallery("list").out.splitlines())
    assert header == ["name", "images", "enrolled", "expires"]
    assert ada[:2] == ["Ada", "3"]
    assert ada[3] != "never"
    assert grace[3] == "never"


def test_another_model_is_refused_until_the_gallery_is_rebuilt(
    gallery, three: Told, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("edgefr.recognition.verifier.Verifier.digest", lambda _self: "ab" * 32)
    monkeypatch.setattr("edgefr.runtimes.fake.LEVEL", 40)
    seen = photo(tmp_path / "seen.png", 0, 9)
    assert "expected the model" in gallery("identify", seen, *MODEL).sentence
    assert "rebuild --model" in gallery("enroll", "new", seen, *MODEL).sentence
    assert gallery("rebuild", *MODEL, "--json").json["model_sha256"] == "ab" * 32
    assert gallery("identify", seen, *MODEL).code == 0


def test_a_gallery_too_large_for_the_calibration_names_the_fmr_to_calibrate(
    gallery, three: Told, tmp_path: Path
) -> None:
    seen = photo(tmp_path / "seen.png", 0, 9)
    refused = gallery("identify", seen, *MODEL, "--fpir", "1e-6").sentence
    assert "edgefr calibrate fake FACES --fmr 1e-07" in refused
    assert gallery("identify", seen, *MODEL, "--fpir", "1e-6", "--threshold", "0.5").code == 0


def test_invalid_arguments_are_refused(gallery, tmp_path: Path) -> None:
    seen = photo(tmp_path / "seen.png", 0)
    assert "Create one with `edgefr gallery enroll" in gallery("list").sentence
    assert "neither or both" in gallery("enroll", "ada", *MODEL).sentence
    assert "neither or both" in gallery("enroll", "ada", seen, "--folder", tmp_path, *MODEL).sentence
    for days in ("nan", "inf", "3e6", "0", "-1"):
        expected = "expected more than 0 and at most 36,525 days until a person expires"
        assert expected in gallery("enroll", "ada", seen, *MODEL, "--plain", "--days", days).sentence
    assert not (tmp_path / "people.gallery").exists()
    assert "found both" in gallery("enroll", "ada", seen, "--plain", "--key-file", tmp_path / "k", *MODEL).sentence
