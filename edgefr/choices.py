"""Words to choose from that the command line offers. It shows them in its help without importing what they mean."""

from __future__ import annotations

from typing import Literal

FacePolicy = Literal["largest", "centre", "only"]
"""Which of several faces of a picture to take, see `detection.base.select_face`."""

Signal = Literal["certainty", "norm", "detector", "sharpness"]
"""Quality signals of a face, each higher for a better face: the negated uncertainty, the length of the embedding before
it is normalised, the detector's score, the sharpness of the aligned face."""
