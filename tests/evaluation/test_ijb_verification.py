"""IJB's protocols: the figures of a slow, from-scratch rendering of upstream's scripts, from files to tables."""

from __future__ import annotations

import math
from pathlib import Path

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edgefr.data.ijb_files import Crops, Search, Subjects, TemplatePairs, read_crops
from edgefr.errors import EdgefrError
from edgefr.evaluation.ijb_identification import RANKS, search_templates
from edgefr.evaluation.ijb_templates import Templates, fuse_templates, norm_weights
from edgefr.evaluation.ijb_verification import verify_templates
from edgefr.evaluation.model_set import open_models, system_from_output
from edgefr.evaluation.protocols import Trial
from edgefr.evaluation.tables import describe_trial
from edgefr.evaluation.trials import ijb_trial
from edgefr.recognition.alignment import align
from edgefr.recognition.template_fusion import inverse_variance
from edgefr.runtimes.fake import FakeBackend
from edgefr.types import TEMPLATE


def unit(rows: np.ndarray) -> np.ndarray:
    return rows / np.linalg.norm(rows, axis=-1, keepdims=True)


def slow_templates(features: np.ndarray, template: np.ndarray, media: np.ndarray) -> dict[int, np.ndarray]:
    """As insightface's `image2template_feature`: a loop over templates and, inside, over media."""
    found = {}
    for number in sorted(set(template.tolist())):
        total = np.zeros(features.shape[1])
        for medium in sorted(set(media[template == number].tolist())):
            (rows,) = np.where((template == number) & (media == medium))
            total += np.mean([features[row] for row in rows], axis=0)
        found[number] = total / np.sqrt(np.sum(total**2))
    return found


def slow_nearest(score: np.ndarray, same: np.ndarray, target: float) -> tuple[float, float]:
    """FAR nearest the target among the corners of the curve, and the largest TAR there."""
    points = [(0, 0)]
    for threshold in sorted(set(score.tolist()), reverse=True):
        points.append((int(np.sum(score[~same] >= threshold)), int(np.sum(score[same] >= threshold))))
    corners = points[:2]  # the start, and the highest score, which scikit-learn always keeps
    for before, here, after in zip(points[1:], points[2:], points[3:], strict=False):
        if (here[0] - before[0], here[1] - before[1]) != (after[0] - here[0], after[1] - here[1]):
            corners.append(here)
    corners += points[-1:] if len(points) > 2 else []
    rates = [(far / np.sum(~same), tar / np.sum(same)) for far, tar in corners]
    return min(reversed(rates), key=lambda rate: abs(rate[0] - target))


def slow_search(similarity: np.ndarray, mate: list[int], fars: tuple[float, ...]) -> tuple[list[float], list[float]]:
    """As insightface's `ijb_1n.py`: the ranks, and the share of mates above the n-th highest of all others."""
    order = [sorted(range(similarity.shape[1]), key=lambda column: -row[column]) for row in similarity]
    ranks = [np.mean([own in best[:rank] for own, best in zip(mate, order, strict=True)]) for rank in RANKS]
    own = np.array([row[column] for row, column in zip(similarity, mate, strict=True)])
    others = sorted(-s for row, m in zip(similarity, mate, strict=True) for c, s in enumerate(row) if c != m)
    return ranks, [np.mean(own > -others[math.ceil(len(mate) * far) - 1]) for far in fars]


def slow_open_set(similarity: np.ndarray, mate: list[int | None], fpir: float) -> float:
    """One gallery; None: not enrolled. Every threshold is tried, the lowest that keeps to the FPIR decides."""
    enrolled = np.array([entry is not None for entry in mate])
    top = similarity.max(1)
    first = np.array([entry == int(row.argmax()) for entry, row in zip(mate, similarity, strict=True)])
    for threshold in np.unique(top):
        if np.mean(top[~enrolled] >= threshold) <= fpir:
            return float(np.mean((first & (top >= threshold))[enrolled]))
    return 0.0


def test_templates_are_sums_over_media_of_means_within() -> None:
    rng = np.random.default_rng(0)
    template, media = rng.integers(5, 30, 200), rng.integers(0, 4, 200)
    raw = (rng.normal(size=(200, 8)) * rng.uniform(0.1, 20, (200, 1))).astype(np.float32)
    score = rng.uniform(0.3, 1, 200).astype(np.float32)
    crops = Crops(None, np.zeros((200, 5, 2), np.float32), score, template, media)  # type: ignore[arg-type]
    system = system_from_output("x", raw)
    found = fuse_templates(system, crops, norm_weights(system, crops))
    wanted = slow_templates(raw * score[:, None], template, media)
    assert found.number.tolist() == list(wanted)
    assert found.embedding.dtype == np.float32
    assert np.allclose(found.embedding, list(wanted.values()), atol=1e-6)


def a_protocol(people: int, noise: float, seed: int = 0) -> tuple[Templates, TemplatePairs, Search]:
    """Two galleries of half the people each with one template, ten probes a person; every probe against 20 others."""
    rng = np.random.default_rng(seed)
    person = np.concatenate([np.arange(people), np.repeat(np.arange(people), 10)])
    number = rng.permutation(5 * len(person))[: len(person)]  # in no order
    centre, spread = rng.normal(size=(people, 16)), rng.normal(size=(len(person), 16))
    embedding = unit(centre[person] + noise * spread).astype(np.float32)
    order = np.argsort(number)
    probe = np.repeat(np.arange(people, len(person)), 20)
    gallery = np.tile(np.arange(20), len(person) - people) * 7 % people
    gallery[::20] = person[probe[::20]]
    pairs = TemplatePairs(number[gallery], number[probe], person[gallery] == person[probe])

    def subjects(chosen: np.ndarray) -> Subjects:
        rows = chosen[np.argsort(number[chosen])]
        return Subjects(number[rows], person[rows] + 1000)

    half = people // 2
    galleries = subjects(np.arange(half)), subjects(np.arange(half, people))
    return (
        Templates(number[order], embedding[order]),
        pairs,
        Search(galleries, subjects(np.arange(people, len(person)))),
    )


def test_verification_gives_upstreams_table_and_the_strict_one() -> None:
    found, pairs, _ = a_protocol(40, 0.8)
    result = verify_templates(found, pairs)
    place = {number: row for row, number in enumerate(found.number.tolist())}
    both = zip(pairs.first.tolist(), pairs.second.tolist(), strict=True)
    score = np.array([found.embedding[place[one]] @ found.embedding[place[two]] for one, two in both])
    assert np.allclose(result.comparisons.similarity, score, atol=1e-6)
    score, impostors = result.comparisons.similarity, int((~pairs.same).sum())
    assert [row.far for row in result.rows] == [1e-6, 1e-5, 1e-4, 1e-3, 1e-2, 1e-1]
    for row in result.rows:
        assert (row.nearest_far, row.nearest_tar) == pytest.approx(slow_nearest(score, pairs.same, row.far), abs=1e-12)
        assert row.needed == math.ceil(30 / row.far)
        assert (row.strict is None) == (impostors < row.needed)
        if row.strict:
            assert np.mean(score[~pairs.same] >= row.strict.threshold) <= row.far
            assert row.strict.tar.value == pytest.approx(np.mean(score[pairs.same] >= row.strict.threshold))
    assert sum(row.strict is not None for row in result.rows) == 2
    assert result.rows[0].nearest_tar < result.rows[-1].nearest_tar


def test_people_are_those_whom_matching_pairs_connect() -> None:
    """Template 3 is in no matching pair; 1, 5, 9 and 7 are joined in a chain, 2 and 8 directly."""
    number = np.array([1, 2, 3, 5, 7, 8, 9])
    embedding = unit(np.random.default_rng(0).normal(size=(7, 4))).astype(np.float32)
    first, second = np.array([9, 7, 5, 8, 3, 1]), np.array([5, 9, 1, 2, 1, 2])
    pairs = TemplatePairs(first, second, np.array([True, True, True, True, False, False]))
    people = verify_templates(Templates(number, embedding), pairs).comparisons.people
    assert len({*people[:3].ravel().tolist()}) == 1
    assert people[3, 0] == people[3, 1] != people[0, 0]
    assert people[4].tolist() == [2, people[0, 0]]
    assert people[5].tolist() == [people[0, 0], people[3, 0]]


@settings(max_examples=60, deadline=None)
@given(st.lists(st.tuples(st.sampled_from([0.1, 0.2, 0.3, 0.4, 0.5, 0.6]), st.booleans()), min_size=2, max_size=40))
def test_the_nearest_far_is_that_of_scikit_learns_curve(scored: list[tuple[float, bool]]) -> None:
    metrics = pytest.importorskip("sklearn.metrics")
    scored = [*scored, (0.3, True), (0.3, False)]
    # Embeddings in the plane, whose cosines with the first are the scores.
    score = np.float32([entry[0] for entry in scored])
    embedding = np.stack([np.append(1, score), np.append(0, np.sqrt(1 - score**2))], axis=1).astype(np.float32)
    same = np.array([entry[1] for entry in scored])
    pairs = TemplatePairs(np.zeros(len(same), np.int64), 1 + np.arange(len(same)), same)
    rows = verify_templates(Templates(np.arange(len(same) + 1), embedding), pairs).rows
    far, tar, _ = metrics.roc_curve(same, score)
    far, tar = np.flipud(far), np.flipud(tar)
    for row in rows:
        _, index = min(zip(np.abs(far - row.far), range(len(far)), strict=True))
        assert (row.nearest_far, row.nearest_tar) == pytest.approx((far[index], tar[index]), abs=1e-12)
        assert (row.nearest_far, row.nearest_tar) == pytest.approx(slow_nearest(score, same, row.far), abs=1e-12)


@pytest.mark.parametrize(("people", "noise", "supported"), [(20, 1.5, []), (80, 1.0, [0.1])])
def test_search_gives_upstreams_figures_and_those_of_open_sets(
    people: int, noise: float, supported: list[float]
) -> None:
    found, _, search = a_protocol(people, noise)
    result = search_templates(found, search)
    place = {number: row for row, number in enumerate(found.number.tolist())}
    gallery = found.embedding[[place[number] for side in search.galleries for number in side.template.tolist()]]
    probes = found.embedding[[place[number] for number in search.probes.template.tolist()]]
    similarity = (probes @ gallery.T).astype(float)
    enrolled = [subject for side in search.galleries for subject in side.subject.tolist()]
    mate = [enrolled.index(subject) for subject in search.probes.subject.tolist()]
    ranks, recalls = slow_search(similarity, mate, (0.01, 0.1))
    assert [rank.value for rank in result.rank] == pytest.approx(ranks)
    assert all(rank.ci95[0] < rank.value < rank.ci95[1] for rank in result.rank)
    assert [row.upstream for row in result.rows] == pytest.approx(recalls)
    assert ranks[0] < ranks[1] < ranks[2]
    assert recalls[0] < recalls[1]
    assert [row.fpir for row in result.rows if row.strict is not None] == supported
    half = people // 2
    for row in result.rows:
        assert row.needed == round(30 / row.fpir)
        if row.strict is not None:
            one = slow_open_set(similarity[:, :half], [m if m < half else None for m in mate], row.fpir)
            two = slow_open_set(similarity[:, half:], [m - half if m >= half else None for m in mate], row.fpir)
            assert row.strict == pytest.approx((one + two) / 2)
            assert 0 < row.strict < 1


def write_set(folder: Path) -> tuple[np.ndarray, np.ndarray]:
    """An IJBB of 12 people in their galleries and two probes each, two pictures a template in places, on disk.

    Gives landmarks (N, 5, 2) and scores (N,)."""
    rng = np.random.default_rng(3)
    (folder / "meta").mkdir(parents=True)
    (folder / "loose_crop").mkdir()
    media, points, landmarks, scores = [], [], [], []
    rows: dict[str, list[str]] = {"gallery_S1": [], "gallery_S2": [], "probe_mixed": []}
    for template in range(36):
        person = template % 12
        kind = "probe_mixed" if template >= 12 else "gallery_S1" if person < 6 else "gallery_S2"
        for picture in range(1 + template % 3):
            name = f"{len(media) + 1}.png"
            pattern = np.random.default_rng(person).integers(0, 200, (9, 9, 3)).astype(np.uint8)
            image = cv2.resize(pattern, (150, 140), interpolation=cv2.INTER_LINEAR)
            cv2.imwrite(str(folder / "loose_crop" / name), image + rng.integers(0, 50, image.shape).astype(np.uint8))
            landmarks.append(np.round(TEMPLATE * rng.uniform(1, 1.2) + rng.uniform(0, 10, (1, 2)), 3))
            scores.append(round(rng.uniform(0.3, 1), 3))
            media.append(f"{name} {template * 5} {picture // 2}")
            points.append(" ".join([name, *[f"{value:.3f}" for value in landmarks[-1].ravel()], f"{scores[-1]:.3f}"]))
            rows[kind].append(f"{template * 5},{person + 300},img/{name},1,2,,")
    pairs = [f"{g * 5} {p * 5} {int(g == p % 12)}" for g in range(12) for p in range(12, 36)]
    (folder / "meta/ijbb_face_tid_mid.txt").write_text("\n".join(media) + "\n")
    (folder / "meta/ijbb_name_5pts_score.txt").write_text("\n".join(points) + "\n")
    (folder / "meta/ijbb_template_pair_label.txt").write_text("\n".join(pairs) + "\n")
    for kind, lines in rows.items():
        (folder / f"meta/ijbb_1N_{kind}.csv").write_text(
            "\n".join(["TEMPLATE_ID,SUBJECT_ID,FILENAME,,,,", *lines]) + "\n"
        )
    return np.float32(landmarks), np.float32(scores)


def trial_of(path: Path, told: list[int] | None = None) -> Trial:
    advance = (told if told is not None else []).append
    return ijb_trial("ijb", path, read_crops(path), align, open_models(Path("fake")), advance)


def test_a_small_set_gives_what_upstreams_scripts_would(tmp_path: Path, monkeypatch) -> None:
    landmarks, scores = write_set(tmp_path)
    told: list[int] = []
    monkeypatch.setattr("edgefr.evaluation.trials.BATCH", 7)
    trial = trial_of(tmp_path, told)
    assert sum(told) == len(scores) == trial.pictures == 72

    features, uncertain = [], []
    for number, (points, score) in enumerate(zip(landmarks, scores, strict=True), 1):
        image = cv2.imread(str(tmp_path / f"loose_crop/{number}.png"))[..., ::-1]
        face = align(np.ascontiguousarray(image), points)
        both = FakeBackend().infer({"image": np.stack([face, np.fliplr(face)])})
        features.append((both["embedding"] * both["norm"][:, None]).sum(0) * score)
        uncertain.append(both["uncertainty"].mean())
    words = [line.split() for line in (tmp_path / "meta/ijbb_face_tid_mid.txt").read_text().splitlines()]
    template, media = (np.array([int(row[column]) for row in words]) for column in (1, 2))
    wanted = slow_templates(np.array(features), template, media)

    pairs = [line.split() for line in (tmp_path / "meta/ijbb_template_pair_label.txt").read_text().splitlines()]
    score = np.array([wanted[int(a)] @ wanted[int(b)] for a, b, _ in pairs])
    same = np.array([label == "1" for *_, label in pairs])
    assert np.allclose(trial.comparisons["fake"].similarity, score, atol=1e-5)
    for far in (1e-6, 1e-3, 0.01, 0.1):
        assert trial.others["fake"][f"TAR nearest to FAR {far:g}"] == pytest.approx(slow_nearest(score, same, far)[1])
    assert "people unknown: intervals over matching templates" in describe_trial(trial)

    # By certainty: each picture's direction weighs as the inverse of its variance, not as long as it is.
    weights = np.concatenate([inverse_variance(np.float32(uncertain)[template == t]) for t in np.unique(template)])
    weighed = slow_templates(unit(np.array(features)) * weights[:, None], template, media)
    score = np.array([weighed[int(a)] @ weighed[int(b)] for a, b, _ in pairs])
    by_certainty = trial.comparisons["fake, fused by certainty"].similarity
    assert np.allclose(by_certainty, score, atol=1e-5)
    assert not np.allclose(by_certainty, trial.comparisons["fake"].similarity, atol=1e-3)

    gallery = np.array([wanted[5 * person] for person in range(12)])
    probes = np.array([wanted[5 * probe] for probe in range(12, 36)])
    ranks, recalls = slow_search(probes @ gallery.T, [probe % 12 for probe in range(12, 36)], (0.01, 0.1))
    told = trial.others["fake"]
    assert [told[f"rank {rank}"].value for rank in RANKS] == pytest.approx(ranks)
    assert [told[f"TPIR at FPIR {fpir:g}, upstream's"] for fpir in (0.01, 0.1)] == pytest.approx(recalls)
    assert ranks[0] > 0.5


def test_without_the_search_files_only_verification_is_done(tmp_path: Path) -> None:
    write_set(tmp_path)
    for file in (tmp_path / "meta").glob("*.csv"):
        file.unlink()
    assert not [name for name in trial_of(tmp_path).others["fake"] if "rank" in name]


def test_points_that_fit_no_face_are_named_with_their_picture(tmp_path: Path) -> None:
    write_set(tmp_path)
    file = tmp_path / "meta/ijbb_name_5pts_score.txt"
    lines = file.read_text().splitlines()
    lines[4] = " ".join(["5.png", *["7.0"] * 10, "0.9"])
    file.write_text("\n".join(lines))
    with pytest.raises(EdgefrError, match=r"landmarks of a face for picture 5, 5\.png"):
        trial_of(tmp_path)


def test_a_missing_picture_is_named(tmp_path: Path) -> None:
    write_set(tmp_path)
    (tmp_path / "loose_crop/9.png").unlink()
    with pytest.raises(EdgefrError, match=r"loose_crop: 9\.png"):
        trial_of(tmp_path)


def test_a_template_of_no_weight_is_named(tmp_path: Path) -> None:
    write_set(tmp_path)
    file = tmp_path / "meta/ijbb_name_5pts_score.txt"
    lines = file.read_text().splitlines()
    lines[0] = lines[0].rpartition(" ")[0] + " 0"
    file.write_text("\n".join(lines))
    with pytest.raises(EdgefrError, match="pictures of template 0 that can be fused"):
        trial_of(tmp_path)
