"""edgefr gallery list, show, remove, rename, audit, export, import, rotate-key and rebuild."""

from __future__ import annotations

from dataclasses import asdict
from datetime import datetime, timezone
from pathlib import Path
from typing import Annotated

import typer

from edgefr.cli.gallery_options import (
    Access,
    FileEnvOption,
    FileFdOption,
    GalleryOption,
    KeyFileOption,
    PassphraseEnvOption,
    PassphraseFdOption,
    PlainOption,
    Source,
    new_secret,
)
from edgefr.cli.options import DetectorOption, JsonOption, ModelOption, PrecisionOption, RuntimeOption, chosen_model
from edgefr.cli.output import print_json, progress, table, warn
from edgefr.errors import EdgefrError
from edgefr.gallery.address import Address

NameArgument = Annotated[str, typer.Argument(help="An enrolled person.")]
EXPORT_PROMPT = "Passphrase of the export: "


def list_people(
    gallery: GalleryOption = None,
    key_file: KeyFileOption = None,
    passphrase_env: PassphraseEnvOption = None,
    passphrase_fd: PassphraseFdOption = None,
    json: JsonOption = False,
) -> None:
    """Who is enrolled."""
    access = Access.of(gallery, key_file, passphrase_env, passphrase_fd)
    with access.open() as opened:
        people, binding = sorted(opened.people(), key=lambda one: one.name), opened.binding
    if json:
        listed = [
            {"name": one.name, "images": len(one.images), "enrolled": one.enrolled, "expires": one.expires}
            for one in people
        ]
        print_json({"gallery": str(access.path), "made_by": asdict(binding), "people": listed})
        return
    rows = [[one.name, str(len(one.images)), _day(one.enrolled), _day(one.expires)] for one in people]
    print(table(["name", "images", "enrolled", "until"], rows))


def show(
    name: NameArgument,
    gallery: GalleryOption = None,
    key_file: KeyFileOption = None,
    passphrase_env: PassphraseEnvOption = None,
    passphrase_fd: PassphraseFdOption = None,
    json: JsonOption = False,
) -> None:
    """A person's images and how well each agrees with the template."""
    with Access.of(gallery, key_file, passphrase_env, passphrase_fd).open() as opened:
        person, samples = opened.person(name), opened.samples(name)
    images = [
        {
            "source": entry.source,
            "similarity_to_template": float(entry.embedding @ person.template),
            "uncertainty": entry.uncertainty,
            "norm": entry.norm,
            "sharpness": entry.sharpness,
            "crop_kept": entry.crop is not None,
        }
        for entry in samples
    ]
    if json:
        print_json({"name": person.name, "enrolled": person.enrolled, "expires": person.expires, "images": images})
        return
    print(f"{person.name}, enrolled {_day(person.enrolled)}, until {_day(person.expires)}")
    rows = [
        [str(entry["source"]), f"{entry['similarity_to_template']:.3f}", f"{entry['sharpness']:.2f}"]
        for entry in images
    ]
    print(table(["image", "similarity to template", "sharpness"], rows))


def remove(
    name: NameArgument,
    gallery: GalleryOption = None,
    key_file: KeyFileOption = None,
    passphrase_env: PassphraseEnvOption = None,
    passphrase_fd: PassphraseFdOption = None,
    json: JsonOption = False,
) -> None:
    """Remove a person for good: the key of all that is kept of the person is destroyed."""
    with Access.of(gallery, key_file, passphrase_env, passphrase_fd).open() as opened:
        opened.remove(name)
        left = len(opened)
    _tell(json, f"{name} is removed; {left} people are left.", {"removed": name, "people": left})


def rename(
    name: NameArgument,
    other: Annotated[str, typer.Argument(help="The new name.")],
    gallery: GalleryOption = None,
    key_file: KeyFileOption = None,
    passphrase_env: PassphraseEnvOption = None,
    passphrase_fd: PassphraseFdOption = None,
    json: JsonOption = False,
) -> None:
    """Give a person another name."""
    with Access.of(gallery, key_file, passphrase_env, passphrase_fd).open() as opened:
        opened.rename(name, other)
    _tell(json, f"{name} is now {other}.", {"renamed": name, "name": other})


def audit(
    lines: Annotated[int, typer.Option(min=0, help="How many of the log's last lines to print; --json has all.")] = 20,
    gallery: GalleryOption = None,
    key_file: KeyFileOption = None,
    passphrase_env: PassphraseEnvOption = None,
    passphrase_fd: PassphraseFdOption = None,
    json: JsonOption = False,
) -> None:
    """Prove every record, image and line of the log, and print the log."""
    with Access.of(gallery, key_file, passphrase_env, passphrase_fd).open() as opened:
        names, images, crops = opened.names(), 0, 0
        with progress("Checking", len(names)) as advance:
            for _, samples in opened.entries(names):
                images, crops = images + len(samples), crops + sum(entry.crop is not None for entry in samples)
                advance(1)
        if stray := opened.orphan_images():
            raise EdgefrError(
                f"only images of enrolled people in {opened.path}",
                f"{stray} more",
                "restore a copy, because another program wrote to the file"
                if isinstance(opened.path, Path)
                else "run the command again later, because another change is in progress or was interrupted",
            )
        events, binding = opened.events(), opened.binding
    if json:
        counts = {"people": len(names), "images": images, "crops": crops}
        print_json({**counts, "made_by": asdict(binding), "events": [asdict(event) for event in events]})
        return
    print(
        f"{len(names)} people, {images} images and {crops} crops are as they were written, made by {binding.model} "
        f"{binding.precision} with {binding.detector}; the log has {len(events)} lines."
    )
    for event in events[len(events) - lines :] if lines else ():
        print(f"{_time(event.at)}  {event.what:9}  {event.name}  {event.detail}".rstrip())


def export(
    output: Annotated[Path, typer.Argument(help="The file to write.")],
    gallery: GalleryOption = None,
    key_file: KeyFileOption = None,
    passphrase_env: PassphraseEnvOption = None,
    passphrase_fd: PassphraseFdOption = None,
    file_passphrase_env: FileEnvOption = None,
    file_passphrase_fd: FileFdOption = None,
    json: JsonOption = False,
) -> None:
    """Write everybody into one file, sealed with a passphrase of its own."""
    from edgefr.gallery.transfer import export_gallery

    with Access.of(gallery, key_file, passphrase_env, passphrase_fd).open() as opened:
        secret = Source(file_passphrase_env, file_passphrase_fd, EXPORT_PROMPT).read(twice=True)
        with progress("Exporting", len(opened)) as advance:
            count = export_gallery(opened, output, secret, advance)
    _tell(json, f"{count} people are in {output}.", {"output": str(output), "people": count})


def import_(
    file: Annotated[Path, typer.Argument(help="What `edgefr gallery export` wrote.")],
    gallery: GalleryOption = None,
    key_file: KeyFileOption = None,
    passphrase_env: PassphraseEnvOption = None,
    passphrase_fd: PassphraseFdOption = None,
    file_passphrase_env: FileEnvOption = None,
    file_passphrase_fd: FileFdOption = None,
    plain: PlainOption = False,
    json: JsonOption = False,
) -> None:
    """Enrol everybody in an export, or nobody where a name is taken."""
    from edgefr.gallery.transfer import Export, import_people

    secret = Source(file_passphrase_env, file_passphrase_fd, EXPORT_PROMPT).read()
    source = Export(file, secret)
    access = Access.of(gallery, key_file, passphrase_env, passphrase_fd)
    with (
        access.open_or_create(plain, source.binding) as opened,
        progress("Importing, then comparing", 2 * source.count()) as advance,
    ):
        count = import_people(opened, source, advance)
    _tell(json, f"{count} people are enrolled in {access.path}.", {"gallery": str(access.path), "people": count})


def rotate_key(
    new_key_file: Annotated[
        Path | None, typer.Option(help="Lock with this key file from now on; a new one is made.")
    ] = None,
    new_passphrase_env: Annotated[
        str | None, typer.Option(help="Name of the environment variable with the new passphrase; else it is asked for.")
    ] = None,
    new_passphrase_fd: Annotated[
        int | None, typer.Option(help="File descriptor to read the new passphrase from.")
    ] = None,
    plain: Annotated[bool, typer.Option("--plain", help="Lock with no secret from now on.")] = False,
    gallery: GalleryOption = None,
    key_file: KeyFileOption = None,
    passphrase_env: PassphraseEnvOption = None,
    passphrase_fd: PassphraseFdOption = None,
    json: JsonOption = False,
) -> None:
    """Lock the gallery with a new secret; the former opens it no more, but still opens older copies of the file.

    In a database only the lock is new: who copied the former lock and knows its secret keeps the gallery's key.
    """
    access = Access.of(gallery, key_file, passphrase_env, passphrase_fd)
    with access.open() as opened:
        source = Source(new_passphrase_env, new_passphrase_fd, "New passphrase of the gallery: ")
        opened.rotate(new_secret(plain, new_key_file, source))
        count = len(opened)
    if isinstance(access.path, Address):
        warn(
            "edgefr: the gallery's key beneath the lock is the same: who copied the former lock and knows its secret "
            "still has it; to change that key, too, carry the people to a new gallery with `edgefr gallery export` and "
            "`import`"
        )
    _tell(json, f"{access.path} is locked anew, with {count} people in it.", {"gallery": str(access.path)})


def rebuild(
    model: ModelOption = None,
    detector: DetectorOption = None,
    gallery: GalleryOption = None,
    key_file: KeyFileOption = None,
    passphrase_env: PassphraseEnvOption = None,
    passphrase_fd: PassphraseFdOption = None,
    runtime: RuntimeOption = "auto",
    precision: PrecisionOption = "auto",
    json: JsonOption = False,
) -> None:
    """Make all templates anew with another model, from the crops that `enroll --keep-crops` kept."""
    from edgefr.gallery.rebuild import rebuild as rebuilt
    from edgefr.recognition.verifier import Verifier

    with Access.of(gallery, key_file, passphrase_env, passphrase_fd).open() as opened:
        count = len(opened)
        verifier = Verifier.open(chosen_model(model), detector, runtime, precision, images=count)
        with progress("Rebuilding", count) as advance:
            rebuilt(opened, verifier, advance)
        binding = opened.binding
    _tell(json, f"{count} people's templates are made by {binding.model} now.", {"people": count, **asdict(binding)})


def _tell(json: bool, sentence: str, document: dict[str, object]) -> None:
    if json:
        print_json(document)
    else:
        print(sentence)


def _day(at: float | None) -> str:
    return "removed" if at is None else _time(at)[:10]


def _time(at: float) -> str:
    return datetime.fromtimestamp(at, timezone.utc).astimezone().isoformat(" ", "seconds")
