"""The file of an ncnn engine: the weights as ncnn reads them, then the graph and the outputs.

    weights | document (JSON in UTF-8) | length of the document (8 bytes, little endian) | MAGIC

ncnn reads weights one after the other from the beginning of a file and stops after the last one, so that it loads the
file as it is. One file has one digest, which the manifest of an engine names.
"""

from __future__ import annotations

import json
import shutil
import struct
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

from edgefr.errors import WrongModelError
from edgefr.runtimes.engine_file import REBUILD

SUFFIX = ".ncnn"
MAGIC = b"edgefrN1"
END = struct.Struct("<Q8s")
MAX_DOCUMENT_BYTES = 4 << 20
"""The graph of two iresnet200 has 60 kB."""

INT8_KEYS = {"Convolution": "8", "ConvolutionDepthWise": "8", "InnerProduct": "8", "Gemm": "18"}
"""Kind of a layer -> key of the parameter that says that its weights are INT8."""
HEAVY = (*INT8_KEYS, "MatMul")
"""ncnn's layers for the operators that take nearly all of the time."""


@dataclass(frozen=True)
class NcnnLayer:
    """A line of ncnn's text format for graphs: `Type name inputs outputs INPUT ... OUTPUT ... KEY=VALUE ...`."""

    kind: str
    name: str
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    parameters: dict[str, str]

    @classmethod
    def parse(cls, line: str) -> NcnnLayer:
        """Read a line.

        Raises:
            ValueError: It is not a layer.
        """
        kind, name, inputs, outputs, *rest = line.split()
        first, last = int(inputs), int(inputs) + int(outputs)
        if not 0 <= first <= last <= len(rest):
            raise ValueError(f"a layer of {inputs} inputs and {outputs} outputs with {len(rest)} names")
        return cls(
            kind,
            name,
            tuple(rest[:first]),
            tuple(rest[first:last]),
            {key: value for key, _, value in (text.partition("=") for text in rest[last:])},
        )

    def number(self, key: str) -> int:
        """An integer parameter, 0 if it is missing."""
        return int(self.parameters.get(key, "0"))

    def __str__(self) -> str:
        head = [self.kind, self.name, str(len(self.inputs)), str(len(self.outputs)), *self.inputs, *self.outputs]
        return " ".join(head + [f"{key}={value}" for key, value in self.parameters.items()])


@dataclass(frozen=True)
class NcnnGraph:
    """A graph in ncnn's text format, and its outputs.

    Attributes:
        text: The graph.
        outputs: Name of an output -> length of its vector, None for a number. Their blobs are `out0`, `out1` ...
        side_by_side: Whether its backbones are faster side by side than one after the other.
    """

    text: str
    outputs: dict[str, int | None]
    side_by_side: bool = False

    def layers(self) -> Iterator[NcnnLayer]:
        """The layers, in order; the first two lines of the text are a magic number and the counts."""
        return (NcnnLayer.parse(line) for line in self.text.splitlines()[2:])

    def with_layers(self, layers: list[NcnnLayer]) -> NcnnGraph:
        """The same graph with other parameters of its layers."""
        return replace(self, text="\n".join([*self.text.splitlines()[:2], *map(str, layers)]) + "\n")

    def count_heavy_layers(self, precision: str) -> dict[str, int]:
        """Number format -> number of heavy layers, in an engine of a precision."""
        rest = "fp16" if precision == "fp16" else "fp32"
        heavy = [layer for layer in self.layers() if layer.kind in HEAVY]
        int8 = sum(layer.number(INT8_KEYS.get(layer.kind, "")) > 0 for layer in heavy)
        return {rest: len(heavy) - int8, "int8": int8}


def write_ncnn_file(path: Path, graph: NcnnGraph, weights: Path) -> None:
    """Write an engine; `weights` is the file of its weights as ncnn reads it."""
    document = json.dumps({"outputs": graph.outputs, "side_by_side": graph.side_by_side, "graph": graph.text}).encode()
    with path.open("wb") as file, weights.open("rb") as source:
        shutil.copyfileobj(source, file, 1 << 20)
        file.write(document + END.pack(len(document), MAGIC))


def read_ncnn_file(path: Path) -> NcnnGraph:
    """Read the graph of an engine. The weights are not read.

    Raises:
        WrongModelError: It is not such a file.
    """
    try:
        with path.open("rb") as file:
            size = file.seek(0, 2)
            file.seek(max(0, size - END.size))
            length, magic = END.unpack(file.read(END.size))
            if magic != MAGIC or not 0 < length <= min(MAX_DOCUMENT_BYTES, size - END.size):
                raise ValueError("no graph at its end")
            file.seek(size - END.size - length)
            document = json.loads(file.read(length))
        outputs = {str(name): None if n is None else int(n) for name, n in document["outputs"].items()}
        graph = NcnnGraph(str(document["graph"]), outputs, bool(document["side_by_side"]))
        list(graph.layers())  # every line is a layer
    except (OSError, ValueError, struct.error, RecursionError, LookupError, TypeError, AttributeError) as error:
        raise WrongModelError(f"an ncnn engine in {path}", f"another or a damaged file ({error})", REBUILD) from error
    return graph
