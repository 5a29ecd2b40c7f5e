"""The command line: one file per command, which parses, calls and prints.

Exit codes: 0 yes or done, 1 no (different people, a limit exceeded), 2 error.
"""

from __future__ import annotations

import atexit
import gc
import os
import sys
from typing import Annotated

import typer

from edgefr import __version__
from edgefr.cli.lazy_group import Listed, lazy_group, survive_closed_pipe
from edgefr.errors import EdgefrError, InternalError

COMMANDS: dict[str, Listed] = {
    # use
    "verify": Listed("verify.verify", "Decide whether two photographs show the same person."),
    "embed": Listed(
        "embed.embed", "Embed photographs into one .npz file, or millions of them into a folder of Parquet shards."
    ),
    "watch": Listed("watch.watch", "Recognise people live, from a camera, a stream or a recording."),
    "serve": Listed("serve.serve", "Serve an HTTP API to verify, identify and enrol."),
    # get and join models
    "adopt": Listed(
        "adopt.adopt",
        "Make a recogniser of another project usable: one .onnx file with edgefr's inputs, thresholds and manifest.",
    ),
    "fuse": Listed("fuse.fuse", "Fuse recognisers into one .onnx file, without training."),
    # prove
    "eval": Listed(
        "eval.eval", "Measure how often a model is wrong: accuracy, EER and TAR at FAR, each with its 95 % interval."
    ),
    "calibrate": Listed(
        "calibrate.calibrate",
        "Measure decision thresholds on your own faces, and write them into the model's manifest.",
    ),
    "export": Listed("export.export", "Export a checkpoint to one ONNX file."),
    "build-engine": Listed(
        "build_engine.build_engine",
        "Build the fastest engine for a device, and keep it only if it decides like the model.",
    ),
    "prune-engines": Listed(
        "prune_engines.prune_engines",
        "Remove engines of this device that another version of their runtime or another driver built.",
    ),
    "parity": Listed("parity.parity", "Compare the decisions of two models or engines on real faces."),
    "bench": Listed("bench.bench", "Measure latency and throughput of every installed runtime."),
    # teach
    "train": Listed("train.train", "Train a fused model by a recipe."),
    "sweep": Listed(
        "sweep.sweep",
        "Train several recipes, or one with several values of a setting, and compare them on their test folds.",
    ),
    "distill": Listed("distill.distill", "Train one small net to imitate a fused model or a backbone."),
    "train-detector": Listed(
        "train_detector.train_detector", "Train a face detector by a recipe and export it as one ONNX file."
    ),
    # begin
    "demo": Listed("demo.demo", "Verify photographs that scikit-image and matplotlib contain."),
    "doctor": Listed("doctor.doctor", "Show what this machine can run, what is missing, and how to install it."),
}

GALLERY_COMMANDS: dict[str, Listed] = {
    "enroll": Listed(
        "gallery_enroll.enroll", "Enrol a person from photographs or a camera, or all people in a folder of folders."
    ),
    "identify": Listed("gallery.identify", "Identify everyone on photographs."),
    "list": Listed("gallery_admin.list_people", "List the enrolled people."),
    "show": Listed("gallery_admin.show", "Show the images of a person and how similar each is to the template."),
    "remove": Listed(
        "gallery_admin.remove", "Remove a person permanently: all data and the key that encrypts it are deleted."
    ),
    "rename": Listed("gallery_admin.rename", "Rename a person."),
    "audit": Listed(
        "gallery_audit.audit",
        "Verify all records, images and events, find images and people that should be checked, and print the log.",
    ),
    "export": Listed("gallery_admin.export", "Export all people to one file, encrypted with a passphrase of its own."),
    "import": Listed("gallery_admin.import_", "Enrol all people of an export."),
    "rotate-key": Listed("gallery_admin.rotate_key", "Lock the gallery with a new secret."),
    "rebuild": Listed(
        "gallery_admin.rebuild",
        "Embed all people again with another model, from the crops that `enroll --keep-crops` has kept.",
    ),
    "pin": Listed(
        "gallery_pin.pin",
        "Show identity and generation of the gallery, and compare them with what is remembered outside its file.",
    ),
    "transform-templates": Listed(
        "gallery_transform.transform_templates",
        "Transform all templates in a database by a new secret of the gallery, which revokes the former transform.",
    ),
}

MODELS_COMMANDS: dict[str, Listed] = {
    "get": Listed("models.get", "Download a model into your data folder."),
    "add": Listed("models.add", "Store a published model that you have as a file."),
    "remove": Listed(
        "models.remove", "Remove a model from your data folder, with its thresholds and unfinished downloads of it."
    ),
    "path": Listed("models.path", "Print where the file of a model is; exit 2 if it is not present."),
}

DOOR_COMMANDS: dict[str, Listed] = {
    "check": Listed("door.check", "Check the rules of a door, and show what they decide at a time for a person."),
}

TOKENS_COMMANDS: dict[str, Listed] = {
    "add": Listed("tokens.add", "Make a token and print it."),
    "remove": Listed("tokens.remove", "Remove a token. A server that runs must be started again."),
}

DATA_COMMANDS: dict[str, Listed] = {
    "check": Listed(
        "data.check",
        "Find faults that spoil a training: corrupt, wrongly sized, duplicate and colour-swapped pictures.",
    ),
    "attack": Listed(
        "data.attack", "Make simulated presentation attacks of photographs: a print and a screen that are held up."
    ),
    "align": Listed("data.align", "Write the aligned face of every photograph of a collection into a zip."),
    "select": Listed(
        "data.select",
        "Write the pictures of some people into a zip, so that training, choosing and testing have different people.",
    ),
}

CONFIG_COMMANDS: dict[str, Listed] = {
    "check": Listed(
        "config.check", "Check a configuration file: every key and value against the options of the commands."
    ),
    "show": Listed(
        "config.show",
        "Show the values in effect and where each comes from: the environment, the configuration file or a default.",
    ),
}

SERVICE_COMMANDS: dict[str, Listed] = {
    "install": Listed("service.install", "Install a service of systemd that runs a command, with a hardened unit."),
    "check": Listed(
        "service.check", "Check an installed service: user, groups, secrets, configuration, unit, and whether it runs."
    ),
    "uninstall": Listed(
        "service.uninstall", "Stop a service and remove its unit. Its user, state and secrets are kept."
    ),
}

GROUP_COMMANDS: dict[str, dict[str, Listed]] = {
    "gallery": GALLERY_COMMANDS,
    "models": MODELS_COMMANDS,
    "data": DATA_COMMANDS,
    "config": CONFIG_COMMANDS,
    "service": SERVICE_COMMANDS,
}


def _print_version(version: bool) -> None:
    if version:
        print(f"edgefr {__version__}")
        raise typer.Exit


def _gallery() -> typer.Typer:
    return lazy_group(GALLERY_COMMANDS, help=GROUPS["gallery"].summary)


def _models() -> typer.Typer:
    from edgefr.cli.models import list_models

    group = lazy_group(MODELS_COMMANDS, no_args_is_help=False, invoke_without_command=True)
    group.callback()(survive_closed_pipe(list_models))
    return group


def _door() -> typer.Typer:
    return lazy_group(DOOR_COMMANDS, help=GROUPS["door"].summary)


def _tokens() -> typer.Typer:
    from edgefr.cli.tokens import list_tokens

    group = lazy_group(TOKENS_COMMANDS, no_args_is_help=False, invoke_without_command=True)
    group.callback()(survive_closed_pipe(list_tokens))
    return group


def _data() -> typer.Typer:
    return lazy_group(DATA_COMMANDS, help=GROUPS["data"].summary)


def _config() -> typer.Typer:
    return lazy_group(CONFIG_COMMANDS, help=GROUPS["config"].summary)


def _service() -> typer.Typer:
    return lazy_group(SERVICE_COMMANDS, help=GROUPS["service"].summary)


GROUPS: dict[str, Listed] = {
    "gallery": Listed(_gallery, "Enrol people and identify them in photographs."),
    "door": Listed(_door, "Check the rules by which `edgefr watch --rules` opens a door."),
    "models": Listed(_models, "List published models, and download them."),
    "tokens": Listed(_tokens, "Manage the tokens of `edgefr serve`."),
    "data": Listed(_data, "Check and prepare collections of faces."),
    "config": Listed(_config, "Check and show the configuration file edgefr.toml."),
    "service": Listed(_service, "Run watch or serve as a service of systemd."),
}

app = lazy_group(COMMANDS | GROUPS, name="edgefr", context_settings={"help_option_names": ["-h", "--help"]})


@app.callback()
def edgefr(
    version: Annotated[
        bool, typer.Option("--version", callback=_print_version, is_eager=True, help="Show the version and exit.")
    ] = False,
) -> None:
    """Accurate face verification for edge devices."""


def main() -> None:
    """Run a command. An error becomes one line on stderr and exit code 2; EDGEFR_DEBUG shows internal tracebacks."""
    atexit.register(gc.freeze)  # at the end, the collector would visit all objects of the libraries once more
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
