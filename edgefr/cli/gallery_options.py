"""Options that the commands of `edgefr gallery` share: where the gallery is, and what unlocks it."""

from __future__ import annotations

import functools
import getpass
import inspect
import os
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from edgefr.cli.output import warn
from edgefr.errors import InvalidArgumentError, LockedError
from edgefr.io.credentials import credential, is_credential, secret_value

if TYPE_CHECKING:
    from edgefr.gallery.address import Address
    from edgefr.gallery.base import Gallery
    from edgefr.gallery.crypto.key_wrapping import Passphrase, Secret
    from edgefr.gallery.model_binding import ModelBinding
    from edgefr.gallery.pin import Pin
    from edgefr.recognition.verifier import Verifier

GALLERY_VARIABLE = "EDGEFR_GALLERY"
KEY_VARIABLE = "EDGEFR_GALLERY_KEY"
PIN_VARIABLE = "EDGEFR_GALLERY_PIN"
LOG_DAYS_VARIABLE = "EDGEFR_LOG_DAYS"

GalleryOption = Annotated[
    str | None,
    typer.Option(
        "--gallery",
        "-g",
        help="Gallery: a file, milvus://HOST:19530/NAME, milvus-lite:FILE.db/NAME or "
        "postgresql://USER@HOST:5432/DATABASE/NAME. Default: $EDGEFR_GALLERY, then a file in your data folder.",
    ),
]
KeyFileOption = Annotated[
    Path | None,
    typer.Option(
        help="Key file that unlocks the gallery. Default: $EDGEFR_GALLERY_KEY. Created together with a new gallery."
    ),
]
PassphraseEnvOption = Annotated[
    str | None, typer.Option(help="Environment variable with the passphrase. Default: ask for it.")
]
PassphraseFdOption = Annotated[int | None, typer.Option(help="File descriptor to read the passphrase from.")]
PinOption = Annotated[
    str | None,
    typer.Option(
        metavar="PATH|off",
        help="File that remembers identity and generation of galleries, so that one which was replaced is refused. "
        "Default: $EDGEFR_GALLERY_PIN, then the key file with .pin, or for a passphrase a file in your data folder.",
    ),
]
ExpectOption = Annotated[
    str | None,
    typer.Option(
        metavar="ID[:GENERATION]",
        help="Refuse another gallery, or an older copy, than `edgefr gallery pin` has printed.",
    ),
]
LogDaysOption = Annotated[
    float | None,
    typer.Option(
        help="Delete events from the log that are older than this number of days, at every change of the gallery. "
        "Default: $EDGEFR_LOG_DAYS, else the log is kept for ever."
    ),
]
PlainOption = Annotated[
    bool,
    typer.Option("--plain", help="Create an unprotected gallery: anyone who can read the file can read its contents."),
]
TransformOption = Annotated[
    bool,
    typer.Option(
        "--transform-templates",
        help="Create a gallery in a database with templates that are transformed by a secret of the gallery.",
    ),
]
FileEnvOption = Annotated[
    str | None,
    typer.Option(help="Environment variable with the passphrase of the export. Default: ask for it."),
]
FileFdOption = Annotated[int | None, typer.Option(help="File descriptor to read the passphrase of the export from.")]


@dataclass(frozen=True)
class PassphraseSource:
    """Where a passphrase comes from: an environment variable, a file descriptor, or else the terminal."""

    variable: str | None
    descriptor: int | None
    prompt: str = "Passphrase of the gallery: "

    def read(self, confirm: bool = False) -> Passphrase:
        """Read the passphrase; `confirm` asks twice on the terminal.

        Raises:
            InvalidArgumentError: There is none, or it is too short.
        """
        from edgefr.gallery.crypto.key_wrapping import Passphrase

        return Passphrase(self._text(confirm))

    def _text(self, confirm: bool) -> str:
        if self.variable is not None:
            if (found := secret_value(self.variable)) is None:
                raise InvalidArgumentError(f"a passphrase in ${self.variable}", "it not set", "export it")
            return found
        if self.descriptor is not None:
            try:
                with os.fdopen(self.descriptor, encoding="utf-8") as file:
                    return file.readline().rstrip("\n")
            except (OSError, ValueError) as error:
                raise InvalidArgumentError(
                    "",
                    f"The passphrase cannot be read from file descriptor {self.descriptor}: {error}",
                    f"open it, as in {self.descriptor}<FILE",
                ) from error
        if not sys.stdin.isatty():
            raise InvalidArgumentError(
                "a passphrase",
                "no terminal to ask on",
                "give --passphrase-env NAME or --passphrase-fd N, or lock the gallery with a --key-file",
            )
        text = getpass.getpass(self.prompt)
        if confirm and getpass.getpass("Again: ") != text:
            raise InvalidArgumentError("the same passphrase twice", "two different ones", "try again")
        return text


@dataclass(frozen=True)
class Access:
    """File or address of a gallery, and what unlocks it."""

    path: Path | Address
    key_file: Path | None
    passphrase: PassphraseSource
    pin: str | None = None
    expect: str | None = None
    log_days: float | None = None

    @classmethod
    def of(
        cls,
        gallery: str | None,
        key_file: Path | None,
        variable: str | None,
        descriptor: int | None,
        pin: str | None,
        expect: str | None,
        log_days: float | None,
    ) -> Access:
        """The access from the values of the seven options."""
        from edgefr.gallery.event_log import check_log_days

        if key_file is None:
            key_file = Path(named) if (named := os.environ.get(KEY_VARIABLE)) else credential(KEY_VARIABLE)
        source = PassphraseSource(variable, descriptor)
        days = check_log_days(_default_log_days() if log_days is None else log_days)
        return cls(_location(gallery), key_file, source, pin or os.environ.get(PIN_VARIABLE), expect, days)

    def open(self, pin: Pin | None = None) -> Gallery:
        """Open the gallery. Raises LockedError if a secret is given and it has none, and like `open_gallery`."""
        from edgefr.gallery.factory import open_gallery

        opened = open_gallery(self.path, self._secret, pin or self.pin_of(self.key_file))
        if opened.clock_notice:
            warn(f"edgefr: {opened.clock_notice}.")
        opened.log_days = self.log_days
        return opened

    def pin_of(self, key_file: Path | None, enforced: bool = True) -> Pin:
        """The pin of the gallery: where the option says, else beside a key file, else in the user's data folder."""
        from edgefr.gallery.pin import Expectation, Pin
        from edgefr.io.user_folders import user_folder

        expected = None if self.expect is None else Expectation.parse(self.expect)
        if self.pin is not None:
            path = None if self.pin == "off" else Path(self.pin)
        elif key_file is not None and not is_credential(key_file):  # whose folder cannot be written
            path = key_file.with_name(f"{key_file.name}.pin")
        else:
            folder = user_folder("data")
            path = None if folder is None else folder / "galleries.pin"
        required = self.pin not in (None, "off")
        return Pin(self.path, path, expected, required, enforced, lambda text: warn(f"edgefr: {text}"))

    def open_to_enrol(self, plain: bool, verifier: Verifier, transform: bool = False) -> Gallery:
        """As `open_or_create` for a model, after a check that it fits the gallery, which learns what it computes."""
        from edgefr.gallery.model_binding import ModelBinding
        from edgefr.gallery.model_check import record_model, require_model

        gallery = self.open_or_create(plain, ModelBinding.of(verifier), transform)
        try:
            require_model(gallery, verifier, lambda text: warn(f"edgefr: {text}"))
            record_model(gallery, verifier)
        except BaseException:
            gallery.close()
            raise
        return gallery

    def open_or_create(self, plain: bool, binding: ModelBinding, transform: bool = False) -> Gallery:
        """Open the gallery, or create it for a binding; `plain` creates it without a secret, `transform` with
        transformed templates. Whether the templates of a gallery fit the binding is for the caller to check.

        Raises:
            EdgefrError: As `open_gallery` and `create_gallery`.
        """
        from edgefr.gallery.factory import create_gallery, gallery_exists

        if not gallery_exists(self.path):
            secret = new_secret(plain, self.key_file, self.passphrase)
            pin = self.pin_of(self.key_file)
            created = create_gallery(self.path, secret, binding, lambda text: warn(f"edgefr: {text}"), pin, transform)
            created.log_days = self.log_days
            return created
        gallery = self.open()
        if transform and not gallery.has_transform:
            gallery.close()
            raise InvalidArgumentError(
                f"a gallery with transformed templates at {self.path}",
                "one without",
                "run `edgefr gallery transform-templates` on it first, or leave out --transform-templates",
            )
        return gallery

    def _secret(self, kind: str) -> Secret:
        from edgefr.gallery.crypto.key_wrapping import KeyFile, NoSecret

        if kind == "plain":
            self._check_no_secret()
            return NoSecret()
        if kind == "passphrase":
            return self.passphrase.read()
        if self.key_file is None:
            raise LockedError(f"the key file of {self.path}", "none", f"give it with --key-file or ${KEY_VARIABLE}")
        return KeyFile(self.key_file)

    def _check_no_secret(self) -> None:
        """A user who gives a secret expects a protected gallery. Another one may have been put in its place."""
        if (self.key_file, self.passphrase.variable, self.passphrase.descriptor) != (None, None, None):
            raise LockedError(
                f"{self.path} to be locked with the given secret",
                "a gallery without a secret",
                f"restore the right file, or leave out the key file (--key-file, ${KEY_VARIABLE}) and the passphrase",
            )


def _default_log_days() -> float | None:
    """The number of days in $EDGEFR_LOG_DAYS, None if it is not set."""
    text = os.environ.get(LOG_DAYS_VARIABLE)
    try:
        return None if not text else float(text)
    except ValueError as error:
        raise InvalidArgumentError(f"a number of days in ${LOG_DAYS_VARIABLE}", text or "", "correct it") from error


def with_access(command: Callable[..., None]) -> Callable[..., None]:
    """Replace the keyword parameter `access` of a command by the seven options that `Access.of` takes."""
    options = {
        "gallery": GalleryOption,
        "key_file": KeyFileOption,
        "passphrase_env": PassphraseEnvOption,
        "passphrase_fd": PassphraseFdOption,
        "pin": PinOption,
        "expect": ExpectOption,
        "log_days": LogDaysOption,
    }

    @functools.wraps(command)
    def wrapped(**values: Any) -> None:
        command(access=Access.of(*(values.pop(name) for name in options)), **values)

    parameters: list[inspect.Parameter] = []
    for parameter in inspect.signature(command, eval_str=True).parameters.values():
        if parameter.name == "access":
            parameters += (
                inspect.Parameter(name, inspect.Parameter.KEYWORD_ONLY, default=None, annotation=option)
                for name, option in options.items()
            )
        else:
            parameters.append(parameter.replace(kind=inspect.Parameter.KEYWORD_ONLY))
    wrapped.__signature__ = inspect.Signature(parameters)  # type: ignore[attr-defined]
    return wrapped


def open_or_create(access: Access, plain: bool, verifier: Verifier) -> Gallery:
    """Open the gallery; a new one is created, and stderr says what unlocks it."""
    from edgefr.gallery.factory import gallery_exists

    existed = gallery_exists(access.path)
    gallery = access.open_to_enrol(plain, verifier)
    if not existed:
        lock = "without a secret: anyone who can read it can read its contents"
        if not plain:
            lock = f"locked with {'your passphrase' if access.key_file is None else f'the key file {access.key_file}'}"
        warn(f"edgefr: created the gallery {access.path}, {lock}")
    return gallery


def new_secret(plain: bool, key_file: Path | None, passphrase: PassphraseSource) -> Secret:
    """The secret for a new lock. A key file that does not exist is created.

    Raises:
        InvalidArgumentError: Both --plain and a key file are given, or there is no passphrase.
    """
    from edgefr.gallery.crypto.key_wrapping import KeyFile, NoSecret

    if plain and key_file is not None:
        raise InvalidArgumentError("--plain or a key file", "both", "choose one")
    if plain:
        return NoSecret()
    if key_file is not None:
        return KeyFile(key_file) if key_file.exists() else KeyFile.create(key_file)
    return passphrase.read(confirm=True)


def _location(gallery: str | None) -> Path | Address:
    from edgefr.gallery.address import parse_address

    if named := gallery or os.environ.get(GALLERY_VARIABLE):
        return parse_address(named)
    from edgefr.io.user_folders import require_user_folder

    fix = f"name the gallery with --gallery or ${GALLERY_VARIABLE}"
    return require_user_folder("data", "the default gallery", fix) / "people.gallery"
