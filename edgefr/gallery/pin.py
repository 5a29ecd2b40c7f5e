"""Pins: what is known about galleries outside their files, to notice when one is replaced.

Whoever can write the file of a gallery can put another gallery in its place that the same key opens, one without a
secret, or an older copy of itself. A file of pins, kept where they cannot write, has the identity, the kind of lock and
the generation of every gallery. The generation is the number of changes.

The pin is written after a change is on the disk, and only to increase, so a crash in between, a pin that cannot be
written or several writers leave it behind the gallery, never ahead: there is no false alarm. Copies that are older than
the gallery but not older than its pin are not noticed: those that lack what was changed after the pin was last written.
"""

from __future__ import annotations

import fcntl
import json
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path

from edgefr.errors import EdgefrError, InvalidArgumentError, UnavailableError
from edgefr.gallery.address import Address
from edgefr.io.files import atomic_write, unwritable
from edgefr.io.private_files import make_folder

FORMAT = "edgefr gallery pins 1"
PLAIN = "plain"
CHOOSE_PIN = "choose another --pin, or --pin off"


class ReplacedGalleryError(EdgefrError):
    """A gallery is not the one that is pinned, or an older copy of it."""


@dataclass(frozen=True)
class GalleryState:
    """What a pin remembers of a gallery.

    Attributes:
        identity: Random identity from its creation, 32 hexadecimal digits.
        lock: Kind of secret that opens it: "plain", "key file" or "passphrase".
        generation: Number of changes so far. In a database only changes of the template transform count.
    """

    identity: str
    lock: str
    generation: int


@dataclass(frozen=True)
class Expectation:
    """A gallery as a user names it: its identity, and the generation that it has reached at least."""

    identity: str
    generation: int = 0

    @classmethod
    def parse(cls, text: str) -> Expectation:
        """Read `ID` or `ID:GENERATION`.

        Raises:
            InvalidArgumentError: It has another form.
        """
        identity, colon, generation = text.partition(":")
        if len(identity) != 32 or set(identity) - set("0123456789abcdef") or bool(colon) is not generation.isdecimal():
            raise InvalidArgumentError(
                "ID or ID:GENERATION for --expect", repr(text[:80]), "copy it from the output of `edgefr gallery pin`"
            )
        return cls(identity, int(generation or 0))


@dataclass
class Pin:
    """The pin of one gallery in a file of pins.

    Attributes:
        location: The gallery.
        path: The file of pins, or None to pin nothing.
        expected: What the gallery must be besides.
        required: Whether it is an error if the pin cannot be written when the gallery is opened.
        enforced: Whether `check` refuses a gallery; otherwise it only keeps the error in `problem`.
        on_notice: Receives a sentence about a pin that cannot be written later.
        problem: Why the gallery that was opened is not the one that is pinned.
        found: The state of the gallery when it was opened.
    """

    location: Path | Address
    path: Path | None
    expected: Expectation | None = None
    required: bool = False
    enforced: bool = True
    on_notice: Callable[[str], None] = lambda _text: None
    problem: ReplacedGalleryError | None = field(default=None, init=False)
    found: GalleryState | None = field(default=None, init=False)

    def check(self, found: GalleryState) -> None:
        """Compare a gallery with its pin when it is opened, and pin a gallery with a secret that has no pin.

        Raises:
            ReplacedGalleryError: It is another gallery, or an older copy.
            UnavailableError: The pins cannot be read, or `required` and they cannot be written.
        """
        self.found = found
        self._check_expected(found)
        self.problem = self._mismatch(found)
        if self.problem is not None and self.enforced:
            raise self.problem
        if not self.enforced or (found.lock == PLAIN and not self.required):
            return
        try:
            self._write(found)
        except UnavailableError:
            if self.required:
                raise

    def forget(self) -> None:
        """Remove the pin of a gallery that is gone, before another one is created; `on_notice` says so.

        Raises:
            UnavailableError: The pins cannot be read or written.
        """
        if self.path is None or (former := self.read()) is None:
            return
        self.on_notice(f"{self.location} was the gallery {former.identity}, which is gone; a new one is created")
        with self._locked():
            self._write_all({key: one for key, one in self._read().items() if key != self._key})

    def advance(self, state: GalleryState) -> None:
        """Remember that a gallery has changed. The change is made, so a pin that cannot be written is only reported."""
        try:
            if self.read() is not None:
                self._write(state)
        except EdgefrError as error:
            self._report(error)

    def replace(self, state: GalleryState) -> None:
        """Remember a gallery after its lock was changed, like `advance`."""
        try:
            if state.lock != PLAIN or self.required or self.read() is not None:
                self._write(state, replace=True)
        except EdgefrError as error:
            self._report(error)

    def accept(self, state: GalleryState) -> None:
        """Pin a gallery as it is, whatever was pinned.

        Raises:
            UnavailableError: The pins cannot be written.
        """
        self._write(state, replace=True)

    def read(self) -> GalleryState | None:
        """The pin, if there is one.

        Raises:
            UnavailableError: The file of pins cannot be read.
        """
        return self._read().get(self._key)

    def _report(self, error: EdgefrError) -> None:
        self.on_notice(f"the change is saved, but the pin of {self.location} is not: {error}")

    @property
    def _key(self) -> str:
        if isinstance(self.location, Path):  # links are not followed, because they could be replaced as well
            return os.path.abspath(self.location)  # noqa: PTH100
        return str(self.location)

    def _check_expected(self, found: GalleryState) -> None:
        wanted = self.expected
        if wanted is not None and (found.identity != wanted.identity or found.generation < wanted.generation):
            raise ReplacedGalleryError(
                f"the gallery {wanted.identity} of generation {wanted.generation} or later at {self.location}",
                f"{found.identity} of generation {found.generation}",
                "restore the right gallery, or correct --expect",
            )

    def _mismatch(self, found: GalleryState) -> ReplacedGalleryError | None:
        pinned = self.read()
        if pinned is None:
            return None
        accept = "restore the right one, or, if you replaced it yourself, run `edgefr gallery pin --accept`"
        where = f"at {self.location}, as {self.path} remembers"
        if found.identity != pinned.identity:
            return ReplacedGalleryError(
                f"the gallery {pinned.identity} {where}", f"another gallery, {found.identity}", accept
            )
        if found.lock == PLAIN != pinned.lock:
            return ReplacedGalleryError(
                f"a gallery locked with a {pinned.lock} {where}", "one without a secret", accept
            )
        if found.generation < pinned.generation:
            return ReplacedGalleryError(
                f"generation {pinned.generation} or later {where}",
                f"an older copy, of generation {found.generation}",
                accept,
            )
        return None

    def _write(self, state: GalleryState, replace: bool = False) -> None:
        if self.path is None:
            return
        with self._locked():
            pins = self._read()
            pinned = pins.get(self._key)
            is_newer = pinned is None or (pinned.identity == state.identity and pinned.generation < state.generation)
            if is_newer or replace:
                self._write_all(pins | {self._key: state})

    def _write_all(self, pins: dict[str, GalleryState]) -> None:
        assert self.path is not None, "the caller has checked that there are pins"
        galleries = {key: asdict(one) for key, one in sorted(pins.items())}
        with atomic_write(self.path, private=True) as temporary:
            temporary.write_text(json.dumps({"format": FORMAT, "galleries": galleries}) + "\n", encoding="utf-8")

    @contextmanager
    def _locked(self) -> Iterator[None]:
        """Wait for other processes that write the pins: lock their folder, because the file is replaced."""
        assert self.path is not None, "the caller has checked that there are pins"
        try:
            make_folder(self.path.parent, private=True)
            folder = os.open(self.path.parent, os.O_RDONLY)
        except OSError as error:
            raise unwritable(self.path, error, CHOOSE_PIN) from error
        try:
            fcntl.flock(folder, fcntl.LOCK_EX)
            yield
        except OSError as error:
            raise unwritable(self.path, error, CHOOSE_PIN) from error
        finally:
            os.close(folder)

    def _read(self) -> dict[str, GalleryState]:
        if self.path is None:
            return {}
        try:
            raw = json.loads(self.path.read_text(encoding="utf-8"))
            if raw["format"] != FORMAT:
                raise ValueError(raw["format"])
            pins = {key: GalleryState(**one) for key, one in raw["galleries"].items()}
            fields = [(type(one.identity), type(one.lock), type(one.generation)) for one in pins.values()]
            if any(types != (str, str, int) for types in fields):
                raise TypeError("fields")
        except FileNotFoundError:
            return {}
        except OSError as error:
            raise UnavailableError(
                "", f"The pins of galleries in {self.path} cannot be read ({error.strerror})", CHOOSE_PIN
            ) from error
        except (ValueError, TypeError, KeyError, AttributeError, RecursionError) as error:
            raise UnavailableError(
                f"pins of galleries in {self.path}",
                "something else",
                f"restore or delete that file, or {CHOOSE_PIN}",
            ) from error
        return pins
