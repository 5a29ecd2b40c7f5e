"""Decides whether a face is a living one, by the mean score of one or more nets."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from edgefr.detection.base import Face
from edgefr.errors import InvalidArgumentError
from edgefr.liveness.liveness_net import LivenessNet
from edgefr.models import find_model
from edgefr.types import Image

DEFAULT_THRESHOLD = 0.5
"""Score from which a face counts as living; as upstream, the class "live" then has more than both others."""


@dataclass(frozen=True)
class Liveness:
    """Whether a face is a living one.

    Attributes:
        score: Mean probability of a living face, 0 to 1.
        threshold: Score from which it counts as living.
    """

    score: float
    threshold: float

    @property
    def live(self) -> bool:
        """Whether the score reaches the threshold."""
        return self.score >= self.threshold

    def __str__(self) -> str:
        """Such as `not live: its liveness score 0.02 is below 0.50`."""
        answer, relation = ("live", "reaches") if self.live else ("not live", "is below")
        return f"{answer}: its liveness score {self.score:.2f} {relation} {self.threshold:.2f}"


class LivenessCheck:
    """Checks faces with one or more nets. Threads may share it."""

    def __init__(self, files: Sequence[str | Path], threshold: float = DEFAULT_THRESHOLD) -> None:
        """Open the nets.

        Args:
            files: At least one .onnx file, see `LivenessNet`, or a name that `edgefr models` lists.
            threshold: Score from which a face counts as living, 0 to 1.

        Raises:
            InvalidArgumentError: The threshold is not a number between 0 and 1, or there is no file.
            WrongModelError: A file is not a liveness net, or it is not known what it expects.
        """
        if not files or not 0 <= threshold <= 1:
            raise InvalidArgumentError(
                "at least one net and a threshold between 0 and 1", f"{len(files)} and {threshold:g}", "give others"
            )
        self.threshold = threshold
        self._nets = [LivenessNet(find_model(file)) for file in files]

    def check(self, image: Image, face: Face) -> Liveness:
        """Score a face.

        Args:
            image: (H, W, 3) uint8 RGB, the whole picture.
            face: A face in it.

        Returns:
            The mean score of the nets, and the decision.
        """
        return Liveness(float(np.mean([net.score(image, face) for net in self._nets])), self.threshold)
