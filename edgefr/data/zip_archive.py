"""Pictures in a zip, which many processes can read at the same time."""

from __future__ import annotations

import struct
import zipfile
import zlib
from operator import attrgetter
from pathlib import Path

import numpy as np

from edgefr.errors import EdgefrError
from edgefr.io.jpeg import MAX_PICTURE_BYTES
from edgefr.io.picture_header import SIGNATURE_BYTES
from edgefr.io.shared_file import SharedFile

LOCAL_HEADER = 30
ENCRYPTED = 1
PEEK_BYTES = 4096
"""Compressed bytes from which the first bytes of a member are read."""


class ZipPictures:
    """The members of a zip.

    `zipfile` lists them. They are read here, because a `ZipFile` has one position in its file, which forked processes
    would share, and 500 bytes for each member, which every worker process would hold again.
    """

    def __init__(self, path: Path) -> None:
        """List the members.

        Raises:
            EdgefrError: The file is not a zip.
        """
        try:
            with zipfile.ZipFile(path) as archive:
                members = {member.filename: member for member in archive.infolist()}
            self._file = SharedFile(path)
        except (OSError, ValueError, NotImplementedError, struct.error, zipfile.BadZipFile) as error:
            raise EdgefrError(
                "",
                f"{path} is not a face collection" + (f" ({error})" if path.suffix.lower() == ".zip" else ""),
                "give a folder, .zip, .rec or .csv of faces",
            ) from error
        self._index = {name: index for index, name in enumerate(members)}
        numbers = attrgetter("header_offset", "compress_size", "file_size", "CRC", "compress_type", "flag_bits")
        self._members = np.array([numbers(member) for member in members.values()], np.int64).reshape(-1, 6)
        self.names = tuple(members)

    def read(self, name: str) -> bytes:
        """Read a member (PKWARE APPNOTE, section 4.3.7).

        Raises:
            KeyError: There is no such member.
            ValueError: What was found instead of a whole member.
        """
        offset, packed, size, checksum, method, flags = self._members[self._index[name]].tolist()
        if max(packed, size) > MAX_PICTURE_BYTES:
            raise ValueError(f"more than {MAX_PICTURE_BYTES >> 20} MiB")
        if flags & ENCRYPTED or method not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
            raise ValueError("encryption, or another compression than deflate")
        data = self._packed(offset, packed)
        try:
            if method == zipfile.ZIP_DEFLATED:
                data = zlib.decompressobj(-zlib.MAX_WBITS).decompress(data, size + 1)  # 0 would mean without bound
        except zlib.error as error:
            raise ValueError(f"damaged compression ({error})") from error
        if len(data) != size or zlib.crc32(data) != checksum:
            raise ValueError("a zip member with a wrong checksum")
        return data

    def read_start(self, name: str, count: int = SIGNATURE_BYTES) -> bytes:
        """The first bytes of a member; none if it cannot be read."""
        offset, packed, _, _, method, flags = self._members[self._index[name]].tolist()
        try:
            start = b"" if flags & ENCRYPTED else self._packed(offset, min(packed, PEEK_BYTES))
            if method == zipfile.ZIP_DEFLATED:
                start = zlib.decompressobj(-zlib.MAX_WBITS).decompress(start, count)
        except (ValueError, struct.error, zlib.error, OSError):
            return b""
        return start[:count]

    def _packed(self, offset: int, length: int) -> bytes:
        """Compressed bytes of the member with its header at `offset`."""
        header = self._file.read(offset, LOCAL_HEADER) if offset >= 0 else b""
        if len(header) < LOCAL_HEADER or not header.startswith(b"PK\3\4"):
            raise ValueError("no zip member where one should begin")
        name_length, extra_length = struct.unpack_from("<HH", header, 26)
        return self._file.read(offset + LOCAL_HEADER + name_length + extra_length, length)
