"""The demonstration: photographs from scikit-image and matplotlib, verified and drawn."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from edgefr.data.degradations import jpeg
from edgefr.errors import InvalidArgumentError, MissingExtraError, require_extra
from edgefr.io.files import atomic_write
from edgefr.recognition.verifier import VerificationResult, Verifier
from edgefr.types import Image

HEIGHT = 480
GREEN, RED, WHITE = (90, 200, 90), (230, 80, 80), (255, 255, 255)

ASTRONAUT, COPY, ADMIRAL = "the astronaut", "her bad copy", "the rear admiral"


@dataclass(frozen=True)
class Answer:
    """One comparison of the demonstration.

    Attributes:
        first: Name of a photograph.
        second: Name of the other photograph.
        same: Whether the verifier takes them for the same person.
        right: Whether it is right.
        similarity: Cosine similarity, -1 to 1.
        threshold: Similarity from which two faces count as the same person.
    """

    first: str
    second: str
    same: bool
    right: bool
    similarity: float
    threshold: float

    def to_dict(self) -> dict[str, Any]:
        """The fields for JSON."""
        return asdict(self)

    def sentence(self) -> str:
        """The answer as a sentence without a full stop."""
        decision = "the same person" if self.same else "different people"
        relation = "reaches" if self.same else "is below"
        return (
            f"{self.first} and {self.second}: {decision} (similarity {self.similarity:.3f} {relation} the threshold "
            f"{self.threshold:.3f}){'' if self.right else ' - which is wrong'}"
        )


def run_demo(verifier: Verifier, output: Path) -> list[Answer]:
    """Compare the astronaut with a bad copy of her photograph and with another person, and draw all three.

    Args:
        verifier: The models to use.
        output: The picture to write.

    Returns:
        The two comparisons.

    Raises:
        MissingExtraError: The packages that contain the photographs are missing.
        NoFaceError: No face is found in a photograph.
        InvalidArgumentError: The name of the output is not that of a picture.
    """
    photos = demo_photos()
    faces = {name: verifier.find_in(photo, name) for name, photo in photos.items()}
    results = {name: verifier.decide(faces[ASTRONAUT], faces[name]) for name in (COPY, ADMIRAL)}
    _write(output, np.hstack([_panel(name, photo, results) for name, photo in photos.items()]))
    return [
        Answer(ASTRONAUT, name, result.same, result.same == (name == COPY), result.similarity, result.threshold.value)
        for name, result in results.items()
    ]


def demo_photos() -> dict[str, Image]:
    """Load Eileen Collins (NASA), the same photograph shrunk and compressed, and Grace Hopper (US Navy).

    Returns:
        Name -> (H, W, 3) uint8 RGB.

    Raises:
        MissingExtraError: scikit-image, matplotlib or its sample photograph is missing.
    """
    require_extra("skimage", "demo")
    require_extra("matplotlib", "demo")
    from matplotlib import cbook
    from skimage import data

    astronaut: Image = data.astronaut()
    half = np.asarray(cv2.resize(astronaut, None, fx=0.5, fy=0.5, interpolation=cv2.INTER_AREA), np.uint8)
    path = Path(cbook.get_sample_data("grace_hopper.jpg", asfileobj=False))
    if not path.is_file():  # Debian has it in another package
        raise MissingExtraError(
            f"the sample photograph {path} of matplotlib",
            "none",
            "install the matplotlib of the Python Package Index: pip install --force-reinstall matplotlib",
        )
    admiral = cv2.cvtColor(cv2.imread(str(path)), cv2.COLOR_BGR2RGB)
    return {ASTRONAUT: astronaut, COPY: jpeg(half, 20), ADMIRAL: np.asarray(admiral, np.uint8)}


def _panel(name: str, photo: Image, results: dict[str, VerificationResult]) -> Image:
    """A photograph with its face boxed and its similarity to the astronaut below; RGB."""
    result = results.get(name)
    face = results[COPY].faces[0] if result is None else result.faces[1]
    colour = WHITE if result is None else GREEN if result.same else RED
    text = name if result is None else f"{name}: {result.similarity:.2f}"
    scale = HEIGHT / photo.shape[0]
    panel = cv2.resize(photo, None, fx=scale, fy=scale, interpolation=cv2.INTER_AREA)
    x, y, width, height = (round(value * scale) for value in face.face.box)
    cv2.rectangle(panel, (x, y), (x + width, y + height), colour, 2, cv2.LINE_AA)
    cv2.rectangle(panel, (0, HEIGHT - 36), (panel.shape[1], HEIGHT), (0, 0, 0), -1)
    cv2.putText(panel, text, (10, HEIGHT - 11), cv2.FONT_HERSHEY_SIMPLEX, 0.7, colour, 1, cv2.LINE_AA)
    return np.asarray(panel, np.uint8)


def _write(output: Path, picture: Image) -> None:
    with atomic_write(output) as temporary:
        try:
            written = cv2.imwrite(str(temporary), cv2.cvtColor(picture, cv2.COLOR_RGB2BGR))
        except cv2.error:
            written = False
        if not written:
            raise InvalidArgumentError("the name of a picture such as demo.png", str(output), "change --output")
