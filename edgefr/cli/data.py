"""edgefr data check, edgefr data align, edgefr data attack, edgefr data select"""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from edgefr.cli.listing import warn_left_out, warn_other_files
from edgefr.cli.options import DetectorOption, FaceOption, JsonOption
from edgefr.cli.output import print_json, progress, table, warn
from edgefr.errors import InvalidArgumentError

if TYPE_CHECKING:
    from edgefr.data.collection_check import Report
    from edgefr.recognition.alignment_check import AlignmentCheck

PathArgument = Annotated[
    Path,
    typer.Argument(help="A folder or zip of Name/picture.jpg, a train.rec with its train.idx, or a .csv list."),
]


VERDICTS = {
    "rgb": "in order",
    "swapped": "swapped: exchange them in every picture",
    "mixed": "swapped in some pictures",
    "unknown": "unknown, all pictures are grey",
}
ALIGNED = {True: "yes", False: "no", None: "unknown, too few faces found"}
MAX_NAMES = 20
"""Most names under each heading. --json lists all."""


def check(
    faces: PathArgument,
    limit: Annotated[int | None, typer.Option(min=1, help="Check this many pictures, evenly spread.")] = None,
    workers: Annotated[int | None, typer.Option(min=1, help="Number of processes. Default: one per processor.")] = None,
    json: JsonOption = False,
) -> None:
    """Find faults that spoil a training: corrupt, wrongly sized, duplicate and colour-swapped pictures.

    Exit 0 if there are no faults, 1 if there are. People with a single picture are counted, but are not faults. A
    warning is printed if the landmarks of a sample show that pictures of 112x112 are not aligned faces.
    """
    import numpy as np

    from edgefr.data import collection_check as checks
    from edgefr.data.collections import open_faces
    from edgefr.recognition.alignment_check import check_alignment

    folder = open_faces(faces)
    names = folder.names
    if limit is not None and limit < len(names):
        names = [names[index] for index in np.linspace(0, len(names) - 1, limit).astype(int)]
    # A process takes as long to start as a thousand pictures take to check.
    workers = min(workers or os.cpu_count() or 1, 1 + len(names) // 1000)
    with progress("Checking", len(names)) as advance:
        report = checks.check(folder, names, workers, advance)
    warn_other_files(folder.finder)
    warn_left_out(folder.finder.left_out)
    alignment = check_alignment(folder, names)
    if (text := alignment.warning(str(faces))) is not None:
        warn(f"edgefr: {text}")
    if json:
        print_json({"path": str(faces), "clean": report.clean, **asdict(report), "alignment": asdict(alignment)})
    else:
        _print_report(report, alignment, faces)
    raise typer.Exit(0 if report.clean else 1)


def _print_report(report: Report, alignment: AlignmentCheck, path: Path) -> None:
    channels = report.channels
    print(
        f"{report.pictures:,} pictures checked; {report.people:,} people in {path}, {report.alone:,} of them with a "
        "single picture.\n"
    )
    decided = f"{channels.swapped:,} of {channels.right + channels.swapped:,} seem swapped"
    rows = [
        ["cannot be decoded", f"{len(report.corrupt):,}"],
        ["not 112x112", f"{len(report.wrong_size):,}"],
        ["groups with the same pixels", f"{len(report.duplicates):,}"],
        ["nearly the same picture under two people", f"{len(report.near_duplicates):,}"],
        ["aligned to the template", f"{ALIGNED[alignment.aligned]} ({alignment.checked} faces)"],
        ["red and blue", f"{VERDICTS[channels.verdict]} ({decided})"],
    ]
    print(table(["finding", "count"], rows))
    _print_some("Cannot be decoded", [f"{name}: {found}" for name, found in report.corrupt.items()])
    _print_some("Not 112x112", [f"{name}: {width}x{height}" for name, (width, height) in report.wrong_size.items()])
    _print_some("The same pixels", ["  ".join(group) for group in report.duplicates])
    _print_some("Nearly the same", ["  ".join(pair) for pair in report.near_duplicates])
    _print_some("More blue than red in the middle of the face", channels.suspects)


def _print_some(title: str, lines: Sequence[str]) -> None:
    if lines:
        print(f"\n{title}:", *lines[:MAX_NAMES], sep="\n  ")
    if len(lines) > MAX_NAMES:
        print(f"  and {len(lines) - MAX_NAMES:,} more; --json lists all")


def align(
    photos: PathArgument,
    output: Annotated[Path, typer.Option("--output", "-o", help="The .zip file of faces to write.")],
    detector: DetectorOption = None,
    face: FaceOption = "largest",
    json: JsonOption = False,
) -> None:
    """Write the aligned face of every photograph of a collection into a zip.

    Faces are JPEG files of 112x112 with the names of the photographs. Photographs without a usable face are left out
    and listed on stderr.
    """
    from edgefr.data.collections import open_faces
    from edgefr.detection.detector_registry import open_detector
    from edgefr.jobs.align_photographs import align_faces

    if output.suffix.lower() != ".zip":
        raise InvalidArgumentError("an output that ends in .zip", str(output), "choose another name with -o")
    folder, finder = open_faces(photos), open_detector(detector)
    with progress("Aligning", len(folder.names)) as advance:
        result = align_faces(folder, finder, face, output, advance)
    warn_other_files(folder.finder)
    for reason in result.left_out.values():
        warn(f"edgefr: left out: {reason}")
    if json:
        left_out = [{"name": name, "reason": reason} for name, reason in result.left_out.items()]
        print_json({"output": str(output), "faces": result.faces, "left_out": left_out, "detector": finder.name})
    else:
        print(f"{result.faces} faces in {output} by {finder.name}, {len(result.left_out)} photographs left out.")


def attack(
    photos: Annotated[Path, typer.Argument(help="Photographs of people (folder, zip, .rec or .csv).")],
    output: Annotated[Path, typer.Option("--output", "-o", help="New folder for the attacks, by species.")],
    detector: DetectorOption = None,
    face: FaceOption = "largest",
    seed: Annotated[int, typer.Option(min=0, help="Seed of all randomness.")] = 0,
    json: JsonOption = False,
) -> None:
    """Make simulated presentation attacks of photographs: a print and a screen that are held up.

    They show whether a liveness net sees anything of paper, halftone, edges and moire. They do not replace real
    attacks, made with the cameras and printers that are to be expected.
    """
    from edgefr.data.collections import open_faces
    from edgefr.detection.detector_registry import open_detector
    from edgefr.jobs.simulate_attacks import simulate_attacks

    folder, finder = open_faces(photos), open_detector(detector)
    with progress("Making attacks", len(folder.names)) as advance:
        made, left_out = simulate_attacks(folder, finder, face, output, seed, advance)
    warn_left_out(folder.finder.left_out)
    for reason in left_out.values():
        warn(f"edgefr: left out: {reason}")
    if json:
        reasons = [{"name": name, "reason": reason} for name, reason in left_out.items()]
        print_json({"output": str(output), "pictures": made, "left_out": reasons, "detector": finder.name})
    else:
        print(f"{made} simulated attacks in {output}, {len(left_out)} photographs left out.")


def select(
    faces: Annotated[list[Path], typer.Argument(help="Aligned faces by person (folders, zips, .rec or .csv).")],
    output: Annotated[Path, typer.Option("--output", "-o", help="The .zip file to write.")],
    people: Annotated[
        Path | None, typer.Option(help="Only the people in this list: a text file of one name a line.")
    ] = None,
    without: Annotated[
        list[Path] | None, typer.Option(help="Without the people in this list. May be repeated.")
    ] = None,
    json: JsonOption = False,
) -> None:
    """Write the pictures of some people into a zip, so that training, choosing and testing have different people.

    Pictures keep their names and bytes.
    """
    from edgefr.data.collections import open_faces
    from edgefr.jobs.select_people import read_people, select_people

    if output.suffix.lower() != ".zip":
        raise InvalidArgumentError("an output that ends in .zip", str(output), "choose another name with -o")
    left_out = frozenset[str]().union(*(read_people(path) for path in without or ()))
    folders = [open_faces(path) for path in faces]
    with progress("Selecting", sum(len(folder.names) for folder in folders)) as advance:
        only = None if people is None else read_people(people)
        result = select_people(folders, only, left_out, output, advance)
    for folder in folders:
        warn_left_out(folder.finder.left_out)
    if json:
        print_json({"output": str(output), **asdict(result)})
    else:
        print(
            f"{result.pictures:,} pictures of {result.people:,} people in {output}, "
            f"{result.left_out:,} pictures of others left out."
        )
