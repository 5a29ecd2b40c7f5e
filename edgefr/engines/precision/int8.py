"""INT8 as a property of the ONNX file: explicit QuantizeLinear and DequantizeLinear around the heavy operators,
calibrated on real faces, by onnxruntime's own quantiser (nothing further to install).

Weights are symmetric with a scale for each output channel. Activations have one scale and, for processors, a zero
point: a clipped activation then has 256 steps instead of 128. TensorRT knows no zero points.
"""

from __future__ import annotations

import logging
import tempfile
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from edgefr.errors import require_extra
from edgefr.types import INPUT_NAME, Faces

if TYPE_CHECKING:
    import onnx

BATCH = 8
QUANTISED = ("Conv", "Gemm")
"""Operators with weights. MatMul of activations (attention) stays, as depthwise convolutions do, whose channels share
a scale but no sum: their time is small and their error is not."""


@dataclass(frozen=True)
class Calibrated:
    """A graph and the ranges of its activations on real faces; any number of INT8 files can be made of it."""

    model: onnx.ModelProto
    ranges: Any
    symmetric: bool

    def nodes(self) -> tuple[str, ...]:
        """Names of the nodes that may become INT8, in the graph's order."""
        weights = {tensor.name for tensor in self.model.graph.initializer}
        heavy = (node for node in self.model.graph.node if node.op_type in QUANTISED and not _in_groups(node))
        return tuple(node.name for node in heavy if node.input[1] in weights)

    def int8(self, keep: Collection[str] = ()) -> onnx.ModelProto:
        """A copy with all of them but `keep` in INT8."""
        require_extra("onnxruntime.quantization", "train")
        from onnxruntime.quantization import QuantType
        from onnxruntime.quantization.qdq_quantizer import QDQQuantizer

        copy = type(self.model)()
        copy.CopyFrom(self.model)
        options = {
            "ActivationSymmetric": self.symmetric,
            "WeightSymmetric": True,
            "QuantizeBias": not self.symmetric,  # TensorRT takes no INT32 from a DequantizeLinear
            # Rounded where it is read, after the clip that follows a convolution, and not before it as well.
            "OpTypesToExcludeOutputQuantization": list(QUANTISED),
        }
        with _quiet():
            quantiser = QDQQuantizer(
                copy,
                per_channel=True,
                reduce_range=False,
                weight_qType=QuantType.QInt8,
                activation_qType=QuantType.QInt8 if self.symmetric else QuantType.QUInt8,
                tensors_range=self.ranges,
                nodes_to_quantize=list(self.nodes()),
                nodes_to_exclude=list(keep),
                op_types_to_quantize=list(QUANTISED),
                extra_options=options,
            )
            quantiser.quantize_model()
            quantiser.model.topological_sort()
        model: onnx.ModelProto = quantiser.model.model
        return model


def _in_groups(node: onnx.NodeProto) -> bool:
    return any(attribute.name == "group" and attribute.i > 1 for attribute in node.attribute)


def calibrated(model: onnx.ModelProto, faces: Faces, symmetric: bool) -> Calibrated:
    """Ranges of every activation of an FP32 graph over (N, 112, 112, 3) faces: the lowest and highest value seen.

    Percentiles and entropy were no better on MobileFaceNet and took four times as long.
    """
    onnx = require_extra("onnx", "train")
    require_extra("onnxruntime.quantization", "train")
    from onnxruntime.quantization import CalibrationDataReader, CalibrationMethod, create_calibrator

    class Reader(CalibrationDataReader):  # type: ignore[misc]
        def __init__(self) -> None:
            self._batches: Iterator[Faces] = (faces[at : at + BATCH] for at in range(0, len(faces), BATCH))

        def get_next(self) -> dict[str, Faces] | None:
            batch = next(self._batches, None)
            return None if batch is None else {INPUT_NAME: batch}

    with tempfile.TemporaryDirectory() as folder, _quiet():
        path = Path(folder) / "model.onnx"
        onnx.save(model, path)
        calibrator = create_calibrator(
            path,
            list(QUANTISED),
            augmented_model_path=str(Path(folder) / "augmented.onnx"),
            calibrate_method=CalibrationMethod.MinMax,
            extra_options={"symmetric": symmetric},
        )
        calibrator.collect_data(Reader())
        ranges = calibrator.compute_data()
        del calibrator  # it holds the files open
    return Calibrated(model, ranges, symmetric)


@contextmanager
def _quiet() -> Iterator[None]:
    """The quantiser advises on its own preprocessing, which `edgefr export` has done."""
    level = logging.root.manager.disable
    logging.disable(logging.WARNING)
    try:
        yield
    finally:
        logging.disable(level)
