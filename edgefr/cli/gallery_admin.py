"""edgefr gallery list, show, remove, rename, export, import, rotate-key and rebuild."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import typer

from edgefr.cli.gallery_options import (
    Access,
    FileEnvOption,
    FileFdOption,
    PassphraseSource,
    PlainOption,
    TransformOption,
    new_secret,
    with_access,
)
from edgefr.cli.options import DetectorOption, JsonOption, ModelOption, PrecisionOption, RuntimeOption, chosen_model
from edgefr.cli.output import day_text, people_text, print_json, progress, table, warn
from edgefr.gallery.address import Address

NameArgument = Annotated[str, typer.Argument(help="An enrolled person.")]
EXPORT_PROMPT = "Passphrase of the export: "


@with_access
def list_people(*, access: Access, json: JsonOption = False) -> None:
    """List the enrolled people."""
    with access.open() as opened:
        people, binding = sorted(opened.people(), key=lambda one: one.name), opened.binding
    if json:
        listed = [
            {"name": one.name, "images": len(one.images), "enrolled": one.enrolled, "expires": one.expires}
            for one in people
        ]
        print_json({"gallery": str(access.path), "made_by": asdict(binding), "people": listed})
        return
    rows = [[one.name, str(len(one.images)), day_text(one.enrolled), day_text(one.expires)] for one in people]
    print(table(["name", "images", "enrolled", "expires"], rows))


@with_access
def show(name: NameArgument, *, access: Access, json: JsonOption = False) -> None:
    """Show the images of a person and how similar each is to the template."""
    with access.open() as opened:
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
    print(f"{person.name}, enrolled {day_text(person.enrolled)}, expires {day_text(person.expires)}")
    rows = [
        [str(entry["source"]), f"#{number}", f"{entry['similarity_to_template']:.3f}", f"{entry['sharpness']:.2f}"]
        for number, entry in enumerate(images, 1)
    ]
    print(table(["image", "number", "similarity to template", "sharpness"], rows))


@with_access
def remove(
    name: NameArgument,
    image: Annotated[
        str | None,
        typer.Option(
            metavar="SOURCE", help="Remove only this image, named or numbered ('#2') as `gallery show` lists it."
        ),
    ] = None,
    *,
    access: Access,
    json: JsonOption = False,
) -> None:
    """Remove a person permanently: all data and the key that encrypts it are deleted. With --image, one image."""
    with access.open() as opened:
        if image is not None:
            removed = opened.remove_image(name, image).source
            images = len(opened.person(name).images)
            document: dict[str, object] = {"removed": removed, "name": name, "images": images}
            sentence = f"Removed {removed} from {name}; {images:,} {_images(images)} left."
        else:
            opened.remove(name)
            left = len(opened)
            document, sentence = {"removed": name, "people": left}, f"Removed {name}; {people_text(left)} left."
        traces = opened.traces
    _warn_of_traces(traces)
    _print(json, sentence, {**document, "erased": not traces})


@with_access
def rename(
    name: NameArgument,
    other: Annotated[str, typer.Argument(help="The new name.")],
    *,
    access: Access,
    json: JsonOption = False,
) -> None:
    """Rename a person."""
    with access.open() as opened:
        opened.rename(name, other)
    _print(json, f"Renamed {name} to {other}.", {"renamed": name, "name": other})


@with_access
def export(
    output: Annotated[Path, typer.Argument(help="The file to write.")],
    *,
    access: Access,
    file_passphrase_env: FileEnvOption = None,
    file_passphrase_fd: FileFdOption = None,
    json: JsonOption = False,
) -> None:
    """Export all people to one file, encrypted with a passphrase of its own."""
    from edgefr.gallery.transfer import export_gallery

    with access.open() as opened:
        secret = PassphraseSource(file_passphrase_env, file_passphrase_fd, EXPORT_PROMPT).read(confirm=True)
        with progress("Exporting", len(opened)) as advance:
            count = export_gallery(opened, output, secret, advance)
    _print(json, f"Exported {people_text(count)} to {output}.", {"output": str(output), "people": count})


@with_access
def import_(
    file: Annotated[Path, typer.Argument(help="A file of `edgefr gallery export`.")],
    *,
    access: Access,
    file_passphrase_env: FileEnvOption = None,
    file_passphrase_fd: FileFdOption = None,
    plain: PlainOption = False,
    transform_templates: TransformOption = False,
    json: JsonOption = False,
) -> None:
    """Enrol all people of an export. If a name is enrolled already, nobody is imported.

    The whole file is checked before the gallery is opened or created: types, lengths, names, dates, templates, crops.
    """
    from edgefr.gallery.transfer import Export, import_people

    source = Export(file, PassphraseSource(file_passphrase_env, file_passphrase_fd, EXPORT_PROMPT).read())
    with progress("Checking, importing and verifying", 3 * source.count()) as advance:
        source.check(advance)
        with access.open_or_create(plain, source.binding, transform_templates) as opened:
            count = import_people(opened, source, advance)
    _print(json, f"Imported {people_text(count)} into {access.path}.", {"gallery": str(access.path), "people": count})


@with_access
def rotate_key(
    new_key_file: Annotated[Path | None, typer.Option(help="New key file. It is created if it does not exist.")] = None,
    new_passphrase_env: Annotated[
        str | None, typer.Option(help="Environment variable with the new passphrase. Default: ask for it.")
    ] = None,
    new_passphrase_fd: Annotated[
        int | None, typer.Option(help="File descriptor to read the new passphrase from.")
    ] = None,
    plain: Annotated[bool, typer.Option("--plain", help="Remove the protection: use no secret.")] = False,
    *,
    access: Access,
    json: JsonOption = False,
) -> None:
    """Lock the gallery with a new secret. The former secret still opens older copies of the file.

    In a database only the lock changes: a client that copied the former lock and has its secret keeps the gallery key.
    """
    with access.open() as opened:
        source = PassphraseSource(new_passphrase_env, new_passphrase_fd, "New passphrase of the gallery: ")
        opened.rotate(new_secret(plain, new_key_file, source))
        access.pin_of(new_key_file).replace(opened.state())
        count, traces = len(opened), opened.traces
    if isinstance(access.path, Address):
        warn(
            "edgefr: the gallery key has not changed: a client that copied the former lock and has its secret can "
            "still decrypt the gallery; to change the key, export the people and import them into a new gallery"
        )
    _warn_of_traces(traces)
    document = {"gallery": str(access.path), "erased": not traces}
    _print(json, f"Locked {access.path} ({people_text(count)}) with the new secret.", document)


@with_access
def rebuild(
    model: ModelOption = None,
    detector: DetectorOption = None,
    *,
    access: Access,
    runtime: RuntimeOption = "auto",
    precision: PrecisionOption = "auto",
    json: JsonOption = False,
) -> None:
    """Embed all people again with another model, from the crops that `enroll --keep-crops` has kept."""
    from edgefr.gallery.rebuild import rebuild as rebuild_gallery
    from edgefr.recognition.verifier import Verifier

    with access.open() as opened:
        count = len(opened)
        verifier = Verifier.open(chosen_model(model), detector, runtime, precision, images=count)
        with progress("Rebuilding", count) as advance:
            rebuild_gallery(opened, verifier, advance)
        binding = opened.binding
    _print(json, f"Embedded {people_text(count)} again with {binding.model}.", {"people": count, **asdict(binding)})


def _warn_of_traces(traces: str) -> None:
    if traces:
        warn(f"edgefr: the change is saved, but traces of the former data remain on the disk: {traces}")


def _print(json: bool, sentence: str, document: dict[str, object]) -> None:
    if json:
        print_json(document)
    else:
        print(sentence)


def _images(count: int) -> str:
    return "image" if count == 1 else "images"
