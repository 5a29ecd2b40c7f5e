"""Which photographs may be enrolled, who is warned of, and who is known."""

from __future__ import annotations

from pathlib import Path

import pytest

from edgefr.errors import EdgefrError
from edgefr.gallery.crypto.key_wrapping import NoSecret
from edgefr.gallery.enrolment import Enrolment, enrol
from edgefr.gallery.file_gallery import FileGallery
from edgefr.gallery.model_binding import ModelBinding
from edgefr.gallery.threshold import fmr_for_fpir, fpir_for_fmr, gallery_threshold
from edgefr.manifest import QualityLimit
from edgefr.recognition.verifier import Verifier
from tests.gallery.people import NOBODY, SMALL, TURNED, TWO, new_gallery, photo, thresholds, verifier


@pytest.fixture
def gallery(tmp_path: Path):
    opened, _ = new_gallery(tmp_path, NoSecret(), ModelBinding.of(verifier()))
    with opened:
        yield opened


def enrolled(
    gallery: FileGallery, name: str, *photos: Path, by: Verifier | None = None, crops: bool = False
) -> Enrolment:
    return enrol(gallery, by or verifier(), name, photos, crops, None, lambda _count: None)


@pytest.mark.parametrize(
    ("kind", "blur", "reason"),
    [
        (NOBODY, 0, "found no face"),
        (TWO, 0, "found two faces"),
        (TURNED, 0, "found a face turned away"),
        (SMALL, 0, "found a face too small (12 pixels between the eyes, 20 needed)"),
        (0, 3, "found a blurred face"),
    ],
)
def test_a_poor_photograph_is_refused_with_the_reason(
    gallery: FileGallery, tmp_path: Path, kind: int, blur: float, reason: str
) -> None:
    poor, good = photo(tmp_path / "poor.png", 1, 0, kind, blur), photo(tmp_path / "good.png", 1, 1)
    found = enrolled(gallery, "Ada", poor, good)
    (refusal,) = found.refused
    assert refusal.path == poor
    assert reason in refusal.reason
    assert (found.images, len(gallery.samples("Ada"))) == (1, 1)
    assert enrolled(gallery, "Grace", poor).images == 0
    assert gallery.names() == ["Ada"]


def test_a_face_that_the_model_is_unsure_of_is_refused(gallery: FileGallery, tmp_path: Path) -> None:
    strict = verifier(quality=QualityLimit("certainty", 0.0, "a test"))
    (refusal,) = enrolled(gallery, "Ada", photo(tmp_path / "a.png", 1), by=strict).refused
    assert "too poor to be judged: how sure the model is" in refusal.reason


def test_the_same_face_under_another_name_is_warned_of(gallery: FileGallery, tmp_path: Path) -> None:
    enrolled(gallery, "Ada", photo(tmp_path / "a.png", 1, 0))
    again = enrolled(gallery, "Grace", photo(tmp_path / "b.png", 1, 1))
    assert [hit.name for hit in again.similar or ()] == ["Ada"]
    assert "Grace looks like Ada" in again.warnings()[0]
    other = enrolled(gallery, "Emmy", photo(tmp_path / "c.png", 2))
    assert (other.similar, other.warnings()) == ((), [])
    more = enrolled(gallery, "Emmy", photo(tmp_path / "d.png", 2, 1))
    assert more.warnings() == []  # oneself is no duplicate


def test_another_person_among_the_images_is_reported(gallery: FileGallery, tmp_path: Path) -> None:
    photos = [photo(tmp_path / f"{n}.png", 1, n) for n in range(3)]
    found = enrolled(gallery, "Ada", *photos, photo(tmp_path / "stranger.png", 2))
    assert found.unlike == ("stranger.png",)
    assert enrolled(gallery, "Ada", photo(tmp_path / "later.png", 3)).unlike == ("later.png",)


def test_without_a_threshold_nobody_is_said_to_differ(gallery: FileGallery, tmp_path: Path) -> None:
    found = enrolled(gallery, "Ada", photo(tmp_path / "a.png", 1), photo(tmp_path / "b.png", 2), by=verifier(()))
    assert (found.unlike, found.similar) == ((), None)


def test_crops_are_kept_when_asked_for(gallery: FileGallery, tmp_path: Path) -> None:
    enrolled(gallery, "Ada", photo(tmp_path / "a.png", 1))
    enrolled(gallery, "Ada", photo(tmp_path / "b.png", 1, 1), crops=True)
    shapes = [None if one.crop is None else one.crop.shape for one in gallery.samples("Ada")]
    assert shapes == [None, (112, 112, 3)]


def test_the_threshold_grows_with_the_gallery() -> None:
    measured = verifier(thresholds((1e-2, 0.3), (1e-3, 0.4), (1e-4, 0.5), (1e-5, 0.6)))
    values = {people: gallery_threshold(measured, people, fpir=0.05).value for people in (1, 5, 40, 400, 4000)}
    assert values == {1: 0.3, 5: 0.3, 40: 0.4, 400: 0.5, 4000: 0.6}
    assert gallery_threshold(measured, 40, fpir=0.05).fpir == pytest.approx(1 - (1 - 1e-3) ** 40)


def test_strangers_reach_it_no_more_often_than_asked() -> None:
    """The formula itself: as many independent comparisons as there are people."""
    for people in (1, 7, 10_000, 1_000_000):
        for fpir in (1e-6, 0.01, 0.5):
            assert fpir_for_fmr(fmr_for_fpir(fpir, people), people) == pytest.approx(fpir, rel=1e-6)


def test_a_manifest_that_cannot_support_the_gallery_is_refused_with_the_way_out() -> None:
    with pytest.raises(
        EdgefrError, match=r"needs an FMR of 1e-05 or less, and .* is calibrated down to 0.001\. Run .*--fmr 1e-05`"
    ):
        gallery_threshold(verifier(), 1000, fpir=0.01)
    with pytest.raises(EdgefrError, match="has no calibrated threshold"):
        gallery_threshold(verifier(()), 1)
    assert gallery_threshold(verifier(()), 1000, given=0.7).value == 0.7


def test_the_same_photographs_again_are_told_of_and_weigh_once(gallery: FileGallery, tmp_path: Path) -> None:
    photos = [photo(tmp_path / f"{n}.png", 1, n) for n in range(2)]
    assert (enrolled(gallery, "Ada", *photos).images, enrolled(gallery, "Ada", *photos).images) == (2, 0)
    more = enrolled(gallery, "Ada", photos[0], photo(tmp_path / "2.png", 1, 2))
    assert (more.images, more.known) == (1, 1)
    assert [one.source for one in gallery.samples("Ada")] == ["0.png", "1.png", "2.png"]
    assert enrolled(gallery, "Grace", photos[0], photos[0]).known == 1


def test_the_same_photographs_again_let_a_person_stay_longer(gallery: FileGallery, tmp_path: Path) -> None:
    seen = photo(tmp_path / "a.png", 1)
    enrolled(gallery, "Ada", seen)
    enrol(gallery, verifier(), "Ada", [seen], False, 3600.0, lambda _count: None)
    assert gallery.person("Ada").expires is not None
    assert len(gallery.samples("Ada")) == 1
