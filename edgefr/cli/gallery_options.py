"""Options that the gallery's commands share: which file, and what unlocks it."""

from __future__ import annotations

import getpass
import os
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from edgefr.errors import EdgefrError

if TYPE_CHECKING:
    from edgefr.gallery.binding import Binding
    from edgefr.gallery.gallery import Gallery
    from edgefr.gallery.lock import Passphrase, Secret

GALLERY_VARIABLE = "EDGEFR_GALLERY"
KEY_VARIABLE = "EDGEFR_GALLERY_KEY"

GalleryOption = Annotated[
    Path | None,
    typer.Option("--gallery", "-g", help="The gallery's file; else $EDGEFR_GALLERY, else one in your data folder."),
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
        from edgefr.gallery.lock import Passphrase

        return Passphrase(self._text(twice))

    def _text(self, twice: bool) -> str:
        if self.variable is not None:
            if (found := os.environ.get(self.variable)) is None:
                raise EdgefrError(f"expected a passphrase in ${self.variable}, found it not set: export it")
            return found
        if self.descriptor is not None:
            try:
                with os.fdopen(self.descriptor, encoding="utf-8") as file:
                    return file.readline().rstrip("\n")
            except (OSError, ValueError) as error:
                raise EdgefrError(
                    f"expected a passphrase on file descriptor {self.descriptor}, found {error}: open it, as in "
                    f"{self.descriptor}<FILE"
                ) from error
        if not sys.stdin.isatty():
            raise EdgefrError(
                "expected a passphrase, found no terminal to ask on: give --passphrase-env NAME or --passphrase-fd N, "
                "or lock the gallery with a --key-file"
            )
        text = getpass.getpass(self.prompt)
        if twice and getpass.getpass("Again: ") != text:
            raise EdgefrError("expected the same passphrase twice, found two: try again")
        return text


@dataclass(frozen=True)
class Access:
    """The file of a gallery and what unlocks it, as the command line says."""

    path: Path
    key_file: Path | None
    passphrase: Source

    @classmethod
    def of(cls, gallery: Path | None, key_file: Path | None, variable: str | None, descriptor: int | None) -> Access:
        if key_file is None and (named := os.environ.get(KEY_VARIABLE)):
            key_file = Path(named)
        return cls(gallery or _default(), key_file, Source(variable, descriptor))

    def open(self) -> Gallery:
        """The gallery, unlocked.

        Raises:
            EdgefrError: there is none, or it cannot be unlocked, or needs no secret where one is given.
        """
        from edgefr.gallery.gallery import Gallery
        from edgefr.gallery.lock import KeyFile, Plain
        from edgefr.gallery.store import secret_wanted

        wanted = secret_wanted(self.path)
        if wanted == "plain":
            self._insist_on_no_secret()
            return Gallery.open(self.path, Plain())
        if wanted == "passphrase":
            return Gallery.open(self.path, self.passphrase.read())
        if self.key_file is None:
            raise EdgefrError(
                f"expected the key file that locks {self.path}, found none: give it with --key-file or ${KEY_VARIABLE}"
            )
        return Gallery.open(self.path, KeyFile(self.key_file))

    def open_or_create(self, plain: bool, binding: Binding) -> Gallery:
        """The gallery, or a new one where there is none.

        Raises:
            EdgefrError: it cannot be unlocked or made, or something else made its templates.
        """
        from edgefr.gallery.gallery import Gallery
        from edgefr.gallery.store import is_gallery

        if not is_gallery(self.path):
            return Gallery.create(self.path, new_secret(plain, self.key_file, self.passphrase), binding)
        gallery = self.open()
        gallery.binding.insist_on(binding, self.path)
        return gallery

    def _insist_on_no_secret(self) -> None:
        """A gallery without a lock was not made by who gives a secret: it may have been put in the right one's place.

        Raises:
            EdgefrError: a secret is given.
        """
        if (self.key_file, self.passphrase.variable, self.passphrase.descriptor) != (None, None, None):
            raise EdgefrError(
                f"expected {self.path} locked with the secret given, found it without any: restore the right file, or "
                f"leave out the key file (--key-file, ${KEY_VARIABLE}) and the passphrase"
            )


def new_secret(plain: bool, key_file: Path | None, passphrase: Source) -> Secret:
    """A secret to lock with; a key file that is not there yet is made.

    Raises:
        EdgefrError: a secret is given beside --plain, or none can be read.
    """
    from edgefr.gallery.lock import KeyFile, Plain

    if plain and key_file is not None:
        raise EdgefrError("expected --plain or a key file, found both: choose one")
    if plain:
        return Plain()
    if key_file is not None:
        return KeyFile(key_file) if key_file.exists() else KeyFile.create(key_file)
    return passphrase.read(twice=True)


def _default() -> Path:
    if named := os.environ.get(GALLERY_VARIABLE):
        return Path(named)
    import platformdirs

    return Path(platformdirs.user_data_dir("edgefr")) / "people.gallery"
