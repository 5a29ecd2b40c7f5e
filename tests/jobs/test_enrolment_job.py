"""People are enrolled from shards like from photographs, once, and with the same model only."""

from __future__ import annotations

from pathlib import Path

import pytest

from edgefr.gallery.crypto.key_wrapping import NoSecret
from edgefr.gallery.file_gallery import FileGallery
from edgefr.gallery.model_binding import ModelBinding
from edgefr.jobs.embedding_shards import write_shard
from edgefr.jobs.enrolment_job import enrol_shards
from edgefr.jobs.job_description import Job, begin_or_resume
from edgefr.jobs.photograph_list import list_paths
from edgefr.jobs.shard_worker import embed_rows
from tests.gallery.people import NOBODY, SMALL, TURNED, TWO, photo, verifier

GALLERY = ("gallery", "enroll")


@pytest.fixture
def people(tmp_path: Path) -> Path:
    """Three people with two photographs each, one of them in two folders, and photographs that are not good enough."""
    folder = tmp_path / "people"
    for person, name in enumerate(("ada", "grace", "emmy")):
        for picture in range(2):
            photo(folder / name / f"{picture}.png", person, picture)
    photo(folder / "more/ada/9.png", 0, 9)
    for kind in (NOBODY, TWO, TURNED, SMALL):
        photo(folder / "grace" / f"poor{kind}.png", 1, kind=kind)
    photo(folder / "grace/blurred.png", 1, blur=3)
    photo(folder / "nobody/1.png", 7, kind=NOBODY)
    return folder


def shards_of(folder: Path, output: Path, size: int = 4) -> Path:
    """The shards of a job with the stub detector."""
    by = verifier()
    paths = list_paths([str(folder)], None)
    job = Job.of(paths, size, "largest", ModelBinding.of(by))
    begin_or_resume(output, job, paths)
    names = [path.decode() for path in paths.to_pylist()]
    for number in range(job.shards):
        write_shard(output, job, number, embed_rows(by, names[number * size : (number + 1) * size], "largest"))
    return output


def state(gallery: FileGallery) -> dict[str, list[str]]:
    return {name: [one.source for one in gallery.samples(name)] for name in gallery.names()}


def test_shards_enrol_the_same_people_as_photographs(people: Path, tmp_path: Path) -> None:
    shards, by = shards_of(people, tmp_path / "shards"), verifier()
    gallery = FileGallery.create(tmp_path / "people.gallery", NoSecret(), ModelBinding.of(by))
    seen: list[int] = []
    done = list(enrol_shards(gallery, by, shards, None, seen.append))
    assert state(gallery) == {
        "ada": ["0.png", "1.png", "9.png"],
        "emmy": ["0.png", "1.png"],
        "grace": ["0.png", "1.png"],
    }
    assert sum(seen) == 13
    reasons = " ".join(refusal.reason for entry in done for refusal in entry.refused)
    assert sum(len(entry.refused) for entry in done) == 6
    for words in ("two of similar size", "pixels between the eyes", "turned away", "blurred", "expected a face in"):
        assert words in reasons


def test_the_same_call_again_adds_only_what_is_missing(people: Path, tmp_path: Path) -> None:
    shards, by = shards_of(people, tmp_path / "shards"), verifier()
    gallery = FileGallery.create(tmp_path / "people.gallery", NoSecret(), ModelBinding.of(by))
    first = enrol_shards(gallery, by, shards, None, lambda _count: None)
    next(first)  # as if it was killed here
    list(enrol_shards(gallery, by, shards, None, lambda _count: None))
    whole = state(gallery)
    assert {name: len(images) for name, images in whole.items()} == {"ada": 3, "emmy": 2, "grace": 2}
    again = list(enrol_shards(gallery, by, shards, None, lambda _count: None))
    assert state(gallery) == whole
    assert (sum(entry.images for entry in again), sum(entry.known for entry in again)) == (0, 7)
    assert gallery.person("ada").expires is None
    list(enrol_shards(gallery, by, shards, 100.0, lambda _count: None))
    assert gallery.person("ada").expires is not None
    assert state(gallery) == whole


def test_a_person_under_two_names_in_one_change_is_enrolled_only_by_force(people: Path, tmp_path: Path) -> None:
    photo(people / "countess/1.png", 0, 5)
    by, shards = verifier(), shards_of(people, tmp_path / "shards")
    gallery = FileGallery.create(tmp_path / "people.gallery", NoSecret(), ModelBinding.of(by))
    done = list(enrol_shards(gallery, by, shards, None, lambda _count: None))
    assert gallery.names() == ["ada", "emmy", "grace"]
    (refusal,) = [image for entry in done if entry.name == "countess" for image in entry.refused]
    assert refusal.path == str(people / "countess/1.png")
    assert "looks like ada, who is enrolled" in refusal.reason
    done = list(enrol_shards(gallery, by, shards, None, lambda _count: None, force=True))
    assert gallery.names() == ["ada", "countess", "emmy", "grace"]
    doubts = [doubt for entry in done for doubt in entry.warnings()]
    assert any(doubt.startswith("countess looks like ada") for doubt in doubts)


def test_a_stranger_in_a_folder_is_not_enrolled_from_shards(people: Path, tmp_path: Path) -> None:
    photo(people / "emmy/stranger.png", 50)
    by, shards = verifier(), shards_of(people, tmp_path / "shards")
    gallery = FileGallery.create(tmp_path / "people.gallery", NoSecret(), ModelBinding.of(by))
    done = list(enrol_shards(gallery, by, shards, None, lambda _count: None))
    assert state(gallery)["emmy"] == ["0.png", "1.png"]
    assert any("stranger.png does not look like the other images of emmy" in i.reason for e in done for i in e.refused)


def test_photographs_in_a_folder_with_an_invalid_name_are_left_out(tmp_path: Path) -> None:
    photo(tmp_path / "people" / "\x07bell" / "1.png", 0)
    photo(tmp_path / "people/ada/1.png", 1)
    by = verifier()
    gallery = FileGallery.create(tmp_path / "people.gallery", NoSecret(), ModelBinding.of(by))
    done = list(enrol_shards(gallery, by, shards_of(tmp_path / "people", tmp_path / "shards"), None, lambda _n: None))
    assert gallery.names() == ["ada"]
    (refusal,) = [refusal for entry in done for refusal in entry.refused]
    assert "printable characters" in refusal.reason


def test_enroll_from_shards_prints_totals_and_refuses_other_models(
    people: Path, tmp_path: Path, edgefr, monkeypatch: pytest.MonkeyPatch
) -> None:
    from tests.gallery.people import StubDetector

    monkeypatch.setattr("edgefr.recognition.verifier.open_detector", lambda *_: StubDetector())
    monkeypatch.setenv("EDGEFR_GALLERY", str(tmp_path / "people.gallery"))
    shards = shards_of(people, tmp_path / "shards")
    result = edgefr(*GALLERY, "--from", shards, "--plain", "-m", "fake", "--json")
    assert result.code == 0, result.err
    sums = {key: result.json[key] for key in ("people", "new", "images", "known", "refused")}
    assert sums == {"people": 3, "new": 3, "images": 7, "known": 0, "refused": 6}
    assert result.err.count("left out: ") == 6
    assert "7 photographs had been enrolled before" in edgefr(*GALLERY, "--from", shards, "-m", "fake").out
    assert "expected the model of" in edgefr(*GALLERY, "--from", shards, "-m", "mini").sentence
    assert "--from without names" in edgefr(*GALLERY, "--from", shards, "--keep-crops", "-m", "fake").sentence
    assert "found no job.json" in edgefr(*GALLERY, "--from", people, "-m", "fake").sentence
    (shards / "part-00001.parquet").unlink()
    assert "found no part 00001" in edgefr(*GALLERY, "--from", shards, "-m", "fake").sentence
