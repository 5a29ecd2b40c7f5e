"""Takes ncnn's file of weights apart, layer by layer, and writes layers in INT8.

The file holds nothing but the weights of the layers, in their order. A block of weights is raw float32, or follows a
tag of 4 bytes: 0 for float32, `INT8_TAG` for INT8 (ncnn's `ModelBinFromDataReader::load`).
"""

from __future__ import annotations

import mmap
import struct
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from edgefr.errors import EdgefrError
from edgefr.runtimes.ncnn_file import NcnnGraph, NcnnLayer
from edgefr.types import Floats

INT8_TAG = struct.pack("<I", 0x000D4B38)
FLOAT_TAG = bytes(4)
INT8_MAX = 127


@dataclass(frozen=True)
class LayerWeights:
    """A layer with its weights as they are in the file, and the first block as numbers (empty if it has none)."""

    layer: NcnnLayer
    content: memoryview
    weights: Floats
    bias: memoryview


def split_weights(graph: NcnnGraph, path: Path) -> list[LayerWeights]:
    """The layers of a graph with their weights, which are mapped from the file.

    Raises:
        EdgefrError: The sizes of the layers do not add up to the file, or its weights are not float32.
    """
    with path.open("rb") as file:
        data = memoryview(mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ))
    place, found = 0, []
    for layer in graph.layers():
        start, weights, bias = place, np.empty(0, np.float32), data[:0]
        for number, (tagged, count) in enumerate(_blocks(layer)):
            block = data[place + 4 * tagged : place + 4 * (tagged + count)]
            if len(block) != 4 * count or (tagged and data[place : place + 4] != FLOAT_TAG):
                raise _unknown(layer.name)
            weights, bias = (np.frombuffer(block, np.float32), bias) if number == 0 else (weights, block)
            place += 4 * (tagged + count)
        found.append(LayerWeights(layer, data[start:place], weights, bias))
    if place != len(data):
        raise _unknown("the end")
    return found


def int8_layer(part: LayerWeights, largest_input: float) -> tuple[NcnnLayer, list[bytes | memoryview]]:
    """A convolution or fully connected layer in INT8, with its weights in pieces.

    Args:
        part: The layer.
        largest_input: The largest absolute value of its input.
    """
    layer = part.layer
    rows = part.weights.reshape(layer.number("0"), -1)
    scales = INT8_MAX / np.maximum(np.abs(rows).max(1), np.float32(1e-12))
    rounded = np.rint(rows * scales[:, None]).clip(-INT8_MAX, INT8_MAX).astype(np.int8).tobytes()
    padding = bytes(-len(rounded) % 4)
    scale = np.float32(INT8_MAX / max(largest_input, 1e-12))
    pieces = [INT8_TAG, rounded, padding, part.bias, scales.astype(np.float32).tobytes(), scale.tobytes()]
    return NcnnLayer(layer.kind, layer.name, layer.inputs, layer.outputs, {**layer.parameters, "8": "2"}), pieces


def _blocks(layer: NcnnLayer) -> list[tuple[bool, int]]:
    """Whether it is tagged, and the number of values, of each block of a layer's weights."""
    number = layer.number
    match layer.kind:
        case "Convolution" | "ConvolutionDepthWise":
            return [(True, number("6")), (False, number("0") * number("5"))]
        case "InnerProduct":
            return [(True, number("2")), (False, number("0") * number("1"))]
        case "Gemm":
            rows, columns, inner = number("7"), number("8"), number("9")
            added = {0: 1, 1: rows, 2: rows, 3: rows * columns, 4: columns}.get(number("10"), 0)
            constant = [(number("4"), rows * inner), (number("5"), columns * inner), (number("6"), added)]
            return [(True, count) for is_constant, count in constant if is_constant]
        case "PReLU":
            return [(False, number("0"))]
        case "LayerNorm":
            return [(False, number("0"))] * 2 if layer.parameters.get("2", "1") == "1" else []
        case "BatchNorm":
            return [(False, number("0"))] * 4
        case "Normalize":
            return [(False, number("3"))]
        case "MemoryData":
            axes = [number(key) for key in ("0", "1", "11", "2")]
            return [(False, int(np.prod([length for length in axes if length])))]
        case _:
            return []


def _unknown(where: str) -> EdgefrError:
    return EdgefrError(
        "layers of ncnn whose weights are known, for INT8", f"others up to {where}", "build it with --fp32"
    )
