"""INT8 as a property of the ONNX file: QuantizeLinear and DequantizeLinear around the heavy operators, calibrated on
real faces by onnxruntime's own quantiser.

Weights are symmetric with a scale for each output channel. Activations have one scale and, for processors, a zero
point, which gives a clipped activation 256 steps instead of 128. TensorRT does not support zero points.

On x86 without VNNI, onnxruntime and OpenVINO add two products of an activation (8 bits without sign) and a weight in 16
bits (`pmaddubsw`), where sums above 32,767 are cut off. There weights get 7 bits, so that 2 x 255 x 64 = 32,640 fits.
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
"""Operators with weights. MatMul of activations (attention) and depthwise convolutions, whose channels share a scale
but no sum, stay in FP32: they take little time and would cause large errors."""


@dataclass(frozen=True)
class CalibratedGraph:
    """A graph with the ranges of its activations on real faces, from which INT8 graphs are made."""

    model: onnx.ModelProto
    ranges: Any
    symmetric: bool
    reduce_range: bool = False

    def nodes(self) -> tuple[str, ...]:
        """Names of the nodes that can become INT8, in the order of the graph."""
        weights = {tensor.name for tensor in self.model.graph.initializer}
        heavy = (node for node in self.model.graph.node if node.op_type in QUANTISED and not _is_grouped(node))
        return tuple(node.name for node in heavy if node.input[1] in weights)

    def int8(self, keep: Collection[str] = ()) -> onnx.ModelProto:
        """A copy with all of them in INT8 except `keep`."""
        require_extra("onnxruntime.quantization", "train")
        from onnxruntime.quantization import QuantType
        from onnxruntime.quantization.qdq_quantizer import QDQQuantizer

        copy = type(self.model)()
        copy.CopyFrom(self.model)
        options = {
            "ActivationSymmetric": self.symmetric,
            "WeightSymmetric": True,
            "QuantizeBias": not self.symmetric,  # TensorRT does not accept INT32 in DequantizeLinear
            # Activations are rounded once, after the clip that follows a convolution, and not before it as well.
            "OpTypesToExcludeOutputQuantization": list(QUANTISED),
        }
        with _quiet():
            quantiser = QDQQuantizer(
                copy,
                per_channel=True,
                reduce_range=self.reduce_range,
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


def _is_grouped(node: onnx.NodeProto) -> bool:
    return any(attribute.name == "group" and attribute.i > 1 for attribute in node.attribute)


def calibrate_graph(
    model: onnx.ModelProto, faces: Faces, symmetric: bool, reduce_range: bool = False
) -> CalibratedGraph:
    """Measure the lowest and highest value of every activation of an FP32 graph on (N, 112, 112, 3) faces.

    Percentiles and entropy gave no better results on MobileFaceNet and took four times as long.
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
        del calibrator  # it keeps the files open
    return CalibratedGraph(model, ranges, symmetric, reduce_range)


@contextmanager
def _quiet() -> Iterator[None]:
    """Silence the quantiser, which recommends a preprocessing that `edgefr export` has already done."""
    level = logging.root.manager.disable
    logging.disable(logging.WARNING)
    try:
        yield
    finally:
        logging.disable(level)
