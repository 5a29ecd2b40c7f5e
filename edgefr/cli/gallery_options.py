"""Options that the gallery's commands share: which file, and what unlocks it."""

from __future__ import annotations

import getpass
import os
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from edgefr.cli.output import warn
from edgefr.errors import EdgefrError

if TYPE_CHECKING:
    from edgefr.gallery.address import Address
    from edgefr.gallery.base import Gallery
    from edgefr.gallery.crypto.key_wrapping import Passphrase, Secret
    from edgefr.gallery.model_binding import ModelBinding

GALLERY_VARIABLE = "EDGEFR_GALLERY"
KEY_VARIABLE = "EDGEFR_GALLERY_KEY"

GalleryOption = Annotated[
    str | None,
    typer.Option(
        "--gallery",
        "-g",
        help="The gallery's file, or where a database keeps it: milvus://HOST:19530/NAME, milvus-lite:FILE.db/NAME, "
        "postgresql://USER@HOST:5432/DATABASE/NAME; else $EDGEFR_GALLERY, else a file in your data folder.",
    ),
]
KeyFileOption = Annotated[
    Path | None,
    typer.Option(help="The key file that locks the gallery; else $EDGEFR_GALLERY_KEY. A new gallery makes a new one."),
]
PassphraseEnvOption = Annotated[
    str | None, typer.Option(help="Name of the environment variable that has the passphrase; else it is asked for.")
]
PassphraseFdOption = Annotated[int | None, typer.Option(help="File descriptor to read the passphrase's line from.")]
PlainOption = Annotated[
    bool, typer.Option("--plain", help="Make a new gallery without any secret: who has the file has all in it.")
]
FileEnvOption = Annotated[
    str | None,
    typer.Option(help="Name of the environment variable with the export's passphrase; else it is asked for."),
]
FileFdOption = Annotated[int | None, typer.Option(help="File descriptor to read the export's passphrase from.")]


@dataclass(frozen=True)
class Source:
    """Where a passphrase comes from: an environment variable, a file descriptor, else whoever sits at the terminal."""

    variable: str | None
    descriptor: int | None
    prompt: str = "Passphrase of the gallery: "

    def read(self, twice: bool = False) -> Passphrase:
        """The passphrase, asked for `twice` where a new one might be mistyped.

        Raises:
            EdgefrError: there is none, or it is too short.
        """
        from edgefr.gallery.crypto.key_wrapping import Passphrase

        return Passphrase(self._text(twice))

    def _text(self, twice: bool) -> str:
        if self.variable is not None:
            if (found := os.environ.get(self.variable)) is None:
                raise EdgefrError(f"a passphrase in ${self.variable}", "it not set", "export it")
            return found
        if self.descriptor is not None:
            try:
                with os.fdopen(self.descriptor, encoding="utf-8") as file:
                    return file.readline().rstrip("\n")
            except (OSError, ValueError) as error:
                raise EdgefrError(
                    f"a passphrase on file descriptor {self.descriptor}",
                    str(error),
                    f"open it, as in {self.descriptor}<FILE",
                ) from error
        if not sys.stdin.isatty():
            raise EdgefrError(
                "a passphrase",
                "no terminal to ask on",
                "give --passphrase-env NAME or --passphrase-fd N, or lock the gallery with a --key-file",
            )
        text = getpass.getpass(self.prompt)
        if twice and getpass.getpass("Again: ") != text:
            raise EdgefrError("the same passphrase twice", "two", "try again")
        return text


@dataclass(frozen=True)
class Access:
    """Where a gallery is and what unlocks it, as the command line says."""

    path: Path | Address
    key_file: Path | None
    passphrase: Source

    @classmethod
    def of(cls, gallery: str | None, key_file: Path | None, variable: str | None, descriptor: int | None) -> Access:
        if key_file is None and (named := os.environ.get(KEY_VARIABLE)):
            key_file = Path(named)
        return cls(_place(gallery), key_file, Source(variable, descriptor))

    def open(self) -> Gallery:
        """The gallery, unlocked.

        Raises:
            EdgefrError: there is none, or it cannot be unlocked, or needs no secret where one is given.
        """
        from edgefr.gallery.factory import open_gallery

        return open_gallery(self.path, self._secret)

    def open_or_create(self, plain: bool, binding: ModelBinding) -> Gallery:
        """The gallery, or a new one where there is none.

        Raises:
            EdgefrError: it cannot be unlocked or made, or something else made its templates.
        """
        from edgefr.gallery.factory import create_gallery, gallery_exists

        if not gallery_exists(self.path):
            secret = new_secret(plain, self.key_file, self.passphrase)
            return create_gallery(self.path, secret, binding, lambda text: warn(f"edgefr: {text}"))
        gallery = self.open()
        gallery.binding.require_compatible(binding, self.path)
        return gallery

    def _secret(self, wanted: str) -> Secret:
        """The secret of the kind that the gallery wants."""
        from edgefr.gallery.crypto.key_wrapping import KeyFile, NoSecret

        if wanted == "plain":
            self._insist_on_no_secret()
            return NoSecret()
        if wanted == "passphrase":
            return self.passphrase.read()
        if self.key_file is None:
            raise EdgefrError(
                f"the key file that locks {self.path}", "none", f"give it with --key-file or ${KEY_VARIABLE}"
            )
        return KeyFile(self.key_file)

    def _insist_on_no_secret(self) -> None:
        """A gallery without a lock was not made by who gives a secret: it may have been put in the right one's place.

        Raises:
            EdgefrError: a secret is given.
        """
        if (self.key_file, self.passphrase.variable, self.passphrase.descriptor) != (None, None, None):
            raise EdgefrError(
                f"{self.path} locked with the secret given",
                "it without any",
                (f"restore the right file, or leave out the key file (--key-file, ${KEY_VARIABLE}) and the passphrase"),
            )


def new_secret(plain: bool, key_file: Path | None, passphrase: Source) -> Secret:
    """A secret to lock with; a key file that is not there yet is made.

    Raises:
        EdgefrError: a secret is given beside --plain, or none can be read.
    """
    from edgefr.gallery.crypto.key_wrapping import KeyFile, NoSecret

    if plain and key_file is not None:
        raise EdgefrError("--plain or a key file", "both", "choose one")
    if plain:
        return NoSecret()
    if key_file is not None:
        return KeyFile(key_file) if key_file.exists() else KeyFile.create(key_file)
    return passphrase.read(twice=True)


def _place(gallery: str | None) -> Path | Address:
    from edgefr.gallery.address import address_of

    if named := gallery or os.environ.get(GALLERY_VARIABLE):
        return address_of(named)
    import platformdirs

    return Path(platformdirs.user_data_dir("edgefr")) / "people.gallery"
