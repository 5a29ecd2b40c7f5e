"""IJB-B and IJB-C as upstream lays them out: text files in `meta/`, loosely cut faces in `loose_crop/`.

A template is a set of pictures of one person; pictures of one medium (a video, say) within it count as one. Names and
columns are those of insightface's `recognition/_evaluation_/ijb`.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from pathlib import Path, PurePosixPath
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from edgefr.data.collections import MAX_PICTURE_BYTES, FaceFolder
from edgefr.data.text_lines import Block, Numbers, blocks, damaged, whole_numbers
from edgefr.errors import EdgefrError
from edgefr.types import Floats

MAX_FILE_BYTES = 1 << 30
"""Five times IJB-C's list of 15,658,489 pairs."""

MAX_PICTURES = 2_000_000
"""Four times IJB-C's."""

WHOLE = rb"(\d{1,18})"
DECIMAL = rb"(-?\d{1,9}(?:\.\d{0,20})?(?:[eE]-\d{1,2})?)"
NAME = rb"([!-~]{1,200})"

MEDIA = rb"\s+".join([NAME, WHOLE, WHOLE])
POINTS = rb"\s+".join([NAME, *[DECIMAL] * 11])
PAIR = rb"\s+".join([WHOLE, WHOLE, rb"([01])"])
SUBJECT = WHOLE + rb"\s*,\s*" + WHOLE + rb"(?:\s*,.*)?"


@dataclass(frozen=True)
class Crops:
    """N loosely cut faces: `faces` reads them by name; `landmarks` (N, 5, 2) float32 in their pixels, the detector's
    `score` (N,) float32, the numbers of `template` and `media` (N,) int64."""

    faces: FaceFolder
    landmarks: Floats
    score: Floats
    template: Numbers
    media: Numbers


@dataclass(frozen=True)
class TemplatePairs:
    """P comparisons of template `first` with `second`, (P,) int64 numbers; `same` (P,) bool."""

    first: Numbers
    second: Numbers
    same: npt.NDArray[np.bool_]


@dataclass(frozen=True)
class Subjects:
    """M templates, each once and ascending, and the number of the person each shows, (M,) int64."""

    template: Numbers
    subject: Numbers


class Search(NamedTuple):
    """The 1:N protocol: two galleries without a common person, and the probes to look for in both."""

    galleries: tuple[Subjects, Subjects]
    probes: Subjects


def read_crops(path: Path) -> Crops:
    """Read `*_face_tid_mid.txt` and `*_name_5pts_score.txt` in `path`/meta; pictures are read when `faces` is asked.

    Raises:
        EdgefrError: a file is missing or too large, a line malformed (it is named), or the two differ in pictures.
    """
    media_path, points_path = _meta(path, "face_tid_mid.txt"), _meta(path, "name_5pts_score.txt")
    names: list[str] = []
    points, numbers, place = [], [], 0
    for block in blocks(points_path):
        words = block.words(POINTS, "'name', ten coordinates and a score")
        names += [_safe(row[0], points_path, line) for line, row in words.items()]
        if len(names) > MAX_PICTURES:
            raise damaged(f"at most {MAX_PICTURES:,} pictures", block.number, points_path, block.lines[0])
        points.append(np.array([row[1:] for row in words.values()]).astype(np.float32).reshape(-1, 11))
    for block in blocks(media_path):
        words = block.words(MEDIA, "'name template medium'")
        for line, row in words.items():
            if place >= len(names) or row[0].decode() != names[place]:
                wanted = f"{names[place]} as in {points_path.name}" if place < len(names) else "no more pictures"
                raise damaged(wanted, line, media_path, row[0])
            place += 1
        numbers.append(whole_numbers((row[1:] for row in words.values()), 2))
    if place < len(names) or not names:
        raise EdgefrError(
            f"the {len(names):,} pictures of {points_path.name} in {media_path}",
            f"{place:,}",
            "get the whole file again",
        )
    measured, (template, media) = np.concatenate(points), np.concatenate(numbers).T
    crops = path / "loose_crop"
    faces = FaceFolder(crops, tuple(names), partial(_bounded, crops))
    return Crops(faces, measured[:, :10].reshape(-1, 5, 2), measured[:, 10], template, media)


def read_template_pairs(path: Path, crops: Crops) -> TemplatePairs:
    """Read `*_template_pair_label.txt`, of lines `template template label`.

    Raises:
        EdgefrError: the file is missing, too large or empty, a line malformed, or a template without pictures.
    """
    file, known = _meta(path, "template_pair_label.txt"), np.unique(crops.template)
    parts = [np.empty((0, 3), np.int64)]
    for block in blocks(file):
        numbers = block.plain(3)
        if numbers is None or numbers[:, 2].max() > 1:
            numbers = whole_numbers(block.words(PAIR, "'template template label'").values(), 3)
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
    """Whether any file of the 1:N protocol is there."""
    return any((path / "meta").glob("ijb[bc]_1N_*.csv"))


def read_search(path: Path, crops: Crops) -> Search:
    """Read the galleries `*_1N_gallery_G1.csv` and `_G2` (`_S1` and `_S2` in IJB-B) and `*_1N_probe_mixed.csv`.

    Raises:
        EdgefrError: as `read_template_pairs`; a template of two people; a probe that is not in just one gallery once.
    """
    known = np.unique(crops.template)
    one, two = (
        _subjects(_meta(path, f"1N_gallery_G{number}.csv", f"1N_gallery_S{number}.csv"), known) for number in (1, 2)
    )
    probe_path = _meta(path, "1N_probe_mixed.csv")
    probes = _subjects(probe_path, known)
    enrolled, count = np.unique(np.concatenate([one.subject, two.subject]), return_counts=True)
    lost = np.setdiff1d(probes.subject, enrolled[count == 1])
    if len(lost):
        raise EdgefrError(
            f"every person of {probe_path} in one gallery with one template",
            f"otherwise for {lost[0]}",
            "get the probes and both galleries again",
        )
    return Search((one, two), probes)


def _subjects(path: Path, known: Numbers) -> Subjects:
    parts = [np.empty((0, 2), np.int64)]
    for block in blocks(path, header=True):
        parts.append(whole_numbers(block.words(SUBJECT, "'template,subject,...'").values(), 2))
        _check_known(parts[-1][:, :1], known, block, SUBJECT)
    distinct = np.unique(np.concatenate(parts), axis=0)  # a line for every picture of a template
    template, subject = (np.ascontiguousarray(column) for column in distinct.T)
    twice = np.flatnonzero(template[1:] == template[:-1])
    if len(twice) or not len(template):
        found = f"template {template[twice[0]]} of two" if len(twice) else "none"
        raise EdgefrError(f"templates of one person each in {path}", found, "get the file again")
    return Subjects(template, subject)


def _check_known(templates: Numbers, known: Numbers, block: Block, shape: bytes) -> None:
    """Refuse the first line that names a template without pictures; `templates` (L, C) are its first columns."""
    strange = np.argwhere(~np.isin(templates, known))
    if len(strange):
        row, column = strange[0]
        line, words = list(block.words(shape, "a line").items())[row]
        raise damaged("templates that have pictures", line, block.path, words[column])


def _meta(path: Path, *names: str) -> Path:
    """`path`/meta/ijbb_NAME or ijbc_NAME, whichever is there first."""
    places = [path / "meta" / f"{subset}_{name}" for subset in ("ijbb", "ijbc") for name in names]
    found = next((place for place in places if place.is_file()), None)
    if found is None:
        raise EdgefrError(
            f"{' or '.join(place.name for place in places)} in {path / 'meta'}",
            "neither",
            "give the folder that holds meta and loose_crop",
        )
    if found.stat().st_size > MAX_FILE_BYTES:
        raise EdgefrError(
            f"at most {MAX_FILE_BYTES >> 20} MiB in {found}", str(found.stat().st_size >> 20), "get it again"
        )
    return found


def _safe(name: bytes, path: Path, line: int) -> str:
    """A picture's name, which must not lead out of the folder of pictures."""
    place = PurePosixPath(name.decode("ascii"))
    if place.is_absolute() or ".." in place.parts or "\\" in str(place) or ":" in str(place):
        raise damaged("the name of a picture in loose_crop", line, path, name)
    return name.decode("ascii")


def _bounded(folder: Path, name: str) -> bytes:
    picture = folder / name
    if picture.stat().st_size > MAX_PICTURE_BYTES:
        raise OSError(f"more than {MAX_PICTURE_BYTES >> 20} MiB")
    return picture.read_bytes()
