"""What is not kept but made anew, always byte for byte the same: aligned faces, a pairs file, weights by their names.

Nothing of edgefr is used here.
"""

from __future__ import annotations

import gzip
import hashlib
import json
import math
import struct
import zipfile
import zlib
from pathlib import Path
from typing import Any

import numpy as np

FOLDS, PEOPLE = 10, 16
"""People of a fold, with two pictures each: eight folds have just enough impostor pairs for a threshold."""
SIDE, PATCH = 112, 14

Header = dict[str, Any]
"""A safetensors file without its numbers: a name -> its type and shape, such as `F32 8 3`, and `__metadata__`."""


def write_material(folder: Path) -> None:
    """Faces, pairs, and the checkpoints that the recipes in `folder` begin with."""
    write_faces(folder / "faces.zip")
    write_pairs(folder / "pairs.txt")
    write_teacher(folder / "teacher.onnx")
    fused = json.loads(gzip.decompress((folder / "fused.header.json.gz").read_bytes()))
    write_weights(folder / "fused.safetensors", fused)
    for seat in "ab":
        prefix = f"backbone_{seat}."
        header = {name.replace(prefix, "net."): entry for name, entry in fused.items() if name.startswith(prefix)}
        write_weights(folder / f"{seat}.safetensors", header)


def write_faces(path: Path) -> Path:
    """A zip of two pictures of each person, named as LFW's are; they are BMP, whatever their names say."""
    random = np.random.RandomState(1)
    with zipfile.ZipFile(path, "w") as archive:
        for person in _people():
            patches = random.randint(30, 226, (SIDE // PATCH, SIDE // PATCH, 3))
            for number in (1, 2):
                noisy = np.clip(patches + random.randint(-30, 31, patches.shape), 0, 255).astype(np.uint8)
                name = zipfile.ZipInfo(f"{person}/{person}_{number:04d}.jpg", (1980, 1, 1, 0, 0, 0))
                archive.writestr(name, _bmp(noisy.repeat(PATCH, 0).repeat(PATCH, 1)))
    return path


def write_pairs(path: Path) -> Path:
    """LFW's pairs file: each person with themselves, and with the next of the fold."""
    lines = [f"{FOLDS} {PEOPLE}"]
    names = _people()
    for start in range(0, len(names), PEOPLE):
        fold = names[start : start + PEOPLE]
        lines += [f"{name} 1 2" for name in fold]
        lines += [f"{name} 1 {other} 2" for name, other in zip(fold, [*fold[1:], fold[0]], strict=True)]
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")
    return path


def write_teacher(path: Path) -> Path:
    """A detector that is none: what it would say is kept, and nobody asks it."""
    path.write_bytes(b"no network")
    return path


def _people() -> list[str]:
    return [f"P{number:03d}" for number in range(FOLDS * PEOPLE)]


def _bmp(picture: np.ndarray) -> bytes:
    """An RGB picture whose rows are a multiple of four bytes, without compression, which would be the library's."""
    height, width, _ = picture.shape
    pixels = picture[::-1, :, ::-1].tobytes()
    head = struct.pack("<2sIHHI", b"BM", 54 + len(pixels), 0, 0, 54)
    return head + struct.pack("<IiiHHIIiiII", 40, width, height, 1, 24, 0, len(pixels), 2835, 2835, 0, 0) + pixels


def write_weights(path: Path, header: Header) -> Path:
    """A safetensors file of these tensors with numbers that depend on its name and theirs alone."""
    # As safetensors itself orders them: larger numbers first, so that all are aligned.
    names = sorted(header.keys() - {"__metadata__"}, key=lambda name: (header[name].startswith("F32"), name))
    told: dict[str, Any] = {"__metadata__": header["__metadata__"]} if header.get("__metadata__") else {}
    parts, end = [], 0
    for name in names:
        kind, *shape = header[name].split()
        parts.append(_numbers(f"{path.name} {name}", kind, [int(size) for size in shape]))
        start, end = end, end + len(parts[-1])
        told[name] = {"dtype": kind, "shape": [int(size) for size in shape], "data_offsets": [start, end]}
    text = json.dumps(told).encode()
    text += b" " * (-len(text) % 8)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(struct.pack("<Q", len(text)) + text + b"".join(parts))
    return path


def _numbers(name: str, kind: str, shape: list[int]) -> bytes:
    """Ones for whole numbers, else random ones: weights as large as a net's are, what is squared not negative."""
    count = math.prod(shape)
    if kind == "I64":
        return np.ones(count, "<i8").tobytes()
    reach = math.sqrt(6 / math.prod(shape[1:])) if len(shape) > 1 else 0.1
    low, high = -reach, reach
    if "var" in name or "sq" in name or (len(shape) == 1 and name.endswith("weight")):
        low, high = 0.5, 1.5
    return np.random.RandomState(zlib.crc32(name.encode())).uniform(low, high, count).astype("<f4").tobytes()


def read_header(path: Path) -> Header:
    """The header of a safetensors file, without the places of the numbers."""
    return {
        name: entry if name == "__metadata__" else " ".join(map(str, (entry["dtype"], *entry["shape"])))
        for name, entry in _read(path)[0].items()
    }


def numbers_digest(path: Path) -> str:
    """Tells all tensors of a safetensors file, by name, type and shape, whatever their order, from others."""
    header, data = _read(path)
    digest = hashlib.sha256()
    for name in sorted(header.keys() - {"__metadata__"}):
        start, end = header[name]["data_offsets"]
        digest.update(f"{name} {header[name]['dtype']} {header[name]['shape']}".encode() + data[start:end])
    return digest.hexdigest()


def _read(path: Path) -> tuple[dict[str, Any], bytes]:
    content = path.read_bytes()
    (length,) = struct.unpack("<Q", content[:8])
    return json.loads(content[8 : 8 + length]), content[8 + length :]
