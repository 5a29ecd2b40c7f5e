"""Shards: what is kept comes back, within the store's rounding; damage is found and mended."""

from __future__ import annotations

import argparse
import json
import os
import resource
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

torch = pytest.importorskip("torch")

from edgefr.errors import EdgefrError  # noqa: E402
from edgefr.io.run_lock import run_lock  # noqa: E402
from edgefr.training.common.parallel import World  # noqa: E402
from edgefr.training.common.progress import no_progress  # noqa: E402
from edgefr.training.recogniser.feature_shards import (  # noqa: E402
    INDEX,
    LOCK,
    Advance,
    Records,
    ShardReader,
    Shards,
    pack_maps,
    record_dtype,
    shard_batches,
    unpack_maps,
)

SMALL = np.dtype([("embeddings", np.float32, (3,)), ("label", np.int64)])


@pytest.fixture(autouse=True)
def _small_shards(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("edgefr.training.recogniser.feature_shards.SHARD_SIZE", 4)


def records(count: int) -> np.ndarray:
    made = np.zeros(count, SMALL)
    made["label"] = np.arange(count)
    made["embeddings"] = np.random.default_rng(0).normal(size=(count, 3))
    return made


def filled(folder: Path, count: int, key: str = "k") -> Shards:
    shards = Shards(folder, key, count, SMALL)
    for start in shards.missing():
        shards.write(start, records(count)[start : start + 4])
    return shards


def verified(shards: Shards) -> int:
    """How many views were found whole."""
    done: list[int] = []
    shards.verify(done.append)
    return sum(done)


def fill(shards: Shards, world: World | None = None, made: list[int] | None = None) -> None:
    def records_of(start: int, _advance: Advance) -> Records:
        if made is not None:
            made.append(start)
        return records(shards.count)[start : start + 4]

    shards.fill(("making", "checking"), records_of, no_progress, world or World())


def test_records_are_private_because_they_are_templates(tmp_path: Path) -> None:
    fill(Shards(tmp_path / "pool", "k", 5, SMALL))
    assert {path.stat().st_mode & 0o777 for path in (tmp_path / "pool").glob("*.*")} == {0o600}
    assert (tmp_path / "pool").stat().st_mode & 0o777 == 0o700


@settings(deadline=None, max_examples=25)
@given(st.integers(0, 2**32 - 1), st.floats(-8, 4), st.sampled_from(["fp16", "int8"]))
def test_maps_come_back_within_the_stores_rounding(seed: int, exponent: float, store: str) -> None:
    rng = np.random.default_rng(seed)
    maps = rng.normal(size=(1, 2, 512, 7, 7)).astype(np.float32)
    # Channels of very different size, some of them empty.
    maps *= (10 ** (exponent / 2 + rng.uniform(-2, 2, (1, 2, 512, 1, 1)))).astype(np.float32)
    maps[:, :, rng.integers(0, 512, 5)] = 0
    kept = np.empty(1, record_dtype(store, 512, 4))
    pack_maps(maps, kept)
    error = np.abs(unpack_maps(kept) - maps)
    if store == "fp16":  # eleven bits, down to the smallest step of 2^-24
        assert (error <= np.maximum(np.abs(maps) * 2**-11, 2**-25)).all()
    else:  # half a step of each channel's own
        largest = np.abs(maps).max((3, 4), keepdims=True)
        assert (error <= largest * (0.5 / 127 + 1e-6)).all()
        assert (error[np.broadcast_to(largest == 0, maps.shape)] == 0).all()


def test_what_fp16_cannot_hold_is_the_largest_that_it_can() -> None:
    kept = np.empty(1, record_dtype("fp16", 512, 4))
    pack_maps(np.full((1, 2, 512, 7, 7), -1e6, np.float32), kept)
    assert (unpack_maps(kept) == -65504).all()


def test_int8_takes_half_of_fp16() -> None:
    sizes = [record_dtype(store, 512, 256).itemsize for store in ("int8", "fp16")]
    assert sizes[0] < 0.6 * sizes[1]


def test_records_read_are_those_written_in_any_order(tmp_path: Path) -> None:
    shards = Shards(tmp_path, "k", 10, SMALL)
    assert shards.missing() == shards.starts() == [0, 4, 8]
    for start in (8, 0, 4):
        shards.write(start, records(10)[start : start + 4])
    assert shards.missing() == []
    assert verified(shards) == 10
    read = ShardReader(shards)
    for numbers in ([9, 0, 4, 3, 9], [7], list(range(10))):
        assert (read(np.array(numbers)) == records(10)[numbers]).all()
    assert (shards.column("label") == np.arange(10)).all()


def test_the_views_of_all_shards_are_all_views_once() -> None:
    numbers = [batch.tolist() for start in (0, 4, 8) for batch in shard_batches(start, 10, 3)]
    assert numbers == [[0, 1, 2], [3], [4, 5, 6], [7], [8, 9]]


@pytest.mark.parametrize("damage", ["flip", "cut", "gone"])
def test_a_damaged_shard_is_refused_and_the_next_run_makes_it_anew(tmp_path: Path, damage: str) -> None:
    shards, path = filled(tmp_path, 10), tmp_path / "00001.npy"
    whole = path.read_bytes()
    if damage == "gone":
        path.unlink()
    else:
        path.write_bytes(whole[:-9] if damage == "cut" else whole[:-9] + b"\xff" + whole[-8:])
    with pytest.raises(EdgefrError, match=r"00001\.npy as they were written, found others. Run the same"):
        verified(shards)
    assert shards.missing() == [4]
    assert verified(filled(tmp_path, 10)) == 10
    assert path.read_bytes() == whole


def test_only_what_is_missing_is_made(tmp_path: Path) -> None:
    made: list[int] = []
    fill(Shards(tmp_path, "k", 10, SMALL), made=made)
    (tmp_path / "00001.npy").write_bytes(b"damage")
    with pytest.raises(EdgefrError, match="found others"):
        fill(Shards(tmp_path, "k", 10, SMALL))
    fill(Shards(tmp_path, "k", 10, SMALL), made=made)
    assert made == [0, 4, 8, 4]
    assert (Shards(tmp_path, "k", 10, SMALL).column("label") == np.arange(10)).all()


def test_two_runs_do_not_make_the_same_maps_at_once_but_read_them(tmp_path: Path) -> None:
    with run_lock(tmp_path / LOCK), pytest.raises(EdgefrError, match="another run that is making the same"):
        fill(Shards(tmp_path, "k", 10, SMALL))
    fill(Shards(tmp_path, "k", 10, SMALL))
    with run_lock(tmp_path / LOCK):
        fill(Shards(tmp_path, "k", 10, SMALL))


def test_maps_that_the_disk_has_no_room_for_are_refused_before_any_is_made(tmp_path: Path, monkeypatch) -> None:
    free = 10 * SMALL.itemsize
    monkeypatch.setattr("shutil.disk_usage", lambda _path: argparse.Namespace(free=free))
    fill(Shards(tmp_path / "small", "k", 10, SMALL))
    made: list[int] = []
    with pytest.raises(EdgefrError, match=r"expected 2\.900 GB of free disk space for .*, found 0\.000 GB"):
        fill(Shards(tmp_path / "large", "k", 29, np.dtype([("maps", np.uint8, 10**8)])), made=made)
    assert not made


def test_one_process_alone_reads_all_maps_to_check_them(tmp_path: Path, monkeypatch) -> None:
    fill(Shards(tmp_path, "k", 10, SMALL))
    (tmp_path / "00001.npy").write_bytes(b"damage")
    monkeypatch.setattr(World, "barrier", lambda self: None)  # for a process that is not there
    fill(Shards(tmp_path, "k", 10, SMALL), World(1, 2))
    with pytest.raises(EdgefrError, match="found others"):
        fill(Shards(tmp_path, "k", 10, SMALL), World(0, 2))


def test_maps_of_something_else_are_refused(tmp_path: Path) -> None:
    filled(tmp_path, 10)
    with pytest.raises(EdgefrError, match=r"records of this recipe in .* found those of another"):
        Shards(tmp_path, "other", 10, SMALL).missing()


@pytest.mark.parametrize(
    "content", ["", "{", "[]", "3", '{"key": "k"}', '{"key": "k", "shards": 3}', '{"key": "k", "shards": [1]}']
)
def test_an_invalid_index_is_refused(tmp_path: Path, content: str) -> None:
    (tmp_path / INDEX).write_text(content)
    with pytest.raises(EdgefrError, match="Remove the folder"):
        Shards(tmp_path, "k", 10, SMALL).missing()


def test_records_of_another_kind_are_refused(tmp_path: Path) -> None:
    filled(tmp_path, 10)
    other = Shards(tmp_path, "k", 10, np.dtype([("label", np.int64)]))
    with pytest.raises(EdgefrError, match="records of 8 bytes"):
        ShardReader(other)(np.array([3]))


def test_the_index_names_each_shard_with_its_checksum(tmp_path: Path) -> None:
    filled(tmp_path, 10)
    index = json.loads((tmp_path / INDEX).read_text())
    assert index["key"] == "k"
    assert {name: entry["views"] for name, entry in index["shards"].items()} == {
        "00000.npy": 4,
        "00001.npy": 4,
        "00002.npy": 2,
    }


def test_there_may_be_more_shards_than_a_process_may_open_files(tmp_path: Path, monkeypatch) -> None:
    monkeypatch.setattr("edgefr.training.recogniser.feature_shards.MAX_OPEN_SHARDS", 8)
    shards = filled(tmp_path, 160)
    limit = resource.getrlimit(resource.RLIMIT_NOFILE)
    used = max(map(int, os.listdir("/proc/self/fd")))  # noqa: PTH208 - numbers, not files
    resource.setrlimit(resource.RLIMIT_NOFILE, (used + 20, limit[1]))
    try:
        assert (ShardReader(shards)(np.arange(160))["label"] == np.arange(160)).all()
        assert (shards.column("label") == np.arange(160)).all()
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, limit)
