"""edgefr gallery enroll and identify: photographs in, names out."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from edgefr.cli.gallery_bulk import enroll_from, insist_on_shards_alone, tell
from edgefr.cli.gallery_options import (
    Access,
    GalleryOption,
    KeyFileOption,
    PassphraseEnvOption,
    PassphraseFdOption,
    PlainOption,
)
from edgefr.cli.options import (
    DetectorOption,
    FaceOption,
    JsonOption,
    ModelOption,
    PrecisionOption,
    RuntimeOption,
    chosen_model,
)
from edgefr.cli.output import print_json, progress, warn
from edgefr.errors import EdgefrError

if TYPE_CHECKING:
    from edgefr.gallery.address import Address
    from edgefr.gallery.base import Gallery
    from edgefr.gallery.enrolment import Enrolment
    from edgefr.recognition.verifier import Verifier

DAY = 86_400.0


def enroll(
    name: Annotated[str | None, typer.Argument(help="Who is on the photographs.")] = None,
    images: Annotated[list[str] | None, typer.Argument(help="Photographs, folders of them, or globs.")] = None,
    folder: Annotated[
        Path | None, typer.Option(help="Instead of a name: a folder with a folder of photographs for each person.")
    ] = None,
    shards: Annotated[
        Path | None,
        typer.Option("--from", help="Instead of photographs: what `edgefr embed -o FOLDER` made of such folders."),
    ] = None,
    camera: Annotated[
        str | None, typer.Option(help="Instead of photographs: a camera or film, named as for `edgefr watch`.")
    ] = None,
    keep_crops: Annotated[
        bool, typer.Option("--keep-crops", help="Keep the aligned faces, sealed, for `gallery rebuild`.")
    ] = False,
    days: Annotated[float | None, typer.Option(min=0, help="Remove the person after so many days; else never.")] = None,
    gallery: GalleryOption = None,
    key_file: KeyFileOption = None,
    passphrase_env: PassphraseEnvOption = None,
    passphrase_fd: PassphraseFdOption = None,
    plain: PlainOption = False,
    model: ModelOption = None,
    detector: DetectorOption = None,
    runtime: RuntimeOption = "auto",
    precision: PrecisionOption = "auto",
    json: JsonOption = False,
) -> None:
    """Enrol a person from photographs or before a camera, or everybody in a folder of folders.

    A photograph that is not good enough is named on stderr with the reason and left out; exit 2 if there was any. Who
    is enrolled already gets further images. With --from the exit is 0, and the same command goes on after a kill.
    """
    from edgefr.gallery.enrolment import enrol
    from edgefr.gallery.model_binding import ModelBinding
    from edgefr.recognition.verifier import Verifier

    if shards is not None:
        insist_on_shards_alone(name, images, folder, camera, keep_crops)
    people = {} if shards is not None or camera is not None else _people(name, images or [], folder)
    total = sum(len(photos) for photos in people.values())
    verifier = Verifier.open(chosen_model(model), detector, runtime, precision, images=total)
    access = Access.of(gallery, key_file, passphrase_env, passphrase_fd)
    keep = None if days is None else days * DAY
    if shards is not None:
        enroll_from(shards, access, plain, verifier, keep, json)
        return
    done = []
    with access.open_or_create(plain, ModelBinding.of(verifier)) as opened:
        if camera is not None:
            done.append(_before(camera, _only_name(name, images, folder), opened, verifier, keep_crops, keep))
        with progress("Enrolling", total) as advance:
            for person, photos in people.items():
                done.append(enrol(opened, verifier, person, photos, keep_crops, keep, advance))
    for entry in done:
        tell(entry)
    if json:
        print_json({"gallery": str(access.path), "people": [asdict(entry) for entry in done]})
    else:
        print("\n".join(_enrolled(entry, access.path) for entry in done))
    raise typer.Exit(2 if any(entry.refused for entry in done) else 0)


def _before(camera: str, name: str, gallery: Gallery, verifier: Verifier, crops: bool, keep: float | None) -> Enrolment:
    """Enrol who stands before a camera."""
    from edgefr.camera.camera_enrolment import VIEWS, samples_from_camera
    from edgefr.camera.sources import open_source
    from edgefr.gallery.enrolment import enrol_samples

    with progress("Look into the camera", VIEWS) as advance:
        views = samples_from_camera(open_source(camera), verifier, crops, lambda text: warn(f"edgefr: {text}"), advance)
    return enrol_samples(gallery, verifier, name, views, keep)


def identify(
    images: Annotated[list[str], typer.Argument(help="Photographs, folders of photographs, or globs.")],
    fpir: Annotated[
        float, typer.Option(min=0, max=1, help="The share of strangers that may be taken for somebody enrolled.")
    ] = 0.01,
    threshold: Annotated[
        float | None, typer.Option(min=-1, max=1, help="Decide by this similarity, not by the model's manifest.")
    ] = None,
    top: Annotated[int, typer.Option(min=1, max=100, help="How many candidates --json tells of each face.")] = 5,
    gallery: GalleryOption = None,
    key_file: KeyFileOption = None,
    passphrase_env: PassphraseEnvOption = None,
    passphrase_fd: PassphraseFdOption = None,
    model: ModelOption = None,
    detector: DetectorOption = None,
    face: FaceOption = "largest",
    runtime: RuntimeOption = "auto",
    precision: PrecisionOption = "auto",
    json: JsonOption = False,
) -> None:
    """Who is on these photographs? Unknown people are answered as unknown.

    Exit 0 if everybody is known, 1 if somebody is not, 2 if a photograph has no usable face. Matches go into the log.
    """
    from edgefr.gallery.identifier import Identifier
    from edgefr.recognition.batch import embed_photographs, list_photographs
    from edgefr.recognition.verifier import Verifier

    photos = list_photographs(images)
    verifier = Verifier.open(chosen_model(model), detector, runtime, precision, images=len(photos))
    with Access.of(gallery, key_file, passphrase_env, passphrase_fd).open() as opened:
        identifier = Identifier(verifier, opened, fpir, threshold)
        limit = identifier.threshold
        with progress("Identifying", len(photos)) as advance:
            faces, refused = embed_photographs(verifier, photos, face, 32, advance)
        answers = [
            {"path": face.source, "name": found.name, "candidates": [asdict(hit) for hit in found.candidates]}
            for face, found in zip(faces, identifier.identify_faces(faces, top), strict=True)
        ]
        people = len(opened)
    for refusal in refused:
        warn(f"edgefr: left out: {refusal.reason}")
    for doubt in verifier.quality_warnings(faces) or ():
        warn(f"edgefr: do not rely on this answer: {doubt}")
    if json:
        left_out = [{"path": entry.path, "reason": entry.reason} for entry in refused]
        print_json({"people": people, **asdict(limit), "answers": answers, "left_out": left_out})
    else:
        print("\n".join(_answer(answer, limit.value) for answer in answers))
    raise typer.Exit(2 if refused else int(any(answer["name"] is None for answer in answers)))


def _people(name: str | None, images: Sequence[str], folder: Path | None) -> dict[str, list[Path]]:
    """Whom to enrol with which photographs.

    Raises:
        EdgefrError: neither or both of a name with photographs and a folder are given, or there are no photographs.
    """
    from edgefr.recognition.batch import list_photographs

    if folder is None and name is not None and images:
        return {name: list_photographs(images)}
    if folder is not None and name is None:
        people = {entry.name: list_photographs([str(entry)]) for entry in _subfolders(folder)}
        if people:
            return people
        raise EdgefrError(f"a folder of photographs for each person in {folder}", "no folders", "give NAME IMAGE...")
    raise EdgefrError("a name and photographs, or --folder", "neither or both", "edgefr gallery enroll NAME IMAGE...")


def _only_name(name: str | None, images: Sequence[str] | None, folder: Path | None) -> str:
    """Who stands before the camera.

    Raises:
        EdgefrError: no name is given, or photographs or a folder beside it.
    """
    from edgefr.gallery.records import check_name

    if name is None or images or folder is not None:
        raise EdgefrError(
            "a name alone beside --camera", "none or photographs", "edgefr gallery enroll NAME --camera 0"
        )
    return check_name(name)


def _subfolders(folder: Path) -> list[Path]:
    return sorted(entry for entry in folder.iterdir() if entry.is_dir()) if folder.is_dir() else []


def _enrolled(entry: Enrolment, path: Path | Address) -> str:
    before = f"; {entry.known} photograph{'s' * (entry.known != 1)} had been enrolled before" if entry.known else ""
    if entry.images + entry.known == 0:
        return f"{entry.name} is not enrolled: no photograph was good enough."
    return f"{entry.name} is enrolled in {path} with {entry.images} image{'s' * (entry.images != 1)} more{before}."


def _answer(answer: dict[str, Any], threshold: float) -> str:
    best = answer["candidates"][0]["similarity"] if answer["candidates"] else -1.0
    who = answer["name"] or "unknown"
    relation = "reaches" if answer["name"] else "stays below"
    return f"{answer['path']}: {who} (similarity {best:.3f} {relation} {threshold:.3f})"
