"""Every runtime decides like torch on a thousand real pairs."""

from __future__ import annotations

from pathlib import Path

import pytest

from bench.parity import CachedRecogniser
from edgefr.data.lfw_pairs import read_pairs
from edgefr.engines.parity_gate import BF16, FP32, check_bounds, compare_models
from edgefr.evaluation.lfw_protocol import faces_and_pairs
from edgefr.recognition.recogniser import Recogniser, open_recogniser
from edgefr.runtimes import available_runtimes

pytestmark = pytest.mark.shared

PAIRS = 1000


@pytest.fixture(scope="module")
def faces_pairs(shared: Path):
    return faces_and_pairs(shared / "lfw-aligned-112.zip", read_pairs(shared / "lfw-pairs.txt"), PAIRS)


@pytest.fixture(scope="module")
def reference(fused_checkpoint: Path) -> Recogniser:
    return CachedRecogniser(open_recogniser(fused_checkpoint, "torch"))


@pytest.mark.parametrize(
    ("runtime", "precision"), [("onnxruntime", "fp32"), ("openvino", "fp32"), ("openvino", "bf16")]
)
def test_a_runtime_decides_like_torch(runtime: str, precision: str, fused_onnx: Path, reference, faces_pairs) -> None:
    here = {entry.name: entry.precisions for entry in available_runtimes() if entry.version}
    if precision not in here.get(runtime, ()):
        pytest.skip(f"{runtime} has no {precision} on this machine")
    report = compare_models(reference, open_recogniser(fused_onnx, runtime, precision), *faces_pairs)
    assert report.pairs == PAIRS
    assert report.decisions[0].accuracy_reference > 0.985
    assert check_bounds(report, BF16 if precision == "bf16" else FP32) == []
