"""Checks and warnings of an enrolment, and the decision threshold of a gallery."""

from __future__ import annotations

import math
import re
from pathlib import Path

import numpy as np
import pytest

from edgefr.choices import FacePolicy
from edgefr.detection.base import Face
from edgefr.errors import EdgefrError, InvalidArgumentError, SeveralFacesError
from edgefr.gallery.crypto.key_wrapping import NoSecret
from edgefr.gallery.enrolment import Enrolment, enrol, enrol_samples
from edgefr.gallery.enrolment_checks import single_face
from edgefr.gallery.file_gallery import FileGallery
from edgefr.gallery.model_binding import ModelBinding
from edgefr.gallery.records import FaceSample
from edgefr.gallery.threshold import fmr_for_fpir, fpir_for_fmr, gallery_threshold
from edgefr.manifest import QualityLimit
from edgefr.recognition.verifier import Verifier
from edgefr.types import TEMPLATE
from tests.gallery.people import (
    NOBODY,
    SMALL,
    TURNED,
    TWO,
    new_gallery,
    photo,
    thresholds,
    verifier,
)


@pytest.fixture
def gallery(tmp_path: Path):
    opened, _ = new_gallery(tmp_path, NoSecret(), ModelBinding.of(verifier()))
    with opened:
        yield opened


def enrolled(
    gallery: FileGallery,
    name: str,
    *photos: Path,
    by: Verifier | None = None,
    crops: bool = False,
    force: bool = False,
    policy: FacePolicy | None = None,
) -> Enrolment:
    return enrol(gallery, by or verifier(), name, photos, crops, None, lambda _count: None, force, policy)


@pytest.mark.parametrize(
    ("kind", "blur", "reason"),
    [
        (NOBODY, 0, "expected one face in"),
        (TWO, 0, "found two of similar size"),
        (TURNED, 0, "found one turned away"),
        (SMALL, 0, ", found 12. Move closer"),
        (0, 3, "found a blurred one"),
    ],
)
def test_a_poor_photograph_is_refused_with_a_reason(
    gallery: FileGallery, tmp_path: Path, kind: int, blur: float, reason: str
) -> None:
    poor, good = photo(tmp_path / "poor.png", 1, 0, kind, blur), photo(tmp_path / "good.png", 1, 1)
    found = enrolled(gallery, "Ada", poor, good)
    (refusal,) = found.refused
    assert refusal.path == str(poor)
    assert reason in refusal.reason
    assert (found.images, len(gallery.samples("Ada"))) == (1, 1)
    assert enrolled(gallery, "Grace", poor).images == 0
    assert gallery.names() == ["Ada"]


def test_a_face_below_the_quality_limit_is_refused(gallery: FileGallery, tmp_path: Path) -> None:
    strict = verifier(quality=QualityLimit("certainty", 0.0, "a test"))
    (refusal,) = enrolled(gallery, "Ada", photo(tmp_path / "a.png", 1), by=strict).refused
    assert "is of poor quality: " in refusal.reason


def test_the_same_face_under_another_name_is_enrolled_only_by_force(gallery: FileGallery, tmp_path: Path) -> None:
    enrolled(gallery, "Ada", photo(tmp_path / "a.png", 1, 0))
    second = photo(tmp_path / "b.png", 1, 1)
    again = enrolled(gallery, "Grace", second)
    assert (again.images, again.warnings(), gallery.names()) == (0, [], ["Ada"])
    assert [hit.name for hit in again.similar or ()] == ["Ada"]
    (refusal,) = again.refused
    assert refusal.path == str(second)
    assert re.search(r"b\.png looks like Ada, who is enrolled \(similarity 0\.9\d\d\)\. .*--force\.", refusal.reason)
    forced = enrolled(gallery, "Grace", second, force=True)
    assert (forced.images, forced.refused, gallery.names()) == (1, (), ["Ada", "Grace"])
    assert "Grace looks like Ada" in forced.warnings()[0]
    other = enrolled(gallery, "Emmy", photo(tmp_path / "c.png", 2))
    assert (other.similar, other.refused, other.warnings()) == ((), (), [])
    more = enrolled(gallery, "Emmy", photo(tmp_path / "d.png", 2, 1))
    assert (more.images, more.warnings()) == (1, [])  # the person is not similar to itself


def test_another_person_among_the_images_is_left_out(gallery: FileGallery, tmp_path: Path) -> None:
    enrolled(gallery, "Grace", photo(tmp_path / "g.png", 2))
    photos = [photo(tmp_path / f"{n}.png", 1, n) for n in range(3)]
    found = enrolled(gallery, "Ada", *photos, photo(tmp_path / "stranger.png", 2, 1))
    assert (found.images, found.unlike, found.warnings()) == (3, (), [])
    (refusal,) = found.refused
    assert refusal.path == str(tmp_path / "stranger.png")
    assert re.search(
        r"stranger\.png does not look like the other images of Ada \(similarity -?0\.\d{3}, below 0\.500\), but like "
        r"Grace \(similarity 0\.9\d\d\)\. Check the photograph, or enrol it with --force\.$",
        refusal.reason,
    )
    later = photo(tmp_path / "later.png", 3)
    assert [image.path for image in enrolled(gallery, "Ada", later).refused] == [str(later)]
    assert [one.source for one in gallery.samples("Ada")] == ["0.png", "1.png", "2.png"]
    forced = enrolled(gallery, "Ada", later, force=True)
    assert (forced.images, forced.unlike, forced.refused) == (1, ("later.png",), ())
    assert "later.png looks unlike the other images of Ada" in forced.warnings()[0]


def test_nobody_is_enrolled_if_no_majority_of_the_images_agrees(gallery: FileGallery, tmp_path: Path) -> None:
    photos = [photo(tmp_path / f"{person}{n}.png", person, n) for person in (1, 2) for n in range(2)]
    for some in (photos[::2], photos):
        found = enrolled(gallery, "Ada", *some)
        assert (found.images, len(found.refused), gallery.names()) == (0, len(some), [])
    assert enrolled(gallery, "Ada", *photos[:3]).images == 2


def test_an_image_like_another_person_is_accepted_if_it_is_more_like_its_own(gallery: FileGallery) -> None:
    """Both images reach the limits for both people, who look alike."""
    by = verifier(thresholds((1e-3, 0.3), (1e-5, 0.5)))
    for name, angle in (("Grace", 60), ("Ada", 0)):
        gallery.enrol(name, [turned(angle, f"{name}.jpg")])
    found = enrol_samples(gallery, by, "Ada", [turned(40, "wrong.jpg"), turned(20, "right.jpg")], None)
    assert [image.path for image in found.refused] == ["wrong.jpg"]
    assert "looks like Grace" in found.refused[0].reason
    assert [one.source for one in gallery.samples("Ada")] == ["Ada.jpg", "right.jpg"]


def turned(degrees: float, source: str) -> FaceSample:
    """An image whose embedding has this angle to the first axis."""
    vector = np.zeros(verifier().recogniser.embedding_dim, np.float32)
    vector[:2] = math.cos(math.radians(degrees)), math.sin(math.radians(degrees))
    return FaceSample(source, vector, 20.0, -1.0, 2.5)


WIDE = 112


def faces(*places: tuple[float, float, float]) -> list[Face]:
    """Faces by x and y of their centre and their width."""
    return [Face((x - w / 2, y - w / 2, w, w), TEMPLATE * w / WIDE, 0.9) for x, y, w in places]


def test_the_large_central_face_is_the_subject() -> None:
    shape = (300, 400)
    small, wide, same = (50, 60, 45), (60, 150, 70), (80, 150, 90)
    for others in ((), (small,), (small, wide)):
        subject, *rest = faces((210, 140, 100), *others)
        assert single_face("x", [*rest, subject], shape) is subject
    for crowd in (
        faces((210, 140, 100), same),  # as wide
        faces((60, 140, 100), (210, 140, 70)),  # at the side
        faces((240, 140, 100), (200, 190, 70)),  # another one is nearer to the centre
    ):
        with pytest.raises(SeveralFacesError, match="two of similar size"):
            single_face("x", crowd, shape)
    with pytest.raises(SeveralFacesError, match="two of similar size"):
        single_face("x", faces((210, 140, 100), wide))  # the place in a camera's picture says nothing


def test_a_face_of_a_group_can_be_selected(gallery: FileGallery, tmp_path: Path) -> None:
    group = photo(tmp_path / "group.png", 1, kind=TWO)
    assert "select one with --face" in enrolled(gallery, "Ada", group).refused[0].reason
    assert "found 2" in enrolled(gallery, "Ada", group, policy="only").refused[0].reason
    found = enrolled(gallery, "Ada", group, policy="largest")
    assert (found.images, found.notes) == (1, (f"{group} shows 2 faces, and the largest one was taken",))


def test_without_thresholds_there_are_no_warnings(gallery: FileGallery, tmp_path: Path) -> None:
    found = enrolled(gallery, "Ada", photo(tmp_path / "a.png", 1), photo(tmp_path / "b.png", 2), by=verifier(()))
    assert (found.images, found.unlike, found.similar) == (2, (), None)


def test_crops_are_kept_on_request(gallery: FileGallery, tmp_path: Path) -> None:
    enrolled(gallery, "Ada", photo(tmp_path / "a.png", 1))
    enrolled(gallery, "Ada", photo(tmp_path / "b.png", 1, 1), crops=True)
    shapes = [None if one.crop is None else one.crop.shape for one in gallery.samples("Ada")]
    assert shapes == [None, (112, 112, 3)]


def test_the_threshold_rises_with_the_size_of_the_gallery() -> None:
    measured = verifier(thresholds((1e-2, 0.3), (1e-3, 0.4), (1e-4, 0.5), (1e-5, 0.6)))
    values = {people: gallery_threshold(measured, people, fpir=0.05).value for people in (1, 5, 40, 400, 4000)}
    assert values[1] == values[5] == 0.3
    assert values == pytest.approx({1: 0.3, 5: 0.3, 40: 0.389, 400: 0.489, 4000: 0.589}, abs=1e-3)
    assert gallery_threshold(measured, 40, fpir=0.05).fpir == pytest.approx(0.05)
    assert gallery_threshold(measured, 1, fpir=0.05).fpir == pytest.approx(1e-2), "that of the loosest calibrated rate"


def test_one_more_person_hardly_moves_the_threshold() -> None:
    """From the 11th person on, the FMR that keeps an FPIR of 1 % is below the calibrated 1e-3."""
    measured = verifier(thresholds((1e-2, 0.299), (1e-3, 0.397), (1e-4, 0.474)))
    ten, eleven = (gallery_threshold(measured, people) for people in (10, 11))
    assert eleven.value - ten.value < 0.01
    assert eleven.source == "a test, interpolated between the calibrated false match rates 0.001 and 0.0001"
    assert eleven.fmr == pytest.approx(9.13e-4, rel=1e-3)


def test_a_rate_that_needs_just_the_strictest_calibrated_threshold_gets_it() -> None:
    measured = verifier(thresholds((1e-2, 0.3), (1e-3, 0.4)))
    for people in (1, 7, 1000):
        assert gallery_threshold(measured, people, fpir=fpir_for_fmr(1e-3, people)).value == pytest.approx(0.4)


@pytest.mark.parametrize("given", [float("nan"), 1.5])
def test_a_given_threshold_that_no_similarity_can_have_is_refused(given: float) -> None:
    with pytest.raises(InvalidArgumentError, match="expected a threshold between -1 and 1"):
        gallery_threshold(verifier(), 1, given=given)


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


def test_the_same_photographs_again_are_counted_and_weigh_once(gallery: FileGallery, tmp_path: Path) -> None:
    photos = [photo(tmp_path / f"{n}.png", 1, n) for n in range(2)]
    assert (enrolled(gallery, "Ada", *photos).images, enrolled(gallery, "Ada", *photos).images) == (2, 0)
    more = enrolled(gallery, "Ada", photos[0], photo(tmp_path / "2.png", 1, 2))
    assert (more.images, more.known) == (1, 1)
    assert [one.source for one in gallery.samples("Ada")] == ["0.png", "1.png", "2.png"]
    assert enrolled(gallery, "Grace", photos[0], photos[0]).known == 1


def test_the_same_photographs_again_can_extend_the_expiry(gallery: FileGallery, tmp_path: Path) -> None:
    seen = photo(tmp_path / "a.png", 1)
    enrolled(gallery, "Ada", seen)
    enrol(gallery, verifier(), "Ada", [seen], False, 3600.0, lambda _count: None)
    assert gallery.person("Ada").expires is not None
    assert len(gallery.samples("Ada")) == 1
