"""A folder with sample photographs and an encrypted gallery, as the examples of documents and docstrings expect it."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import cv2
import pytest

from tests.conftest import REPOSITORY

PASSPHRASE = "correct horse"  # noqa: S105 - that of the examples


def make_album(folder: Path) -> Path:
    """Write two photographs of one person under several names, and a gallery with this person, into an empty folder."""
    pytest.importorskip("skimage")
    pytest.importorskip("matplotlib")
    from edgefr.demo import ASTRONAUT, COPY, demo_photos

    photos = demo_photos()
    for name in ("a.jpg", "ada1.jpg"):
        cv2.imwrite(str(folder / name), cv2.cvtColor(photos[ASTRONAUT], cv2.COLOR_RGB2BGR))
    for name in ("b.jpg", "ada2.jpg", "visitor.jpg"):
        cv2.imwrite(str(folder / name), cv2.cvtColor(photos[COPY], cv2.COLOR_RGB2BGR))
    inherited = {name: value for name, value in os.environ.items() if not name.startswith("EDGEFR_")}
    environment = inherited | {"PASSPHRASE": PASSPHRASE, "PYTHONPATH": str(REPOSITORY)}
    options = ["--gallery", "people.gallery", "--passphrase-env", "PASSPHRASE"]
    command = [sys.executable, "-m", "edgefr", "gallery", "enroll", "Ada", "a.jpg", *options]
    subprocess.run(command, cwd=folder, env=environment, check=True)
    return folder
