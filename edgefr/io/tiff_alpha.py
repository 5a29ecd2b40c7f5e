"""Keeps the colours of TIFF files with transparency as they are stored.

libtiff, which OpenCV uses, multiplies the colours of a TIFF with "unassociated" alpha by it, so that transparent parts
become black. The colours of all other formats stay as they are and the transparency is dropped. A TIFF that declares
its alpha as "associated" is decoded like that.
"""

from __future__ import annotations

import struct

EXTRA_SAMPLES = 338
"""The tag with the meaning of additional channels (TIFF 6.0, section 18)."""
SHORT, ASSOCIATED = 3, 1


def ignore_alpha(data: bytes) -> bytes:
    """Declare all additional channels of a TIFF's first directory as associated alpha.

    Args:
        data: The bytes of a picture file whose header `read_header` accepts.

    Returns:
        A changed copy of a TIFF with additional channels; other data as they are.
    """
    order = {b"II*\0": "<", b"MM\0*": ">"}.get(data[:4])
    if order is None:
        return data
    (at,) = struct.unpack_from(order + "I", data, 4)
    (entries,) = struct.unpack_from(order + "H", data, at)
    for entry in range(at + 2, at + 2 + 12 * entries, 12):
        tag, kind, count = struct.unpack_from(order + "HHI", data, entry)
        if tag != EXTRA_SAMPLES or kind != SHORT:
            continue
        (where,) = (entry + 8,) if count <= 2 else struct.unpack_from(order + "I", data, entry + 8)
        if where + 2 * count <= len(data):
            return data[:where] + struct.pack(f"{order}{count}H", *[ASSOCIATED] * count) + data[where + 2 * count :]
    return data
