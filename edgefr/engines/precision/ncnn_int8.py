"""INT8 for ncnn: weights with a scale for each output channel, inputs with one scale, calibrated by ncnn itself."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from edgefr.engines.precision.fp32_fallback import minimal_fp32_nodes
from edgefr.engines.precision.ncnn_weights import LayerWeights, int8_layer, split_weights
from edgefr.runtimes.ncnn import NcnnNet
from edgefr.runtimes.ncnn_file import NcnnGraph
from edgefr.types import EMBEDDING, Faces, Floats

QUANTISED = ("Convolution", "InnerProduct")
"""Layers with weights that are summed over channels. The others take little time and would cause large errors."""

MAX_SEARCH_FACES = 64
"""As in `conversion`: a search converts and compares dozens of times."""


@dataclass(frozen=True)
class CalibratedNcnn:
    """An FP32 graph with the weights of its layers, and name of a layer -> largest absolute value of its input."""

    graph: NcnnGraph
    parts: list[LayerWeights]
    largest: dict[str, float]

    def write_int8(self, weights: Path, keep: Collection[str] = ()) -> NcnnGraph:
        """Write the weights with all layers in INT8 that can be, except `keep`. Returns their graph."""
        layers = []
        with weights.open("wb") as file:
            for part in self.parts:
                if part.layer.name in self.largest and part.layer.name not in keep:
                    layer, pieces = int8_layer(part, self.largest[part.layer.name])
                else:
                    layer, pieces = part.layer, [part.content]
                layers.append(layer)
                file.writelines(pieces)
        return self.graph.with_layers(layers)


def calibrate_ncnn(graph: NcnnGraph, weights: Path, faces: Faces) -> CalibratedNcnn:
    """Measure the inputs of all layers that can become INT8 on (N, 112, 112, 3) faces, in FP32."""
    parts = split_weights(graph, weights)
    inputs = {part.layer.name: part.layer.inputs[0] for part in parts if part.layer.kind in QUANTISED}
    names = sorted(set(inputs.values()))
    net = NcnnNet(graph, weights, "fp32", keep_blobs=True)
    largest = np.zeros(len(names))
    for face in faces:
        largest = np.maximum(largest, [np.abs(blob).max() for blob in net.blobs(face, names)])
    by_blob = dict(zip(names, largest.tolist(), strict=True))
    return CalibratedNcnn(graph, parts, {name: by_blob[blob] for name, blob in inputs.items()})


def int8_ncnn(
    graph: NcnnGraph, weights: Path, faces: Faces, min_cosine: float, output: Path
) -> tuple[NcnnGraph, tuple[str, ...]]:
    """Convert a graph to INT8, with as few layers left in FP32 as the comparison allows.

    Args:
        graph: The graph in FP32.
        weights: Its weights.
        faces: (N, 112, 112, 3) faces to calibrate on.
        min_cosine: The lowest cosine of an embedding to that in FP32 on the first 64 of these faces.
        output: The file of weights to write.

    Returns:
        The graph, and the names of the layers that stay in FP32.
    """
    calibrated, few = calibrate_ncnn(graph, weights, faces), faces[:MAX_SEARCH_FACES]
    reference = _embeddings(graph, weights, "fp32", few)

    def is_near(keep: frozenset[str]) -> bool:
        converted = calibrated.write_int8(output, keep)
        cosine = (reference * _embeddings(converted, output, "int8", few)).sum(1)
        return bool((cosine > min_cosine).all())  # False for NaN

    kept = minimal_fp32_nodes(list(calibrated.largest), is_near)
    return calibrated.write_int8(output, kept), kept


def _embeddings(graph: NcnnGraph, weights: Path, precision: str, faces: Faces) -> Floats:
    """(N, 112, 112, 3) -> (N, K)."""
    net = NcnnNet(graph, weights, precision)
    return np.concatenate([net.run(face)[EMBEDDING] for face in faces])
