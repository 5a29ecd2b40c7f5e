"""edgefr gallery enroll."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from edgefr.choices import FacePolicy
from edgefr.cli.gallery_bulk import check_shards_alone, enroll_shards, warn_about
from edgefr.cli.gallery_options import Access, PlainOption, TransformOption, with_access
from edgefr.cli.listing import left_out_document, warn_left_out, warn_other_files
from edgefr.cli.options import (
    DetectorOption,
    JsonOption,
    ModelOption,
    PrecisionOption,
    RotateOption,
    RuntimeOption,
    chosen_model,
    rotation_degrees,
)
from edgefr.cli.output import print_json, progress, table, warn
from edgefr.errors import InvalidArgumentError
from edgefr.io.picture_files import PictureFinder, RejectedImage

if TYPE_CHECKING:
    from edgefr.gallery.address import Address
    from edgefr.gallery.base import Gallery
    from edgefr.gallery.enrolment import Enrolment
    from edgefr.recognition.verifier import Verifier


@with_access
def enroll(
    name: Annotated[str | None, typer.Argument(help="The person on the photographs.")] = None,
    images: Annotated[list[str] | None, typer.Argument(help="Photographs, folders of them, or globs.")] = None,
    folder: Annotated[
        Path | None, typer.Option(help="Instead of a name: a folder with a folder of photographs for each person.")
    ] = None,
    shards: Annotated[
        Path | None,
        typer.Option("--from", help="Instead of photographs: the output of `edgefr embed -o FOLDER` for such folders."),
    ] = None,
    camera: Annotated[
        str | None, typer.Option(help="Instead of photographs: a camera or film, named as for `edgefr watch`.")
    ] = None,
    rotate: RotateOption = "auto",
    keep_crops: Annotated[
        bool, typer.Option("--keep-crops", help="Keep the aligned faces, encrypted, for `gallery rebuild`.")
    ] = False,
    days: Annotated[
        float | None, typer.Option(help="Days until the person is removed, at most 36,525. Default: never.")
    ] = None,
    face: Annotated[
        FacePolicy | None,
        typer.Option(
            help="Which of several faces to use: largest, centre, or only (several are an error). Default: the largest "
            "one if it is clearly the subject."
        ),
    ] = None,
    force: Annotated[
        bool,
        typer.Option(
            "--force", help="Enrol images that look unlike the person's others, or like another enrolled person, too."
        ),
    ] = False,
    *,
    access: Access,
    plain: PlainOption = False,
    transform_templates: TransformOption = False,
    model: ModelOption = None,
    detector: DetectorOption = None,
    runtime: RuntimeOption = "auto",
    precision: PrecisionOption = "auto",
    json: JsonOption = False,
) -> None:
    """Enrol a person from photographs or a camera, or all people in a folder of folders.

    Photographs that are not good enough, and images that may show somebody else, are left out and listed on stderr
    with the reason; the exit code is then 2. A person who is enrolled already gets additional images. With --from the
    exit code is 0, and the same command continues after an interruption.
    """
    from edgefr.gallery.records import SECONDS_PER_DAY, expiry_date
    from edgefr.recognition.verifier import Verifier

    expires_in_s = None if days is None else days * SECONDS_PER_DAY
    expiry_date(0, expires_in_s)  # refuses a number of days before anything is opened or created
    if shards is not None:
        check_shards_alone(name, images, folder, camera, keep_crops, face)
    if camera is not None and face is not None:
        raise InvalidArgumentError("--camera without --face", "both", "leave out --face")
    found = _People([], PictureFinder()) if shards or camera else _find_people(name, images or [], folder)
    total = sum(len(person.photos) for person in found.people)
    verifier = Verifier.open(chosen_model(model), detector, runtime, precision, images=total)
    settings = _Settings(keep_crops, expires_in_s, force, face)
    if shards is not None:
        enroll_shards(shards, access, plain, transform_templates, verifier, settings.expires_in_s, force, json)
        return
    done = []
    with access.open_to_enrol(plain, verifier, transform_templates) as opened:
        if camera is not None:
            person = _camera_name(name, images, folder)
            done.append(_enroll_from_camera(camera, rotate, person, opened, verifier, settings))
        with progress("Enrolling", total) as advance:
            for entry in found.people:
                done.append(_enroll_person(entry, opened, verifier, settings, advance))
    if (unchecked := verifier.unchecked_quality()) is not None:
        warn(f"edgefr: {unchecked}")
    warn_other_files(found.finder)
    warn_left_out(found.finder.left_out)
    for result in done:
        warn_about(result)
    if json:
        keys = ("name", "images", "refused", "unlike", "similar", "known", "notes")
        documents = [{key: value for key, value in asdict(result).items() if key in keys} for result in done]
        left_out = left_out_document(found.finder.left_out)
        print_json({"gallery": str(access.path), "people": documents, "left_out": left_out})
    elif folder is not None:
        print(_summary(done, access.path))
    else:
        print("\n".join(_sentence(result, access.path) for result in done))
    raise typer.Exit(2 if found.finder.left_out or any(result.refused for result in done) else 0)


@dataclass(frozen=True)
class _Settings:
    """How to enrol."""

    crops: bool
    expires_in_s: float | None
    force: bool
    face: FacePolicy | None


@dataclass(frozen=True)
class _Person:
    """A person to enrol; `error` is raised by a single person, and leaves this one of a folder out."""

    name: str
    photos: list[Path]
    folder: Path | None = None
    left_out: tuple[RejectedImage, ...] = ()
    error: InvalidArgumentError | None = None


@dataclass(frozen=True)
class _People:
    """The people to enrol, and what belongs to none of them."""

    people: list[_Person]
    finder: PictureFinder


def _enroll_person(
    person: _Person, gallery: Gallery, verifier: Verifier, settings: _Settings, advance: Any
) -> Enrolment:
    from edgefr.gallery.enrolment import Enrolment, enrol

    try:
        if person.error is not None:
            raise person.error
        result = enrol(
            gallery,
            verifier,
            person.name,
            person.photos,
            settings.crops,
            settings.expires_in_s,
            advance,
            settings.force,
            settings.face,
        )
    except InvalidArgumentError as error:  # for example a folder whose name is not valid, or without photographs
        if person.folder is None:
            raise
        result = Enrolment(person.name, 0, (RejectedImage(str(person.folder), str(error)),))
    return replace(result, refused=(*person.left_out, *result.refused))


def _enroll_from_camera(
    camera: str, rotate: str, name: str, gallery: Gallery, verifier: Verifier, settings: _Settings
) -> Enrolment:
    from edgefr.camera.camera_enrolment import VIEWS, samples_from_camera
    from edgefr.camera.sources import open_source
    from edgefr.gallery.enrolment import enrol_samples

    def log(text: str) -> None:
        warn(f"edgefr: {text}")

    with progress("Look into the camera", VIEWS) as advance:
        source = open_source(camera, log)
        views = samples_from_camera(source, verifier, settings.crops, log, advance, rotation_degrees(rotate))
    labels = {id(view): f"view {number} of {view.source}" for number, view in enumerate(views, 1)}
    return enrol_samples(gallery, verifier, name, views, settings.expires_in_s, settings.force, labels)


def _find_people(name: str | None, images: Sequence[str], folder: Path | None) -> _People:
    from edgefr.recognition.batch import find_photographs

    if folder is None and name is not None and images:
        found = find_photographs(images)
        return _People([_Person(name, found.photographs)], found.finder)
    if folder is None or name is not None:
        raise InvalidArgumentError(
            "a name and photographs, or --folder", "neither or both", "run `edgefr gallery enroll NAME IMAGE...`"
        )
    finder, people = PictureFinder(), []
    try:
        entries = sorted(folder.iterdir())
    except OSError as error:
        raise InvalidArgumentError(
            f"a folder with a folder of photographs for each person at {folder}",
            f"that it cannot be read ({error.strerror})",
            "check the path and its permissions",
        ) from error
    for entry in entries:
        if entry.is_dir():
            people.append(_find_person(entry, finder))
        else:
            finder.add_stray(str(entry), "a folder for each person")
    if not people:
        raise InvalidArgumentError(
            f"a folder of photographs for each person in {folder}", "no folders", "give NAME IMAGE..."
        )
    return _People(people, finder)


def _find_person(folder: Path, others: PictureFinder) -> _Person:
    """The person of a folder. Files that are no photographs are counted in `others`."""
    from edgefr.recognition.batch import find_photographs

    try:
        found = find_photographs([str(folder)])
    except InvalidArgumentError as error:
        return _Person(folder.name, [], folder, error=error)
    others.other_files += found.finder.other_files
    others.repeated_links += found.finder.repeated_links
    return _Person(folder.name, found.photographs, folder, tuple(found.finder.left_out))


def _camera_name(name: str | None, images: Sequence[str] | None, folder: Path | None) -> str:
    from edgefr.gallery.records import check_name

    if name is None or images or folder is not None:
        raise InvalidArgumentError(
            "only a name with --camera", "none, or photographs", "run `edgefr gallery enroll NAME --camera 0`"
        )
    return check_name(name)


def _sentence(result: Enrolment, path: Path | Address) -> str:
    before = f" {_count(result.known, 'photograph')} had been enrolled before." if result.known else ""
    if result.images + result.known == 0:
        return f"Nothing was enrolled for {result.name}: every photograph was left out."
    if result.images == 0:
        return f"Nothing new for {result.name} in {path}.{before}"
    if result.extended:
        return f"Added {_count(result.images, 'image')} to {result.name} in {path}.{before}"
    return f"Enrolled {result.name} ({_count(result.images, 'image')}) in {path}.{before}"


def _summary(results: Sequence[Enrolment], path: Path | Address) -> str:
    """A table of all people: what was added, what was left out, and why someone was not enrolled."""
    texts = [_outcome(result) for result in results]
    width = max(len(text) for text in texts)  # the table aligns its last column to the right
    rows = [
        [result.name, str(result.images), str(result.known), str(len(result.refused)), text.ljust(width)]
        for result, text in zip(results, texts, strict=True)
    ]
    enrolled = sum(result.images + result.known > 0 for result in results)
    return "\n".join(
        (
            table(["name", "added", "known", "left out", "result".ljust(width)], rows),
            f"{enrolled:,} of {_count(len(results), 'person', 'people')} enrolled in {path}.",
        )
    )


def _outcome(result: Enrolment) -> str:
    if result.images + result.known == 0:
        return f"not enrolled: {result.refused[0].reason}" if result.refused else "not enrolled: no photograph"
    if result.images == 0:
        return "unchanged"
    return "extended" if result.extended else "enrolled"


def _count(number: int, one: str, many: str = "") -> str:
    return f"{number:,} {one if number == 1 else many or f'{one}s'}"
