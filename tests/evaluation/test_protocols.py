"""Each protocol compares what it says: clean with clean, degraded with degraded, and mixed in that order."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from edgefr.data.degradations import PROTOCOLS, degrade
from edgefr.errors import EdgefrError
from edgefr.evaluation.lfw_protocol import lfw_trials
from edgefr.evaluation.model_set import ModelSet
from edgefr.evaluation.protocols import CropReader, FaceCrop, Trial, aligned_crops, degraded_crops, select_conditions
from edgefr.evaluation.trials import all_against_all
from edgefr.types import Image
from tests.evaluation.planted import collection, name, named_pairs, planted, projection, write_zip

PEOPLE = 12
PICTURES = collection(PEOPLE, 2)
PAIRS = named_pairs(PEOPLE)


def cosine(first: Image, second: Image) -> float:
    """Of the judged model, from scratch."""
    a, b = (projection(picture[None], 2, 64)[0] for picture in (first, second))
    return float(a @ b / np.linalg.norm(a) / np.linalg.norm(b))


def trials_of(
    chosen: list[str], read=PICTURES.get, models: ModelSet | None = None, find: CropReader | None = None
) -> dict[str, Trial]:
    find = find or degraded_crops(read)
    found = lfw_trials("set", PAIRS, find, select_conditions(chosen), models or planted(), lambda _: None)
    return {trial.protocol: trial for trial in found}


def test_every_degradation_is_a_protocol_and_a_mixed_one() -> None:
    names = [condition.name for condition in select_conditions(["all"])]
    degraded = [protocol for protocol in PROTOCOLS if protocol != "clean"]
    assert names[0] == "clean"
    assert set(names[1:]) == {*degraded, *(f"mixed, {protocol}" for protocol in degraded)}
    assert [condition.name for condition in select_conditions(["degraded"])] == names[1:]
    assert [condition.name for condition in select_conditions(["mixed, JPEG 8", "clean", "clean"])] == [
        "clean",
        "mixed, JPEG 8",
    ]


def test_an_unknown_protocol_is_refused_with_the_known_ones() -> None:
    with pytest.raises(EdgefrError, match=r"'clean', .*'mixed, occlusion', found 'fog'"):
        select_conditions(["clean", "fog"])


@pytest.mark.parametrize("protocol", ["20x20 pixels", "blur + noise", "occlusion"])
def test_a_mixed_protocol_has_the_first_picture_clean_and_the_second_degraded(protocol: str) -> None:
    trials = trials_of(["clean", protocol, f"mixed, {protocol}"])
    for index, pair in enumerate(PAIRS):
        clean = PICTURES[pair.first], PICTURES[pair.second]
        poor = degrade(clean[0], protocol, pair.first), degrade(clean[1], protocol, pair.second)
        wanted = {"clean": clean, protocol: poor, f"mixed, {protocol}": (clean[0], poor[1])}
        for told, faces in wanted.items():
            assert trials[told].comparisons["fused"].similarity[index] == pytest.approx(cosine(*faces), abs=1e-5)
            shown = trials[told].thumbnails(index)
            assert [look[0] for look in shown] == [pair.first, pair.second]
            assert all(np.array_equal(look[1], picture) for look, picture in zip(shown, faces, strict=True))
    assert [trial.degraded for trial in trials.values()] == [False, True, True]


def test_each_picture_is_read_once_and_embedded_once_in_each_quality() -> None:
    counted: list[int] = []
    read: list[str] = []

    def find(key: str) -> Image:
        read.append(key)
        return PICTURES[key]

    trials_of(["all"], find, planted(counted))
    assert sorted(read) == sorted(PICTURES)
    assert sum(counted) == len(PICTURES) * len(PROTOCOLS)


def test_all_systems_make_the_same_comparisons_and_the_baselines_are_among_them() -> None:
    trial = trials_of(["clean"])["clean"]
    assert list(trial.comparisons) == ["fused", "backbone A", "backbone B", "sum", "concatenation"]
    a, b, both = (trial.comparisons[key].similarity for key in ("backbone A", "backbone B", "concatenation"))
    np.testing.assert_allclose(both, (a + b) / 2, atol=1e-6)
    for comparisons in trial.comparisons.values():
        assert comparisons.same.tolist() == [pair.same for pair in PAIRS]
        assert (comparisons.people[:, 0] == comparisons.people[:, 1]).tolist() == [pair.same for pair in PAIRS]


def test_a_face_that_is_not_found_is_a_rejection_by_every_system() -> None:
    lost = name(4, 1)
    trials = trials_of(["all"], lambda key: None if key == lost else PICTURES[key])
    whose = np.array([lost in (pair.first, pair.second) for pair in PAIRS])
    for trial in trials.values():
        assert (trial.pictures, trial.failures) == (len(PICTURES), 1)
        for system, comparisons in trial.comparisons.items():
            assert (comparisons.similarity[whose] == -1).all()
            assert (comparisons.similarity[~whose] > -1).all()
            # A genuine pair is lost, impostors are turned away, whatever the threshold.
            assert (trial.accuracy[system].right[whose] == ~comparisons.same[whose]).all()


def test_a_face_not_found_in_one_rendering_is_missing_in_its_protocols_only() -> None:
    """Of the second pictures' faces one is lost, of the poor renderings all of another protocol's."""
    lost = PAIRS[0].second

    def find(key: str, wanted: Sequence[str]) -> list[FaceCrop | None]:
        sights = degraded_crops(PICTURES.get, {"detector": lambda face: float(face.std())})(key, wanted)
        gone = {"JPEG 8"} if key == lost else set()
        return [None if name in gone | {"occlusion"} else sight for name, sight in zip(wanted, sights, strict=True)]

    trials = trials_of(["all"], find=find)
    failures = {name: trial.failures for name, trial in trials.items()}
    assert (failures["clean"], failures["JPEG 8"], failures["mixed, JPEG 8"]) == (0, 1, 1)
    assert (failures["occlusion"], failures["mixed, occlusion"]) == (2 * PEOPLE, PEOPLE)
    assert (trials["occlusion"].comparisons["fused"].similarity == -1).all()
    assert np.isnan(trials["JPEG 8"].quality["detector"][0])
    assert np.isfinite(trials["clean"].quality["detector"]).all()


def test_pictures_without_any_face_are_refused() -> None:
    with pytest.raises(EdgefrError, match="a face in at least one of 24 pictures, found none"):
        trials_of(["clean"], lambda _: None)


def test_the_quality_of_a_comparison_is_that_of_its_poorer_rendering() -> None:
    brightness = {"brightness": lambda picture: float(picture.mean())}
    trial = trials_of(["mixed, JPEG 8"], find=degraded_crops(PICTURES.get, brightness))["mixed, JPEG 8"]
    assert set(trial.quality) == {"norm", "certainty", "brightness"}
    pair = PAIRS[5]
    seen = PICTURES[pair.first], degrade(PICTURES[pair.second], "JPEG 8", pair.second)
    assert trial.quality["brightness"][5] == pytest.approx(min(picture.mean() for picture in seen), rel=1e-6)
    norms = [np.linalg.norm(projection(picture[None], 2, 64)) for picture in seen]
    assert trial.quality["norm"][5] == pytest.approx(min(norms), rel=1e-5)


def test_pictures_that_are_not_aligned_are_refused(tmp_path: Path) -> None:
    from edgefr.data.collections import open_faces

    folder = open_faces(write_zip(tmp_path / "x.zip", {"A/a.png": np.zeros((90, 80, 3), np.uint8)}))
    with pytest.raises(
        EdgefrError,
        match=r"A/a\.png of 80x90\. Give a detector for photographs",
    ):
        aligned_crops(folder)("A/a.png", ["clean"])


def test_all_against_all_is_every_pair_once() -> None:
    names = sorted(collection(5, 3))
    pictures = collection(5, 3)
    lost = names[7]
    find = {key: picture for key, picture in pictures.items() if key != lost}.get
    (trial,) = all_against_all(
        "set", names, degraded_crops(find), select_conditions(["clean"]), planted(), lambda _: None
    )
    comparisons = trial.comparisons["fused"]
    index = 0
    for first in range(len(names)):
        for second in range(first + 1, len(names)):
            both = names[first], names[second]
            wanted = -1 if lost in both else cosine(pictures[both[0]], pictures[both[1]])
            assert comparisons.similarity[index] == pytest.approx(wanted, abs=1e-5)
            assert comparisons.same[index] == (both[0].split("/")[0] == both[1].split("/")[0])
            if lost not in both:
                assert tuple(look[0] for look in trial.thumbnails(index)) == both
            index += 1
    assert index == len(comparisons.same) == 105
    assert trial.failures == 1


def test_all_against_all_also_identifies_and_marks_too_few_searches() -> None:
    pictures = collection(6, 3, noise=5)
    (trial,) = all_against_all(
        "set", sorted(pictures), degraded_crops(pictures.get), select_conditions(["clean"]), planted(), lambda _: None
    )
    assert trial.others["fused"]["rank 1"].value == 1
    assert trial.others["fused"]["FNIR at FPIR 0.01"] is None


def test_all_against_all_has_no_mixed_protocol() -> None:
    pictures = collection(4, 2)
    found = all_against_all(
        "set", sorted(pictures), degraded_crops(pictures.get), select_conditions(["all"]), planted(), lambda _: None
    )
    assert [trial.protocol for trial in found] == list(PROTOCOLS)
    with pytest.raises(EdgefrError, match="expected --pairs for a mixed protocol"):
        all_against_all(
            "set", [], degraded_crops(pictures.get), select_conditions(["mixed, JPEG 8"]), planted(), lambda _: None
        )


def test_more_pictures_than_memory_allows_are_refused_before_any_is_read() -> None:
    names = [name(person, 1) for person in range(20_000)]
    with pytest.raises(EdgefrError, match=r"at most 10,000 pictures .* in 1 protocols, found 20,000\. .*--limit 10000"):
        all_against_all(
            "set", names, lambda _: pytest.fail("read"), select_conditions(["clean"]), planted(), lambda _: None
        )


def never(_name: str, _wanted: Sequence[str]) -> list[FaceCrop | None]:
    pytest.fail("a picture was read")


def test_pairs_of_one_fold_are_refused_before_any_picture_is_read() -> None:
    one = [replace(pair, fold=1) for pair in PAIRS]
    with pytest.raises(EdgefrError, match="at least two folds, found 1"):
        lfw_trials("set", one, never, select_conditions(["clean"]), planted(), lambda _: None)


@pytest.mark.parametrize("names", [[], [name(0, 1), name(0, 2)], [name(person, 1) for person in range(5)]])
def test_pictures_of_one_person_or_one_of_each_are_refused_before_any_is_read(names: list[str]) -> None:
    with pytest.raises(EdgefrError, match="several people, and several pictures of one of them"):
        all_against_all("set", names, never, select_conditions(["clean"]), planted(), lambda _: None)
