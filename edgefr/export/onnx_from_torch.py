"""An ONNX file from a torch module: standard operators only, names for people, its manifest inside, and no trace of the
machine that made it."""

from __future__ import annotations

import contextlib
import logging
import os
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
"""Of each input and output the axes that have no fixed length, and what they are called."""


def write_onnx(
    module: nn.Module, example: Tensor, dynamic: Mapping[int, Any], axes: Axes, manifest: Manifest, path: Path
) -> None:
    """Write `module`, which takes one tensor such as `example`, with `dynamic` as torch.export's name for its lengths.

    `axes` names the input first, then the outputs.

    Raises:
        EdgefrError: a library is missing, or the graph could not be simplified.
    """
    onnx, onnxsim = require_extra("onnx", "train"), require_extra("onnxsim", "train")
    require_extra("onnxscript", "train")
    input_name, *output_names = axes
    with _quiet():
        program = torch.onnx.export(
            module.eval(),
            (example,),
            dynamo=True,
            opset_version=OPSET,
            input_names=[input_name],
            output_names=output_names,
            dynamic_shapes=(dict(dynamic),),
            external_data=False,
            verbose=False,
        )
        # Left to itself onnxsim fuses attention into an operator of Microsoft's that only onnxruntime knows.
        simple, right = onnxsim.simplify(program.model_proto, skipped_optimizers=["fuse_attention"])  # type: ignore[union-attr]
    if not right or any(node.domain not in ("", "ai.onnx") for node in simple.graph.node):
        raise EdgefrError(
            "onnxsim to keep the graph's answers in standard operators",
            "that it did not",
            "pip install --upgrade onnxsim",
        )
    _tidy(simple, axes, manifest)
    onnx.save(simple, path)


def _tidy(proto: onnx.ModelProto, axes: Axes, manifest: Manifest) -> None:
    """Names that people read in a viewer, no trace of the exporting machine, and the manifest as metadata."""
    for tensor in (*proto.graph.input, *proto.graph.output):
        for axis, name in axes[tensor.name].items():
            tensor.type.tensor_type.shape.dim[axis].dim_param = name
    for node in proto.graph.node:
        del node.metadata_props[:]  # torch leaves stack traces with local paths
        node.doc_string = ""
    del proto.graph.metadata_props[:]
    for value in (*proto.graph.value_info, *proto.graph.input, *proto.graph.output, *proto.graph.initializer):
        del value.metadata_props[:]
    del proto.graph.value_info[:]  # shapes of inner tensors, which every runtime infers for itself
    del proto.metadata_props[:]
    entry = proto.metadata_props.add()
    entry.key, entry.value = METADATA_KEY, manifest.to_json()


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """The exporter's and simplifier's progress talk does not belong on the user's terminal."""
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
