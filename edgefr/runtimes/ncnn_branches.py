"""Finds the backbones of a graph, which can run side by side."""

from __future__ import annotations

from edgefr.runtimes.ncnn_file import NcnnGraph, NcnnLayer

BACKBONE_LAYER = "Convolution"


def find_branches(graph: NcnnGraph) -> tuple[tuple[str, ...], ...]:
    """The blobs of each backbone that the rest of the graph takes.

    A backbone begins with a convolution behind which there is no other, and has all layers that depend on it and on no
    other backbone.

    Returns:
        For each backbone its last blobs. Empty unless there are at least two backbones.
    """
    depends: dict[str, frozenset[str]] = {}  # blob -> the first convolutions of the backbones that it depends on
    ends: dict[str, dict[str, None]] = {}  # first convolution -> blobs, in order
    for layer in graph.layers():
        needed: frozenset[str] = frozenset().union(*(depends[blob] for blob in layer.inputs))
        if len(needed) > 1:
            for blob in layer.inputs:
                if len(depends[blob]) == 1:
                    ends.setdefault(next(iter(depends[blob])), {})[blob] = None
        depends.update(dict.fromkeys(layer.outputs, needed or _first(layer)))
    return tuple(tuple(blobs) for blobs in ends.values()) if len(ends) > 1 else ()


def _first(layer: NcnnLayer) -> frozenset[str]:
    return frozenset({layer.name}) if layer.kind == BACKBONE_LAYER else frozenset()
