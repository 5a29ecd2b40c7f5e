"""Counted operations and a measured matrix product."""

from __future__ import annotations

from pathlib import Path

import pytest

from edgefr.engines import roofline
from edgefr.engines.roofline import count_operations, gemm_rate

pytest.importorskip("onnx")


def test_operations_of_one_image_are_counted(model: Path) -> None:
    """Conv of 8 filters of 3 x 7 x 7 at 16 x 16 positions, then (128) x (128, 16)."""
    assert count_operations(model) == 2 * 8 * 16 * 16 * 3 * 7 * 7 + 2 * 128 * 16


@pytest.mark.parametrize("precision", ["fp32", "int8"])
def test_a_product_is_measured_in_fp32_and_int8(precision: str) -> None:
    if precision != "fp32":
        pytest.importorskip("openvino")
    rate = gemm_rate(precision, 128)
    assert rate is not None
    assert rate > 1e7  # a two-hundredth of one core of any machine that runs this


def test_a_product_that_is_computed_in_another_precision_has_no_rate(monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("openvino")
    assert gemm_rate("fp16", 128) is None
    monkeypatch.setitem(roofline.HINTS, "bf16", "f32")  # as on a processor without bf16
    assert gemm_rate("bf16", 128) is None
