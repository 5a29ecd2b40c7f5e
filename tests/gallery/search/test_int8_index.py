"""The search equals a full float32 search with every kernel."""

from __future__ import annotations

import numpy as np
import pytest

from edgefr.gallery.search import int8_index as module
from edgefr.gallery.search.int8_index import Int8Index, Scan, numkong_scan, numpy_scan


@pytest.fixture(params=["numpy", "numkong"])
def scan(request: pytest.FixtureRequest) -> Scan:
    if request.param == "numpy":
        return numpy_scan
    pytest.importorskip("numkong")
    return numkong_scan()


def crowd(count: int, dim: int, seed: int = 0) -> np.ndarray:
    """Templates in clusters so tight that codes cannot order them."""
    rng = np.random.default_rng(seed)
    centres = rng.standard_normal((count // 20 + 1, dim))
    rows = centres[rng.integers(0, len(centres), count)] + 0.01 * rng.standard_normal((count, dim))
    return (rows / np.linalg.norm(rows, axis=1, keepdims=True)).astype(np.float32)


@pytest.mark.parametrize("rows", [64, 1000], ids=["many blocks, two threads", "one block"])
def test_the_result_equals_a_float32_search(scan: Scan, rows: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "ROWS", rows)
    templates = crowd(700, 512)
    index = Int8Index(lambda ids: templates[np.array(ids)], scan)
    index.add(range(700), templates)
    rng = np.random.default_rng(1)
    for number in range(40):
        query = templates[number] + np.float32(0.02) * rng.standard_normal(512, np.float32)
        query /= np.linalg.norm(query)
        best = np.argsort(-(templates @ query))[:5]
        found = index.search(query, 5)
        assert [match.id for match in found] == best.tolist()
        np.testing.assert_allclose([match.similarity for match in found], templates[best] @ query, atol=1e-6)


def test_a_code_in_the_wrong_order_does_not_change_the_result(scan: Scan, monkeypatch: pytest.MonkeyPatch) -> None:
    """With five levels the first template is decoded exactly as 0.447, and the second, 0.46, as 0.444."""
    monkeypatch.setattr(module, "ROWS", 1)
    monkeypatch.setattr(module, "LEVELS", 2)
    templates = np.float32([[1 / 5**0.5, 2 / 5**0.5], [0.46, (1 - 0.46**2) ** 0.5]])
    for order in ([0, 1], [1, 0]):
        index = Int8Index(lambda ids: templates[np.array(ids)], scan)
        index.add(order, templates[order])
        assert index.search(np.float32([1, 0]), 1)[0].id == 1


def test_both_kernels_give_exact_integers(scan: Scan) -> None:
    rng = np.random.default_rng(0)
    codes = rng.integers(-127, 128, (600, 512)).astype(np.int8)
    codes[0], query = 127, np.full(512, 127, np.int8)
    assert scan(codes, query).tolist() == (codes.astype(np.int64) @ query).tolist()


def test_few_templates_are_compared_exactly(scan: Scan) -> None:
    """Otherwise the codes would save nothing."""
    rng = np.random.default_rng(0)
    templates = rng.standard_normal((20_000, 128)).astype(np.float32)
    templates /= np.linalg.norm(templates, axis=1, keepdims=True)
    asked: list[int] = []
    index = Int8Index(lambda ids: (asked.extend(ids), templates[np.array(ids)])[1], scan)
    index.add(range(20_000), templates)
    assert index.search(templates[77], 1)[0].id == 77
    assert len(asked) == 1


def test_removed_templates_are_not_found_and_added_ones_are(scan: Scan) -> None:
    templates = crowd(50, 64)
    index = Int8Index(lambda ids: templates[np.array(ids)], scan)
    index.add(range(10), templates[:10])
    index.remove([3, 7, 99])
    index.add(range(10, 50), templates[10:])
    everybody = [match.id for match in index.search(templates[3], 100)]
    assert sorted(everybody) == sorted(set(range(50)) - {3, 7})


def test_an_empty_index_finds_nobody(scan: Scan) -> None:
    index = Int8Index(lambda ids: np.empty((0, 8), np.float32), scan)
    assert index.search(np.eye(8, dtype=np.float32)[0], 5) == []
    index.add([1], np.eye(8, dtype=np.float32)[:1])
    index.remove([1])
    assert index.search(np.eye(8, dtype=np.float32)[0], 5) == []
