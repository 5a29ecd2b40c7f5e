"""The command line: one file per verb; each parses, calls and prints.

Exit codes: 0 yes or done, 1 no (different people, a bound broken), 2 an error said in one sentence.
"""

from __future__ import annotations

import functools
import os
import sys
from collections.abc import Callable
from typing import Any

import typer

from edgefr.cli import (
    bench,
    build_engine,
    calibrate,
    data,
    demo,
    distill,
    doctor,
    embed,
    eval,
    export,
    gallery,
    gallery_admin,
    parity,
    prune_engines,
    sweep,
    train,
    train_detector,
    verify,
    watch,
)
from edgefr.errors import EdgefrError, InternalError


def _pipe_safe(command: Callable[..., None]) -> Callable[..., None]:
    """A reader that goes away (`edgefr ... | head -1`) must not look like the answer 1."""

    @functools.wraps(command)
    def safe(*arguments: Any, **options: Any) -> None:
        try:
            command(*arguments, **options)
            sys.stdout.flush()
        except BrokenPipeError:
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # or Python complains at exit
            os._exit(141)

    return safe


app = typer.Typer(
    name="edgefr",
    help="Accurate face verification for edge devices.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
)

for command in (
    verify.verify,
    embed.embed,
    train.train,
    sweep.sweep,
    distill.distill,
    train_detector.train_detector,
    eval.eval,
    export.export,
    build_engine.build_engine,
    prune_engines.prune_engines,
    parity.parity,
    calibrate.calibrate,
    bench.bench,
    doctor.doctor,
    watch.watch,
    demo.demo,
):
    app.command()(_pipe_safe(command))

datasets = typer.Typer(no_args_is_help=True, rich_markup_mode=None)
for of_data in (data.check, data.align):
    datasets.command()(_pipe_safe(of_data))
app.add_typer(datasets, name="data", help="Check and prepare collections of faces.")

people = typer.Typer(no_args_is_help=True, rich_markup_mode=None)
for of_people, verb in (
    (gallery.enroll, "enroll"),
    (gallery.identify, "identify"),
    (gallery_admin.list_people, "list"),
    (gallery_admin.show, "show"),
    (gallery_admin.remove, "remove"),
    (gallery_admin.rename, "rename"),
    (gallery_admin.audit, "audit"),
    (gallery_admin.export, "export"),
    (gallery_admin.import_, "import"),
    (gallery_admin.rotate_key, "rotate-key"),
    (gallery_admin.rebuild, "rebuild"),
):
    people.command(verb)(_pipe_safe(of_people))
app.add_typer(people, name="gallery", help="Enrol people and find out who is on a photograph.")


def main() -> None:
    """Run a command; what goes wrong is one sentence on stderr and exit code 2, never a traceback."""
    try:
        app()
    except EdgefrError as error:
        known = error
    except Exception as error:
        if "EDGEFR_DEBUG" in os.environ:
            raise
        known = InternalError.of(error)
    print(f"edgefr: {' '.join(str(known).split())}", file=sys.stderr)
    sys.exit(known.exit_code)
