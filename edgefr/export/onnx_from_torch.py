"""Writes a torch module as an ONNX file with standard operators, readable names and its manifest."""

from __future__ import annotations

import contextlib
import logging
import os
import sys
import warnings
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from edgefr.errors import EdgefrError, require_extra
from edgefr.manifest import Manifest
from edgefr.types import METADATA_KEY

if TYPE_CHECKING:
    import onnx

OPSET = 18

Axes = Mapping[str, Mapping[int, str]]
"""Input or output -> its dynamic axes with their names."""


def write_onnx(
    module: nn.Module,
    examples: tuple[Tensor, ...],
    dynamic: Mapping[int, Any],
    axes: Axes,
    manifest: Manifest,
    path: Path,
) -> None:
    """Write a module.

    Args:
        module: The module.
        examples: Its inputs.
        dynamic: Axis of every input -> `torch.export.Dim`, for the dynamic axes.
        axes: Names of the dynamic axes of the inputs, which come first, and of the outputs.
        manifest: The manifest to store in the file.
        path: The file to write.

    Raises:
        MissingExtraError: A library is not installed.
        EdgefrError: The graph cannot be simplified.
    """
    onnx, onnxsim = require_extra("onnx", "train"), require_extra("onnxsim", "train")
    require_extra("onnxscript", "train")
    names, count = list(axes), len(examples)
    with _quiet():
        program = torch.onnx.export(
            module.eval(),
            examples,
            dynamo=True,
            opset_version=OPSET,
            input_names=names[:count],
            output_names=names[count:],
            dynamic_shapes=(dict(dynamic),) * count,
            external_data=False,
            verbose=False,
        )
        # By default onnxsim fuses attention into an operator of Microsoft's that only onnxruntime has.
        simplified, is_equal = onnxsim.simplify(program.model_proto, skipped_optimizers=["fuse_attention"])  # type: ignore[union-attr]
    _release_executor()
    if not is_equal or any(node.domain not in ("", "ai.onnx") for node in simplified.graph.node):
        raise EdgefrError(
            "a simplified graph of standard operators with the same outputs from onnxsim",
            "another graph",
            "run: pip install --upgrade onnxsim",
        )
    _clean(simplified, axes, manifest)
    onnx.save(simplified, path)


def _release_executor() -> None:
    """Release what onnxsim 0.8 keeps for the whole process: it would be reported as a leak, in twenty lines on stderr,
    when Python ends after torch was imported."""
    simplifier: Any = sys.modules.get("onnxsim.onnx_simplifier")
    if simplifier is not None and hasattr(simplifier, "_model_executor"):
        simplifier._model_executor = None


def _clean(proto: onnx.ModelProto, axes: Axes, manifest: Manifest) -> None:
    """Name the axes, remove stack traces and shapes, and store the manifest as metadata."""
    for tensor in (*proto.graph.input, *proto.graph.output):
        for axis, name in axes[tensor.name].items():
            tensor.type.tensor_type.shape.dim[axis].dim_param = name
    for node in proto.graph.node:
        del node.metadata_props[:]  # torch stores stack traces with local paths
        node.doc_string = ""
    del proto.graph.metadata_props[:]
    for value in (*proto.graph.value_info, *proto.graph.input, *proto.graph.output, *proto.graph.initializer):
        del value.metadata_props[:]
    del proto.graph.value_info[:]  # shapes of inner tensors, which every runtime infers
    del proto.metadata_props[:]
    entry = proto.metadata_props.add()
    entry.key, entry.value = METADATA_KEY, manifest.to_json()


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Silence the progress messages of exporter and simplifier."""
    level = logging.root.manager.disable
    logging.disable(logging.WARNING)
    try:
        with (
            Path(os.devnull).open("w") as sink,
            contextlib.redirect_stdout(sink),
            contextlib.redirect_stderr(sink),
            warnings.catch_warnings(),
        ):
            warnings.simplefilter("ignore")
            yield
    finally:
        logging.disable(level)
