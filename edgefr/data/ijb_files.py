"""Reads IJB-B and IJB-C as upstream lays them out: text files in `meta/`, loosely cut faces in `loose_crop/`.

A template is a set of pictures of one person. Within a template, pictures of one medium, such as a video, count as one.
Names and columns are those of insightface's `recognition/_evaluation_/ijb`.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from pathlib import Path, PurePosixPath
from typing import NamedTuple

import numpy as np

from edgefr.data.collections import FaceFolder
from edgefr.data.text_lines import Block, integers_from_words, malformed_line, read_blocks
from edgefr.errors import EdgefrError
from edgefr.io.jpeg import MAX_PICTURE_BYTES
from edgefr.types import Bools, Floats, Ints

MAX_FILE_BYTES = 1 << 30
"""Five times the size of IJB-C's list of 15,658,489 pairs."""

MAX_PICTURES = 2_000_000
"""Four times as many as in IJB-C."""

WHOLE = rb"(\d{1,18})"
DECIMAL = rb"(-?\d{1,9}(?:\.\d{0,20})?(?:[eE]-\d{1,2})?)"
NAME = rb"([!-~]{1,200})"

MEDIA = rb"\s+".join([NAME, WHOLE, WHOLE])
POINTS = rb"\s+".join([NAME, *[DECIMAL] * 11])
PAIR = rb"\s+".join([WHOLE, WHOLE, rb"([01])"])
SUBJECT = WHOLE + rb"\s*,\s*" + WHOLE + rb"(?:\s*,.*)?"


@dataclass(frozen=True)
class Crops:
    """N loosely cut faces.

    Attributes:
        faces: Reads them by name.
        landmarks: (N, 5, 2) float32, in pixels of each picture.
        score: (N,) float32, the score of the detector.
        template: (N,) int64, the number of the template.
        media: (N,) int64, the number of the medium.
    """

    faces: FaceFolder
    landmarks: Floats
    score: Floats
    template: Ints
    media: Ints


@dataclass(frozen=True)
class TemplatePairs:
    """P comparisons of template `first` with `second`, (P,) numbers; `same` is (P,)."""

    first: Ints
    second: Ints
    same: Bools


@dataclass(frozen=True)
class Subjects:
    """M templates, each once and rising, and the number of the person that each shows, (M,)."""

    template: Ints
    subject: Ints


class Search(NamedTuple):
    """The 1:N protocol: two galleries without a common person, and probes to search for in both."""

    galleries: tuple[Subjects, Subjects]
    probes: Subjects


def read_crops(path: Path) -> Crops:
    """Read the list of pictures, `*_face_tid_mid.txt` and `*_name_5pts_score.txt` in `path`/meta.

    Raises:
        EdgefrError: A file is missing or too large, a line is malformed (it is named), or the two files list different
            pictures.
    """
    media_path, points_path = _meta(path, "face_tid_mid.txt"), _meta(path, "name_5pts_score.txt")
    names: list[str] = []
    points, numbers, index = [], [], 0
    for block in read_blocks(points_path):
        words = block.match_lines(POINTS, "'name', ten coordinates and a score")
        names += [_check_name(row[0], points_path, line) for line, row in words.items()]
        if len(names) > MAX_PICTURES:
            raise malformed_line(f"at most {MAX_PICTURES:,} pictures", block.number, points_path, block.lines[0])
        points.append(np.array([row[1:] for row in words.values()]).astype(np.float32).reshape(-1, 11))
    for block in read_blocks(media_path):
        words = block.match_lines(MEDIA, "'name template medium'")
        for line, row in words.items():
            if index >= len(names) or row[0].decode() != names[index]:
                wanted = f"{names[index]} as in {points_path.name}" if index < len(names) else "no more pictures"
                raise malformed_line(wanted, line, media_path, row[0])
            index += 1
        numbers.append(integers_from_words((row[1:] for row in words.values()), 2))
    if index < len(names) or not names:
        raise EdgefrError(
            f"the {len(names):,} pictures of {points_path.name} in {media_path}",
            f"{index:,}",
            "get the whole file again",
        )
    measured, (template, media) = np.concatenate(points), np.concatenate(numbers).T
    crops = path / "loose_crop"
    faces = FaceFolder(crops, tuple(names), partial(_read_bounded, crops))
    return Crops(faces, measured[:, :10].reshape(-1, 5, 2), measured[:, 10], template, media)


def read_template_pairs(path: Path, crops: Crops) -> TemplatePairs:
    """Read the pairs of the 1:1 protocol, lines `template template label` in `*_template_pair_label.txt`.

    Raises:
        EdgefrError: The file is missing, too large or empty, a line is malformed, or a template has no pictures.
    """
    file, known = _meta(path, "template_pair_label.txt"), np.unique(crops.template)
    parts = [np.empty((0, 3), np.int64)]
    for block in read_blocks(file):
        numbers = block.parse_integers(3)
        if numbers is None or numbers[:, 2].max() > 1:
            numbers = integers_from_words(block.match_lines(PAIR, "'template template label'").values(), 3)
        _check_known(numbers[:, :2], known, block, PAIR)
        parts.append(numbers)
    pairs = np.concatenate(parts)
    first, second, same = (np.ascontiguousarray(column) for column in pairs.T)
    if not 0 < same.sum() < len(same):
        raise EdgefrError(
            f"pairs of templates that match and some that do not in {file}",
            f"{same.sum():,} and {len(same) - same.sum():,}",
            "get the file again",
        )
    return TemplatePairs(first, second, same.astype(bool))


def has_search(path: Path) -> bool:
    """Whether a folder has any file of the 1:N protocol."""
    return any((path / "meta").glob("ijb[bc]_1N_*.csv"))


def read_search(path: Path, crops: Crops) -> Search:
    """Read the 1:N protocol: `*_1N_gallery_G1.csv` and `_G2` (`_S1` and `_S2` in IJB-B) and `*_1N_probe_mixed.csv`.

    Raises:
        EdgefrError: As for `read_template_pairs`; or a template has two people, or a probe is not in one gallery once.
    """
    known = np.unique(crops.template)
    one, two = (
        _subjects(_meta(path, f"1N_gallery_G{number}.csv", f"1N_gallery_S{number}.csv"), known) for number in (1, 2)
    )
    probe_path = _meta(path, "1N_probe_mixed.csv")
    probes = _subjects(probe_path, known)
    enrolled, count = np.unique(np.concatenate([one.subject, two.subject]), return_counts=True)
    missing = np.setdiff1d(probes.subject, enrolled[count == 1])
    if len(missing):
        raise EdgefrError(
            f"every person of {probe_path} in one gallery with one template",
            f"otherwise for {missing[0]}",
            "get the probes and both galleries again",
        )
    return Search((one, two), probes)


def _subjects(path: Path, known: Ints) -> Subjects:
    parts = [np.empty((0, 2), np.int64)]
    for block in read_blocks(path, header=True):
        parts.append(integers_from_words(block.match_lines(SUBJECT, "'template,subject,...'").values(), 2))
        _check_known(parts[-1][:, :1], known, block, SUBJECT)
    distinct = np.unique(np.concatenate(parts), axis=0)  # a line for every picture of a template
    template, subject = (np.ascontiguousarray(column) for column in distinct.T)
    twice = np.flatnonzero(template[1:] == template[:-1])
    if len(twice) or not len(template):
        found = f"template {template[twice[0]]} of two" if len(twice) else "none"
        raise EdgefrError(f"templates of one person each in {path}", found, "get the file again")
    return Subjects(template, subject)


def _check_known(templates: Ints, known: Ints, block: Block, shape: bytes) -> None:
    """Refuse the first line that names a template without pictures. `templates` (L, C) are the first columns."""
    unknown = np.argwhere(~np.isin(templates, known))
    if len(unknown):
        row, column = unknown[0]
        line, words = list(block.match_lines(shape, "a line").items())[row]
        raise malformed_line("templates that have pictures", line, block.path, words[column])


def _meta(path: Path, *names: str) -> Path:
    """The first of `path`/meta/ijbb_NAME and ijbc_NAME that exists."""
    candidates = [path / "meta" / f"{subset}_{name}" for subset in ("ijbb", "ijbc") for name in names]
    found = next((candidate for candidate in candidates if candidate.is_file()), None)
    if found is None:
        raise EdgefrError(
            f"{' or '.join(candidate.name for candidate in candidates)} in {path / 'meta'}",
            "neither",
            "give the folder that holds meta and loose_crop",
        )
    if found.stat().st_size > MAX_FILE_BYTES:
        raise EdgefrError(
            f"at most {MAX_FILE_BYTES >> 20} MiB in {found}", str(found.stat().st_size >> 20), "get the file again"
        )
    return found


def _check_name(name: bytes, path: Path, line: int) -> str:
    """The name of a picture, which must stay inside the folder of pictures."""
    place = PurePosixPath(name.decode("ascii"))
    if place.is_absolute() or ".." in place.parts or "\\" in str(place) or ":" in str(place):
        raise malformed_line("the name of a picture in loose_crop", line, path, name)
    return name.decode("ascii")


def _read_bounded(folder: Path, name: str) -> bytes:
    picture = folder / name
    if picture.stat().st_size > MAX_PICTURE_BYTES:
        raise OSError(f"more than {MAX_PICTURE_BYTES >> 20} MiB")
    return picture.read_bytes()
