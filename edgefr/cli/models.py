"""edgefr models: list, get, add, remove, path"""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict
from difflib import get_close_matches
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from edgefr.cli.options import JsonOption
from edgefr.cli.output import Advance, print_json, progress, table, warn
from edgefr.errors import InvalidArgumentError

if TYPE_CHECKING:
    from edgefr.catalogue import Entry

MIRROR_VARIABLE = "EDGEFR_MODELS_URL"

KINDS = {
    "recogniser": "Recognisers",
    "detector": "Face detectors",
    "liveness": "Presentation attack detection",
    "quality": "Quality of faces",
    "other": "Other nets",
}

Name = Annotated[str, typer.Argument(help="A name that `edgefr models` lists.")]


def list_models(
    context: typer.Context,
    kind: Annotated[
        Literal["recogniser", "detector", "liveness", "quality", "other"] | None,
        typer.Option(help="List only models of this kind."),
    ] = None,
    every: Annotated[
        bool, typer.Option("--all", help="Also list models that edgefr recognises but cannot use.")
    ] = False,
    json: JsonOption = False,
) -> None:
    """List published models, and download them.

    Without a command: a table of all models that edgefr can use, with what their publishers state. Accuracy is in
    percent. A model that is present can be named wherever a file is expected (--model, --detector, recipes).
    """
    if context.invoked_subcommand is not None:
        return
    from edgefr.catalogue import catalogue
    from edgefr.models import stored_model

    entries = [entry for entry in catalogue().models if kind in (None, entry.kind) and (every or json or entry.usable)]
    present = {entry.name: stored_model(entry) for entry in entries}
    if json:
        print_json({"models": [_document(entry, present[entry.name]) for entry in entries]})
        return
    for each, heading in KINDS.items():
        if rows := [_row(entry, present[entry.name]) for entry in entries if entry.kind == each]:
            columns = ["architecture", "trained on", "accuracy", "MB", "commercial use", "licence", "publisher", ""]
            print(f"{table([heading, *columns], rows)}\n")
    print("Download one with `edgefr models get NAME`. Addresses and remarks: --json.")


def get(
    name: Name,
    accept_license: Annotated[
        bool, typer.Option("--accept-license", help="Accept the licence of the model without being asked.")
    ] = False,
    allow_http: Annotated[
        bool, typer.Option("--allow-http", help="Allow a mirror that is reached by http on another machine.")
    ] = False,
    json: JsonOption = False,
) -> None:
    """Download a model into your data folder.

    Size and SHA-256 are checked. An interrupted download goes on where it ended when the same command is run again.
    $EDGEFR_MODELS_URL names a mirror: the address of a folder with the files, under the names of their publishers or
    those of such a data folder. $HTTPS_PROXY names a proxy.
    """
    from edgefr.downloads.model_store import Mirror, get_model, is_fetchable
    from edgefr.models import stored_model

    entry = _entry(name)
    mirror = Mirror(os.environ.get(MIRROR_VARIABLE) or None, allow_http)
    present = stored_model(entry)
    if present is None and is_fetchable(entry, mirror):
        _accept(entry, accept_license)
    path = get_model(entry, mirror, _progress)
    if json:
        print_json(_document(entry, path) | {"downloaded": present is None})
    else:
        print(f"{path} {'is ready' if present is None else 'is there already'}. Use it by the name {entry.name}.")


def add(
    file: Annotated[Path, typer.Argument(help="A model file, or a .zip of models such as buffalo_l.zip.")],
    json: JsonOption = False,
) -> None:
    """Store a published model that you have as a file.

    It is recognised by its SHA-256, whatever its name, and copied into your data folder.
    """
    from edgefr.downloads.model_store import add_models

    added = add_models(file)
    if json:
        print_json({"models": [_document(entry, path) for entry, path in added]})
        return
    for entry, path in added:
        print(f"{path}: {entry.name}. {_terms(entry)}")


def remove(name: Name, json: JsonOption = False) -> None:
    """Remove a model from your data folder, with its thresholds and unfinished downloads of it."""
    from edgefr.downloads.model_store import remove_model

    removed = remove_model(_entry(name))
    if json:
        print_json({"removed": [str(path) for path in removed]})
    else:
        print("\n".join(f"Removed {path}." for path in removed))


def path(name: Name, json: JsonOption = False) -> None:
    """Print where the file of a model is; exit 2 if it is not present."""
    from edgefr.models import present_model

    entry = _entry(name)
    found = present_model(entry)
    if json:
        print_json({"name": entry.name, "path": str(found)})
    else:
        print(found)


def _entry(name: str) -> Entry:
    from edgefr.catalogue import by_name, catalogue, pack_named

    if (entry := by_name(name)) is not None:
        return entry
    names = [each.name for each in catalogue().models]
    if pack_named(name) is not None:
        names = [each.name for each in catalogue().models if any(file.pack == name for file in each.files)]
        found, fix = f"{name}, a pack of models", f"name one of them: {', '.join(names)}"
    elif close := get_close_matches(name, names, 3):
        found, fix = repr(name), f"perhaps {' or '.join(close)} is meant; `edgefr models` lists all"
    else:
        found, fix = repr(name), "choose one that `edgefr models` lists"
    raise InvalidArgumentError("the name of a published model", found, fix)


def _accept(entry: Entry, accepted: bool) -> None:
    """Show the licence, and ask on a terminal."""
    warn(f"edgefr: {entry.name}: {entry.architecture} by {entry.publisher}. {_terms(entry)}")
    if accepted:
        return
    if not (sys.stdin.isatty() and sys.stderr.isatty()):
        raise InvalidArgumentError("--accept-license", "none", f"read {entry.source}, and add it if you accept")
    print("Accept this licence? [y/N] ", end="", file=sys.stderr, flush=True)
    if sys.stdin.readline().strip().lower() not in ("y", "yes"):
        raise InvalidArgumentError("the licence to be accepted", "another answer", "choose another model")


def _terms(entry: Entry) -> str:
    third_party = " Its SHA-256 was stated by a third party." if _is_third_party(entry) else ""
    note = f" {entry.note}" if entry.note else ""
    return f"Licence: {entry.licence}; commercial use: {entry.commercial} ({entry.source}).{third_party}{note}"


def _is_third_party(entry: Entry) -> bool:
    return any(file.sha256 and file.digest_from == "third party" for file in entry.files)


@contextmanager
def _progress(title: str, size: int | None) -> Iterator[Advance]:
    """A bar in kB on a terminal."""
    arrived = 0
    with progress(f"{title} (kB)", None if size is None else size // 1000) as advance:

        def advance_bytes(count: int) -> None:
            nonlocal arrived
            advance((arrived + count) // 1000 - arrived // 1000)
            arrived += count

        yield advance_bytes


def _row(entry: Entry, present: Path | None) -> list[str]:
    size = "" if entry.megabytes is None else f"{entry.megabytes:.1f}"
    return [
        entry.name,
        entry.architecture,
        entry.trained_on or "not stated",
        accuracy_text(entry),
        size,
        entry.commercial,
        entry.licence,
        entry.publisher,
        "" if present is None else "present",
    ]


def accuracy_text(entry: Entry) -> str:
    """The published figure by which most models can be compared, empty if there is none."""
    accuracy = entry.accuracy
    for title, value in (("LFW", accuracy.lfw), ("IJB-C", accuracy.ijb_c), ("WIDER hard", accuracy.wider_hard)):
        if value is not None:
            return f"{title} {value:.2f}"
    return ""


def _document(entry: Entry, present: Path | None) -> dict[str, object]:
    return asdict(entry) | {
        "megabytes": entry.megabytes,
        "present": present is not None,
        "path": None if present is None else str(present),
    }
