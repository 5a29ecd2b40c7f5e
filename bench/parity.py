"""Every runtime against torch on all 6,000 LFW pairs; torch, the slowest, embeds the faces once."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import Any

from edgefr.cli.output import progress
from edgefr.data.lfw_pairs import read_pairs
from edgefr.engines.parity_gate import BOUNDS, check, compare
from edgefr.evaluation.lfw_protocol import faces_and_pairs
from edgefr.manifest import model_manifest
from edgefr.recognition.recogniser import Embeddings, Recogniser, open_recogniser
from edgefr.runtimes import available_runtimes
from edgefr.types import Faces


class Remembered(Recogniser):
    """A recogniser that answers for the same array of faces only once."""

    def __init__(self, recogniser: Recogniser) -> None:
        self.description, self.embedding_dim = recogniser.description, recogniser.embedding_dim
        self._recogniser = recogniser
        self._answers: dict[int, tuple[Faces, Embeddings]] = {}

    def embed(self, faces: Faces, batch: int = 32, progress: Callable[[int], None] | None = None) -> Embeddings:
        if id(faces) not in self._answers:  # the array is kept with its answer, so that its id stays its own
            self._answers[id(faces)] = faces, self._recogniser.embed(faces, batch, progress)
        return self._answers[id(faces)][1]


def run(data: Path, checkpoint: Path, model: Path) -> dict[str, Any]:
    faces, pairs = faces_and_pairs(data / "lfw-aligned-112.zip", read_pairs(data / "lfw-pairs.txt"), None)
    reference = Remembered(open_recogniser(checkpoint, "torch"))
    manifest = model_manifest(model)
    thresholds = () if manifest is None else tuple(sorted(entry.value for entry in manifest.thresholds_for("fp32")))
    rows = {}
    for runtime in available_runtimes():
        if runtime.version is None or runtime.name not in ("onnxruntime", "openvino"):
            continue
        for precision in runtime.precisions:
            name = f"{runtime.name} {precision}"
            candidate = open_recogniser(model, runtime.name, precision)
            with progress(f"{name} against torch", 2 * len(faces)) as advance:
                report = compare(reference, candidate, faces, pairs, thresholds, advance)
            rows[name] = {**asdict(report), "broken": check(report, BOUNDS[precision])}
    return rows
