"""A benchmark measures what was requested and reports nothing private about the machine."""

from __future__ import annotations

import getpass
import json
import platform
from pathlib import Path

import pytest

from edgefr.engines.latency import ModelCost, describe_machine, measure_latency
from edgefr.errors import EdgefrError
from edgefr.recognition.recogniser import Recogniser
from edgefr.runtimes.fake import FakeBackend


@pytest.fixture
def recogniser() -> Recogniser:
    return Recogniser(FakeBackend(), "fake")


def test_gives_a_row_for_every_batch_size(recogniser: Recogniser) -> None:
    rows = measure_latency(recogniser, (1, 4), 0.01)
    assert [(row.runtime, row.precision, row.batch) for row in rows] == [
        ("fake", "fp32", 1),
        ("fake", "fp32", 4),
    ]
    for row in rows:
        assert row.calls >= 5
        assert 0 < row.p50_ms <= row.p95_ms <= row.p99_ms
        assert row.images_per_second > 0


def test_the_cost_of_the_model_is_part_of_its_rows(recogniser: Recogniser) -> None:
    """A call of 4 images of 1,000 operations on a machine of 1e9 a second takes 4 us at best."""
    (row,) = measure_latency(recogniser, (4,), 0.01, cost=ModelCost(123, 1000, 1e9))
    assert row.bytes == 123
    assert row.of_gemm == pytest.approx(4e-3 / row.p50_ms)
    assert row.peak_mib is None or row.peak_mib > 10
    (row,) = measure_latency(recogniser, (4,), 0.01)
    assert (row.bytes, row.of_gemm) == (None, None)


@pytest.mark.parametrize(("batch", "seconds"), [(0, 1.0), (4096, 1.0), (1, 0.0), (1, 1e9), (1, float("nan"))])
def test_batch_sizes_and_seconds_have_limits(recogniser: Recogniser, batch: int, seconds: float) -> None:
    with pytest.raises(EdgefrError, match=r"expected .*, found .*\. Choose another"):
        measure_latency(recogniser, (batch,), seconds)


def test_describes_the_machine_and_nothing_private() -> None:
    found = describe_machine()
    assert found["cores"] >= 1
    assert found["python"] == platform.python_version()
    assert {"edgefr", "numpy"} <= found["versions"].keys()
    text = json.dumps(found)
    # As whole words: a user called "x" is no leak in "linux".
    words = set(text.replace('"', " ").replace(",", " ").split())
    assert not {platform.node(), getpass.getuser(), str(Path.home())} & words
