"""Known weights for any architecture, by the rule that the fingerprints' docstring gives (fill.py, version 1)."""

from __future__ import annotations

import zlib

import numpy as np
import pytest

torch = pytest.importorskip("torch")

M64 = (1 << 64) - 1


def hashed(key: str, count: int) -> np.ndarray:
    """splitmix64 over crc32(key) + (i + 1) * golden ratio, (count,) uint64."""
    with np.errstate(over="ignore"):
        steps = np.arange(1, count + 1, dtype=np.uint64) * np.uint64(0x9E3779B97F4A7C15)
        z = np.uint64(zlib.crc32(key.encode())) + steps
        z = (z ^ (z >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
        z = (z ^ (z >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
        return z ^ (z >> np.uint64(31))


def filled(key: str, shape: tuple[int, ...], keys: set[str], gain: float) -> torch.Tensor:
    if key.endswith("num_batches_tracked"):
        return torch.zeros(shape, dtype=torch.int64)
    u = (hashed(key, int(np.prod(shape))) >> np.uint64(40)).astype(np.float64) / (1 << 24)
    if key.endswith("running_mean"):
        value = 0.2 * (u - 0.5)
    elif key.endswith("running_var"):
        value = 0.5 + u
    elif len(shape) >= 2:
        value = gain * (2 * u - 1) * np.sqrt(3 / np.prod(shape[1:]))
    elif key.endswith(".weight"):
        is_batch_norm = key.removesuffix("weight") + "running_mean" in keys
        value = 0.4 + 0.6 * u if is_batch_norm else 0.1 + 0.3 * u
    else:
        value = 0.2 * (u - 0.5)
    return torch.from_numpy(value.astype(np.float32).reshape(shape))


def known_state(shapes: dict[str, tuple[int, ...]], gain: float) -> dict[str, torch.Tensor]:
    return {key: filled(key, tuple(shape), set(shapes), gain) for key, shape in shapes.items()}


def known_images() -> np.ndarray:
    """(2, 112, 112, 3) uint8 RGB."""
    z = (hashed("edgefr-input-v1", 2 * 112 * 112 * 3) >> np.uint64(57)).astype(np.int64).reshape(2, 112, 112, 3)
    b, h, w, c = np.ogrid[:2, :112, :112, :3]
    return (z + ((2 * h + w + 60 * c + 30 * b) % 256) // 2).astype(np.uint8)
