"""A build reuses the measurements of the last one on the same device, and ignores a damaged file."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from edgefr.engines.timing_cache import load_timing_cache, save_timing_cache, timing_cache_file
from edgefr.runtimes.engine_file import Target

HERE = Target("tensorrt", "10.3.0", "a card SM89", "CUDA 12.6")


class Cache:
    def __init__(self, data: bytes) -> None:
        self.data = data

    def serialize(self) -> bytes:
        return self.data


class Config:
    """Like TensorRT's: it rejects damaged caches and those of other devices."""

    def __init__(self) -> None:
        self.cache: Cache | None = None

    def create_timing_cache(self, data: bytes) -> Cache | None:
        return None if data.startswith(b"damaged") else Cache(data)

    def set_timing_cache(self, cache: Cache, ignore_mismatch: bool) -> bool:
        if cache.data.startswith(b"another device") and not ignore_mismatch:
            return False
        self.cache = cache
        return True

    def get_timing_cache(self) -> Cache | None:
        return self.cache


def test_a_build_reuses_the_measurements_of_the_last_one(tmp_path: Path) -> None:
    path = timing_cache_file(tmp_path / "cache", HERE)
    path.parent.mkdir()
    first, second = Config(), Config()
    load_timing_cache(first, path)
    assert first.cache is not None
    first.cache.data += b"a kernel's time"
    save_timing_cache(first, path)
    load_timing_cache(second, path)
    assert second.cache is not None
    assert second.cache.data == b"a kernel's time"


def test_an_unusable_cache_is_replaced_by_an_empty_one(tmp_path: Path) -> None:
    for data in (b"damaged", b"another device's"):
        (tmp_path / "timings").write_bytes(data)
        config = Config()
        load_timing_cache(config, tmp_path / "timings")
        assert config.cache is not None
        assert config.cache.data == b""


def test_every_target_has_its_own_file(tmp_path: Path) -> None:
    others = [replace(HERE, **{name: "x"}) for name in ("runtime", "version", "device", "driver")]
    assert len({timing_cache_file(tmp_path, place) for place in (HERE, *others)}) == 5


def test_a_library_without_timing_caches_writes_no_file(tmp_path: Path) -> None:
    load_timing_cache(object(), tmp_path / "timings")
    save_timing_cache(object(), tmp_path / "timings")
    assert list(tmp_path.iterdir()) == []
