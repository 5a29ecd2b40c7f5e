"""Models in a zip: only the members that are wanted are read, with bounds, and nothing in the zip decides a path."""

from __future__ import annotations

import hashlib
import lzma
import struct
import zipfile
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path, PurePosixPath
from typing import IO

from edgefr.catalogue import Entry, PublishedFile, by_digest
from edgefr.errors import WrongModelError
from edgefr.io.files import atomic_write

MAX_MODEL_BYTES = 2 << 30
"""Most bytes of a model whose size is not known: the limit of a protobuf message, and so of an ONNX file."""
MAX_UNPACKED_BYTES = 4 << 30
"""Most bytes to unpack in search of models: several times the largest pack."""
BLOCK = 1 << 20

DAMAGED = (
    zipfile.BadZipFile,
    zlib.error,
    lzma.LZMAError,
    struct.error,
    EOFError,
    NotImplementedError,
    RuntimeError,
    ValueError,
)
"""What `zipfile` raises for a file that is not a zip, damaged or encrypted."""


def unpack(pack: Path, file: PublishedFile, target: Path) -> None:
    """Unpack one model.

    Args:
        pack: A zip file.
        file: The model. Its member may be in any folder of the zip.
        target: The file to write.

    Raises:
        WrongModelError: The zip is damaged, or has no such member with this digest.
        UnavailableError: The file cannot be written.
    """
    with _opened(pack) as archive:
        for member in archive.infolist():
            if PurePosixPath(member.filename).name == file.name and member.file_size == (
                file.bytes or member.file_size
            ):
                with archive.open(member) as stream:
                    store(stream, file, target)
                return
    raise WrongModelError(f"{file.name} in {pack}", "no such member", "download the pack again")


def known_members(pack: Path) -> Iterator[tuple[Entry, PublishedFile, IO[bytes]]]:
    """Find the published models in a zip by their digests.

    Args:
        pack: A zip file.

    Yields:
        Model, file of the model, and a stream of its bytes, which is valid until the next one.

    Raises:
        WrongModelError: The zip is damaged, or unpacks to more than 4 GiB.
    """
    with _opened(pack) as archive:
        members = [member for member in archive.infolist() if not member.is_dir()]
        if sum(member.file_size for member in members) > MAX_UNPACKED_BYTES:
            raise WrongModelError(
                f"at most {MAX_UNPACKED_BYTES >> 30} GiB in {pack}", "more", "unpack the model and give its file"
            )
        for member in members:
            with archive.open(member) as stream:
                digest = _digest(stream)
            if (entry := by_digest(digest)) is not None:
                file = next(file for file in entry.files if file.sha256 == digest)
                with archive.open(member) as stream:
                    yield entry, file, stream


def store(stream: IO[bytes], file: PublishedFile, target: Path) -> None:
    """Write a model that appears complete and checked, or not at all.

    Args:
        stream: Its bytes.
        file: The model.
        target: The file to write.

    Raises:
        WrongModelError: The bytes are those of another file.
        UnavailableError: The file cannot be written.
    """
    limit = file.bytes or MAX_MODEL_BYTES
    digest, size = hashlib.sha256(), 0
    with atomic_write(target) as temporary:
        with temporary.open("wb") as output:
            for block in _blocks(stream):
                size += len(block)
                if size > limit:
                    break
                digest.update(block)
                output.write(block)
        if digest.hexdigest() != file.sha256:
            raise WrongModelError(f"SHA-256 {file.sha256} of {file.name}", digest.hexdigest(), "download it again")


@contextmanager
def _opened(pack: Path) -> Iterator[zipfile.ZipFile]:
    try:
        with zipfile.ZipFile(pack) as archive:
            yield archive
    except (*DAMAGED, OSError) as error:
        raise WrongModelError(f"a zip of models in {pack}", f"something else ({error})", "download it again") from error


def _digest(stream: IO[bytes]) -> str:
    digest = hashlib.sha256()
    for block in _blocks(stream):
        digest.update(block)
    return digest.hexdigest()


def _blocks(stream: IO[bytes]) -> Iterator[bytes]:
    """The bytes of a stream. An error of reading must not look like one of writing."""
    try:
        while block := stream.read(BLOCK):
            yield block
    except OSError as error:
        raise WrongModelError("a model that can be read", str(error), "download it again") from error
