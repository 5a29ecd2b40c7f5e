"""What one build measured is there for the next one on the same device, and never stands in its way."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from edgefr.engines.timing_cache import keep_timings, timings_file, use_timings
from edgefr.runtimes.engine_file import Target

HERE = Target("tensorrt", "10.3.0", "a card SM89", "CUDA 12.6")


class Cache:
    def __init__(self, data: bytes) -> None:
        self.data = data

    def serialize(self) -> bytes:
        return self.data


class Config:
    """As TensorRT's: it makes nothing of what is damaged and takes no other device's."""

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


def test_a_build_goes_on_from_what_the_last_one_measured(tmp_path: Path) -> None:
    path = timings_file(tmp_path / "cache", HERE)
    path.parent.mkdir()
    first, second = Config(), Config()
    use_timings(first, path)
    assert first.cache is not None
    first.cache.data += b"a kernel's time"
    keep_timings(first, path)
    use_timings(second, path)
    assert second.cache is not None
    assert second.cache.data == b"a kernel's time"


def test_what_cannot_be_used_is_measured_anew(tmp_path: Path) -> None:
    for kept in (b"damaged", b"another device's"):
        (tmp_path / "timings").write_bytes(kept)
        config = Config()
        use_timings(config, tmp_path / "timings")
        assert config.cache is not None
        assert config.cache.data == b""


def test_another_device_has_another_file(tmp_path: Path) -> None:
    others = [replace(HERE, **{name: "x"}) for name in ("runtime", "version", "device", "driver")]
    assert len({timings_file(tmp_path, place) for place in (HERE, *others)}) == 5


def test_a_library_without_such_a_cache_keeps_none(tmp_path: Path) -> None:
    use_timings(object(), tmp_path / "timings")
    keep_timings(object(), tmp_path / "timings")
    assert list(tmp_path.iterdir()) == []
