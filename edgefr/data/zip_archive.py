"""Pictures in a zip, read by many processes at once."""

from __future__ import annotations

import struct
import zipfile
import zlib
from operator import attrgetter
from pathlib import Path

import numpy as np

from edgefr.errors import EdgefrError
from edgefr.io.jpeg import MAX_PICTURE_BYTES
from edgefr.io.shared_file import SharedFile

LOCAL_HEADER = 30
ENCRYPTED = 1


class ZipPictures:
    """The members of a zip. Python's zipfile lists them; they are read here, for its `ZipFile` is one position in
    one file behind one lock: nothing that processes can share.
    """

    def __init__(self, path: Path) -> None:
        """List the members.

        Raises:
            EdgefrError: the file is no zip.
        """
        try:
            with zipfile.ZipFile(path) as archive:
                members = {member.filename: member for member in archive.infolist()}
            self._file = SharedFile(path)
        except (OSError, ValueError, NotImplementedError, struct.error, zipfile.BadZipFile) as error:
            raise EdgefrError(f"a zip of faces in {path}", f"another file ({error})", "check the path") from error
        self._place = {name: place for place, name in enumerate(members)}
        numbers = attrgetter("header_offset", "compress_size", "file_size", "CRC", "compress_type", "flag_bits")
        self._members = np.array([numbers(member) for member in members.values()], np.int64).reshape(-1, 6)
        self.names = tuple(members)

    def read(self, name: str) -> bytes:
        """The bytes of a member (PKWARE APPNOTE, section 4.3.7).

        Raises:
            KeyError: there is no such member.
            ValueError: what was found instead of a whole one.
        """
        offset, packed, size, checksum, method, flags = self._members[self._place[name]].tolist()
        if max(packed, size) > MAX_PICTURE_BYTES:
            raise ValueError(f"more than {MAX_PICTURE_BYTES >> 20} MiB")
        if flags & ENCRYPTED or method not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
            raise ValueError("encryption, or another compression than deflate")
        header = self._file.read(offset, LOCAL_HEADER) if offset >= 0 else b""
        if len(header) < LOCAL_HEADER or not header.startswith(b"PK\3\4"):
            raise ValueError("no zip member where one should begin")
        name_length, extra_length = struct.unpack_from("<HH", header, 26)
        data = self._file.read(offset + LOCAL_HEADER + name_length + extra_length, packed)
        if method == zipfile.ZIP_DEFLATED:
            data = _inflated(data, size)
        if len(data) != size or zlib.crc32(data) != checksum:
            raise ValueError("a zip member with a wrong checksum")
        return data


def _inflated(data: bytes, size: int) -> bytes:
    try:
        return zlib.decompressobj(-zlib.MAX_WBITS).decompress(data, size + 1)  # 0 would mean without bound
    except zlib.error as error:
        raise ValueError(f"damaged compression ({error})") from error
