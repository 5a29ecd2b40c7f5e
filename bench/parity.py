"""Compare every runtime with torch on all 6,000 pairs of LFW. Torch, the slowest, embeds the faces only once."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import Any

from edgefr.cli.output import progress
from edgefr.data.lfw_pairs import read_pairs
from edgefr.engines.parity_gate import BOUNDS, check_bounds, compare_models
from edgefr.evaluation.lfw_protocol import faces_and_pairs
from edgefr.manifest import model_manifest
from edgefr.recognition.recogniser import Embeddings, Recogniser, open_recogniser
from edgefr.runtimes import available_runtimes
from edgefr.types import Faces


class CachedRecogniser(Recogniser):
    """A recogniser that embeds an array of faces only once."""

    def __init__(self, recogniser: Recogniser) -> None:
        self.description, self.embedding_dim = recogniser.description, recogniser.embedding_dim
        self._recogniser = recogniser
        self._embeddings: dict[int, tuple[Faces, Embeddings]] = {}

    def embed(self, faces: Faces, batch: int = 32, progress: Callable[[int], None] | None = None) -> Embeddings:
        if id(faces) not in self._embeddings:  # keeping the array keeps its id unique
            self._embeddings[id(faces)] = faces, self._recogniser.embed(faces, batch, progress)
        return self._embeddings[id(faces)][1]


def run(data: Path, checkpoint: Path, model: Path) -> dict[str, Any]:
    """Runtime and precision -> report and exceeded bounds."""
    faces, pairs = faces_and_pairs(data / "lfw-aligned-112.zip", read_pairs(data / "lfw-pairs.txt"), None)
    reference = CachedRecogniser(open_recogniser(checkpoint, "torch"))
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
                report = compare_models(reference, candidate, faces, pairs, thresholds, advance)
            rows[name] = {**asdict(report), "broken": check_bounds(report, BOUNDS[precision])}
    return rows
