"""The demonstration: photographs that scikit-image and matplotlib carry, verified and drawn."""

from __future__ import annotations

import tempfile
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from edgefr.data.degradations import jpeg
from edgefr.errors import EdgefrError, require_extra
from edgefr.io.files import atomic_write
from edgefr.recognition.verifier import VerificationResult, Verifier
from edgefr.types import Image

HEIGHT = 480
GREEN, RED, WHITE = (90, 200, 90), (230, 80, 80), (255, 255, 255)


@dataclass(frozen=True)
class Answer:
    """One comparison of the demonstration, and whether the verifier got it right."""

    first: str
    second: str
    same: bool
    right: bool
    similarity: float
    threshold: float

    def to_dict(self) -> dict[str, Any]:
        return asdict(self)

    def sentence(self) -> str:
        said = "the same person" if self.same else "different people"
        relation = "reaches" if self.same else "stays below"
        return (
            f"{self.first} and {self.second}: {said} (similarity {self.similarity:.3f} {relation} "
            f"{self.threshold:.3f}){'' if self.right else ' - which is wrong'}"
        )


def run_demo(verifier: Verifier, output: Path) -> list[Answer]:
    """Compare the astronaut with a bad copy of herself and with somebody else; draw all three into `output`.

    Raises:
        EdgefrError: the photographs' packages are missing or a face is not found.
    """
    photos = demo_photos()
    with tempfile.TemporaryDirectory() as folder:
        paths = {name: Path(folder) / f"{index}.png" for index, name in enumerate(photos)}
        for name, photo in photos.items():
            cv2.imwrite(str(paths[name]), photo[..., ::-1])
        astronaut, *others = photos
        verdicts = {name: verifier.verify(paths[astronaut], paths[name]) for name in others}
    answers = [
        Answer(
            astronaut,
            name,
            verdict.same,
            verdict.same == (name == "her bad copy"),
            verdict.similarity,
            verdict.threshold.value,
        )
        for name, verdict in verdicts.items()
    ]
    _write(output, np.hstack(_drawn(photos, verdicts)))
    return answers


def demo_photos() -> dict[str, Image]:
    """Eileen Collins (NASA), the same photograph shrunk and compressed, and Grace Hopper (US Navy)."""
    require_extra("skimage", "demo")
    require_extra("matplotlib", "demo")
    from matplotlib import cbook
    from skimage import data

    astronaut: Image = data.astronaut()
    half = np.asarray(cv2.resize(astronaut, None, fx=0.5, fy=0.5, interpolation=cv2.INTER_AREA), np.uint8)
    path = Path(cbook.get_sample_data("grace_hopper.jpg", asfileobj=False))
    if not path.is_file():  # Debian's matplotlib has it in a package of its own
        raise EdgefrError(
            f"matplotlib's sample photograph {path}",
            "none",
            "install matplotlib by `pip install --force-reinstall matplotlib`, which brings it",
        )
    hopper = cv2.imread(str(path))
    return {
        "the astronaut": astronaut,
        "her bad copy": jpeg(half, 20),
        "the rear admiral": np.ascontiguousarray(np.asarray(hopper)[..., ::-1]),
    }


def _drawn(photos: dict[str, Image], verdicts: dict[str, VerificationResult]) -> list[Image]:
    """Every photograph at one height, its face boxed and its similarity with the first written below."""
    first = next(iter(verdicts.values())).faces[0]
    panels = []
    for name, photo in photos.items():
        verdict = verdicts.get(name)
        face = verdict.faces[1].face if verdict else first.face
        colour = WHITE if verdict is None else GREEN if verdict.same else RED
        text = name if verdict is None else f"{name}: {verdict.similarity:.2f}"
        panels.append(_panel(photo, face.box, text, colour))
    return panels


def _panel(photo: Image, box: tuple[float, float, float, float], text: str, colour: tuple[int, int, int]) -> Image:
    scale = HEIGHT / photo.shape[0]
    panel = cv2.resize(photo, None, fx=scale, fy=scale, interpolation=cv2.INTER_AREA)
    x, y, width, height = (round(value * scale) for value in box)
    cv2.rectangle(panel, (x, y), (x + width, y + height), colour, 2, cv2.LINE_AA)
    cv2.rectangle(panel, (0, HEIGHT - 36), (panel.shape[1], HEIGHT), (0, 0, 0), -1)
    cv2.putText(panel, text, (10, HEIGHT - 11), cv2.FONT_HERSHEY_SIMPLEX, 0.7, colour, 1, cv2.LINE_AA)
    return np.asarray(panel, np.uint8)


def _write(output: Path, picture: Image) -> None:
    with atomic_write(output) as temporary:
        try:
            written = cv2.imwrite(str(temporary), np.ascontiguousarray(picture[..., ::-1]))
        except cv2.error:
            written = False
        if not written:
            raise EdgefrError("a picture name such as demo.png", str(output), "choose another with -o")
