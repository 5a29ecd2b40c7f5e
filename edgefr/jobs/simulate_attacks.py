"""Writes simulated presentation attacks of a collection of photographs into a folder."""

from __future__ import annotations

import shutil
import tempfile
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path, PurePosixPath

import cv2
import numpy as np

from edgefr.choices import FacePolicy
from edgefr.data.collections import FaceFolder
from edgefr.detection.base import Detector, select_face
from edgefr.errors import ImageError, InvalidArgumentError
from edgefr.io.files import atomic_write, sync_path, unwritable
from edgefr.io.private_files import make_folder
from edgefr.liveness.simulated_attacks import INSTRUMENTS, simulate_attack
from edgefr.types import Image


def simulate_attacks(
    folder: FaceFolder,
    detector: Detector,
    policy: FacePolicy,
    output: Path,
    seed: int,
    progress: Callable[[int], None],
) -> tuple[int, dict[str, str]]:
    """Make one attack of each species of every photograph.

    Args:
        folder: The photographs.
        detector: Finds the faces.
        policy: Which of several faces to take.
        output: A folder that does not exist yet: SPECIES/Name/picture.png. It appears as a whole or not at all.
        seed: Seed of all randomness. The same photographs and seed give the same attacks.
        progress: Called with 1 for every photograph.

    Returns:
        The number of pictures, and name -> reason for each photograph that was left out.

    Raises:
        InvalidArgumentError: The folder exists already, or the names of two photographs differ only in their suffix.
        UnavailableError: It cannot be written.
    """
    if output.exists():
        raise InvalidArgumentError(f"a new folder {output}", "one that exists", "choose another name with -o")
    paths = folder.new_names(lambda name: str(PurePosixPath(name).with_suffix(".png")))
    made, left_out = 0, {}
    with _new_folder(output) as temporary:
        for name in folder.names:
            try:
                photo = folder.read(name)
                face = select_face(detector.detect(photo), (photo.shape[0], photo.shape[1]), policy, name)
            except ImageError as error:
                left_out[name] = str(error)
            else:
                for species in INSTRUMENTS:
                    rng = np.random.default_rng((seed, zlib.crc32(f"{species}/{name}".encode())))
                    picture = _encode_png(simulate_attack(photo, face, species, rng))
                    with atomic_write(temporary / species / paths[name], private=True) as file:
                        file.write_bytes(picture)
                    made += 1
            progress(1)
    return made, left_out


@contextmanager
def _new_folder(path: Path) -> Iterator[Path]:
    """A hidden folder beside `path` that becomes it at the end, and is deleted on failure."""
    try:
        make_folder(path.parent, private=True)
        temporary = Path(tempfile.mkdtemp(dir=path.parent, prefix=f".{path.name}-"))
        try:
            yield temporary
            temporary.rename(path)
            sync_path(path.parent)
        finally:
            shutil.rmtree(temporary, ignore_errors=True)
    except OSError as error:
        raise unwritable(path, error) from error


def _encode_png(picture: Image) -> bytes:
    return bytes(cv2.imencode(".png", cv2.cvtColor(picture, cv2.COLOR_RGB2BGR))[1])
