"""edgefr gallery audit."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from edgefr.cli.gallery_options import Access, with_access
from edgefr.cli.options import JsonOption, ModelOption, chosen_model
from edgefr.cli.output import people_text, print_json, progress, time_text, warn
from edgefr.errors import EdgefrError, UnavailableError

if TYPE_CHECKING:
    from edgefr.gallery.base import Gallery
    from edgefr.gallery.outliers import OutlierSearch
    from edgefr.gallery.record_checks import InvalidPerson


@with_access
def audit(
    lines: Annotated[int, typer.Option(min=0, help="Number of events to print; --json prints all.")] = 20,
    outliers: Annotated[
        bool,
        typer.Option(help="Find images unlike the others of their person, and people who look alike."),
    ] = True,
    strict: Annotated[bool, typer.Option("--strict", help="Exit 1 if there are such images or people.")] = False,
    repair: Annotated[bool, typer.Option("--repair", help="Remove people whose records are not valid.")] = False,
    model: ModelOption = None,
    *,
    access: Access,
    json: JsonOption = False,
) -> None:
    """Verify all records, images and events, find images and people that should be checked, and print the log.

    A record is not valid if it claims what cannot be true, for example a template of another length, which older
    versions imported without a check. Searches leave out people whose own record is not valid. All are listed, the exit
    code is 1, and --repair removes them.

    Images and people are compared by the calibrated thresholds of the model of the gallery; --model names it. They are
    not compared if it is another one, unless --strict demands it.
    """
    from edgefr.gallery.record_checks import InvalidPerson

    with access.open() as opened:
        search, obstacle = _outlier_search(opened, model, strict) if outliers or strict else (None, "")
        names, images, crops, invalid = opened.names(), 0, 0, opened.invalid_people()
        with progress("Checking", len(names)) as advance:
            for entry in opened.checked_entries(names):
                advance(1)
                if isinstance(entry, InvalidPerson):
                    invalid.append(entry)
                    continue
                person, samples = entry
                images, crops = images + len(samples), crops + sum(one.crop is not None for one in samples)
                if search is not None:
                    search.add(person, samples)
        if invalid and repair:
            opened.remove_invalid(invalid)
        if repair or not invalid:  # nobody can tell which images belong to a record that is not valid
            _check_orphans(opened)
        found = None if search is None else search.finish()
        events, binding = opened.events(), opened.binding
    sentences = [] if found is None else found.sentences()
    if obstacle:
        warn(f"edgefr: outliers were not searched: {obstacle}")
    _warn_invalid(invalid, repair)
    if json:
        counts = {"people": len(names), "images": images, "crops": crops}
        document: dict[str, object] = {
            **counts,
            "made_by": asdict(binding),
            "outliers": None if found is None else asdict(found),
        }
        document |= {"invalid": [asdict(entry) for entry in invalid], "repaired": repair and bool(invalid)}
        print_json({**document, "events": [asdict(event) for event in events]})
    else:
        print(
            f"Verified {people_text(len(names))}, {images} images, {crops} crops and {len(events)} events. The "
            f"templates come from {binding.model} {binding.precision} with {binding.detector}."
        )
        print("".join(f"Please check: {sentence}.\n" for sentence in sentences), end="")
        for event in events[max(len(events) - lines, 0) :]:
            print(f"{time_text(event.at)}  {event.what:13}  {event.name}  {event.detail}".rstrip())
    raise typer.Exit(int((strict and bool(sentences)) or (bool(invalid) and not repair)))


def _check_orphans(gallery: Gallery) -> None:
    """Raise UnavailableError if there are images of nobody."""
    if orphans := gallery.orphan_images():
        raise UnavailableError(
            f"only images of enrolled people in {gallery.path}",
            f"{orphans} more",
            "restore a copy, because another program wrote to the file"
            if isinstance(gallery.path, Path)
            else "run the command again later, because another change is in progress or was interrupted",
        )


def _warn_invalid(invalid: list[InvalidPerson], repaired: bool) -> None:
    for entry in invalid:
        warn(f"edgefr: {'removed' if repaired else 'not valid'}: {entry.problem}")
    if invalid and not repaired:
        warn(f"edgefr: {people_text(len(invalid))} not valid: remove them with `edgefr gallery audit --repair`")


def _outlier_search(gallery: Gallery, model: Path | None, strict: bool) -> tuple[OutlierSearch | None, str]:
    """A search with the model of the gallery, or the reason why there is none."""
    from edgefr.gallery.outliers import OutlierSearch, outlier_limits

    try:
        return OutlierSearch(gallery, outlier_limits(gallery, chosen_model(model))), ""
    except EdgefrError as error:  # the default model need not be that of the gallery
        if strict or model is not None:
            raise
        return None, str(error)
