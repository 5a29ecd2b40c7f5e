"""The command line: one file per command, which parses, calls and prints.

Exit codes: 0 yes or done, 1 no (different people, a limit exceeded), 2 error.
"""

from __future__ import annotations

import functools
import os
import sys
from collections.abc import Callable
from typing import Annotated, Any

import typer

from edgefr import __version__
from edgefr.cli import (
    adopt,
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
    fuse,
    gallery,
    gallery_admin,
    gallery_audit,
    gallery_enroll,
    gallery_pin,
    gallery_transform,
    models,
    parity,
    prune_engines,
    sweep,
    train,
    train_detector,
    verify,
    watch,
)
from edgefr.errors import EdgefrError, InternalError

Command = Callable[..., None]

COMMANDS: dict[str, Command] = {
    # use
    "verify": verify.verify,
    "embed": embed.embed,
    "watch": watch.watch,
    # get and join models
    "adopt": adopt.adopt,
    "fuse": fuse.fuse,
    # prove
    "eval": eval.eval,
    "calibrate": calibrate.calibrate,
    "export": export.export,
    "build-engine": build_engine.build_engine,
    "prune-engines": prune_engines.prune_engines,
    "parity": parity.parity,
    "bench": bench.bench,
    # teach
    "train": train.train,
    "sweep": sweep.sweep,
    "distill": distill.distill,
    "train-detector": train_detector.train_detector,
    # begin
    "demo": demo.demo,
    "doctor": doctor.doctor,
}

GALLERY_COMMANDS: dict[str, Command] = {
    "enroll": gallery_enroll.enroll,
    "identify": gallery.identify,
    "list": gallery_admin.list_people,
    "show": gallery_admin.show,
    "remove": gallery_admin.remove,
    "rename": gallery_admin.rename,
    "audit": gallery_audit.audit,
    "export": gallery_admin.export,
    "import": gallery_admin.import_,
    "rotate-key": gallery_admin.rotate_key,
    "rebuild": gallery_admin.rebuild,
    "pin": gallery_pin.pin,
    "transform-templates": gallery_transform.transform_templates,
}

MODELS_COMMANDS: dict[str, Command] = {
    "get": models.get,
    "add": models.add,
    "remove": models.remove,
    "path": models.path,
}

DATA_COMMANDS: dict[str, Command] = {"check": data.check, "align": data.align}


def _survive_closed_pipe(command: Command) -> Command:
    """Exit 141 if the reader of stdout goes away (`edgefr ... | head -1`), because 1 would mean "no"."""

    @functools.wraps(command)
    def wrapper(*arguments: Any, **options: Any) -> None:
        try:
            command(*arguments, **options)
            sys.stdout.flush()
        except BrokenPipeError:
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # else Python complains when it exits
            os._exit(141)

    return wrapper


def _group(commands: dict[str, Command], **settings: Any) -> typer.Typer:
    # Rich markup and pretty tracebacks would load rich, which takes as long as the rest of `edgefr --help`.
    settings = {"no_args_is_help": True} | settings
    group = typer.Typer(rich_markup_mode=None, pretty_exceptions_enable=False, **settings)
    for name, command in commands.items():
        group.command(name)(_survive_closed_pipe(command))
    return group


def _print_version(version: bool) -> None:
    if version:
        print(f"edgefr {__version__}")
        raise typer.Exit


app = _group(COMMANDS, name="edgefr", context_settings={"help_option_names": ["-h", "--help"]})
app.add_typer(_group(GALLERY_COMMANDS), name="gallery", help="Enrol people and identify them in photographs.")
models_app = _group(MODELS_COMMANDS, no_args_is_help=False, invoke_without_command=True)
models_app.callback()(_survive_closed_pipe(models.list_models))
app.add_typer(models_app, name="models")
app.add_typer(_group(DATA_COMMANDS), name="data", help="Check and prepare collections of faces.")


@app.callback()
def edgefr(
    version: Annotated[
        bool, typer.Option("--version", callback=_print_version, is_eager=True, help="Show the version and exit.")
    ] = False,
) -> None:
    """Accurate face verification for edge devices."""


def main() -> None:
    """Run a command. An error becomes one line on stderr and exit code 2; EDGEFR_DEBUG shows internal tracebacks."""
    try:
        app(prog_name="edgefr")  # also for `python -m edgefr`, whose completion could not be installed otherwise
    except EdgefrError as error:
        failure = error
    except Exception as error:
        if "EDGEFR_DEBUG" in os.environ:
            raise
        failure = InternalError.of(error)
    print(f"edgefr: {' '.join(str(failure).split())}", file=sys.stderr)
    sys.exit(failure.exit_code)
