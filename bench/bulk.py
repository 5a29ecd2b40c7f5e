"""`python -m bench.bulk --images N`: kill a bulk job over synthetic photographs at random times and resume it.

`python -m bench bulk` uses 100,000 photographs. At the end every photograph must have exactly one row in the shards: a
face if it is good, a reason if it is damaged. The photographs are small versions of those in scikit-image and
matplotlib, each shifted and coloured differently, so that the detector misses few; a share is damaged in one of four
ways.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from edgefr.demo import demo_photos
from edgefr.detection.multiscale import resize_longest_side
from edgefr.jobs.embedding_shards import read_rows
from edgefr.jobs.job_description import read_job
from edgefr.types import Image

SIDE = 256
"""Longest side in pixels. Detection takes most of the time, which grows with the size."""
DAMAGED_ONE_IN = 20
MISSED_ONE_IN = 500
"""The allowed rate of missed faces in good photographs. It was one in 3,000."""
FOLDER_SIZE = 500
"""Photographs in a folder."""


def run(images: int, kills: int, workers: int, seed: int, model: str, folder: Path) -> dict[str, Any]:
    """Make photographs, embed them with a number of kills, and check all rows.

    Raises:
        SystemExit: A run fails, or a photograph does not have the right row.
    """
    rng = random.Random(seed)  # noqa: S311
    bad = make(folder / "photographs", images, rng)
    output = folder / "shards"
    shard = max(1, min(2048, images // 24))
    command = [sys.executable, "-m", "edgefr", "embed", str(folder / "photographs"), "-o", str(output)]
    command += ["--workers", str(workers), "--shard", str(shard), "--model", model, "--json"]
    start, finished = time.perf_counter(), []
    for kill in range(kills):
        finished.append(_killed(command, output, -(-images // shard), kill, kills, rng))
    result = subprocess.run(command, capture_output=True, text=True, check=False)
    if result.returncode:
        raise SystemExit(result.stderr)
    seconds = time.perf_counter() - start
    done = json.loads(result.stdout)
    missed = check(folder / "photographs", output, images, bad)
    return {
        "images": images,
        "damaged": len(bad),
        "faces_missed": missed,
        "shards": done["shards"],
        "kills": kills,
        "shards_whole_at_kills": finished,
        "images_per_second": images / seconds,
        "seconds": seconds,
        "workers": workers,
        **{key: done[key] for key in ("model_sha256", "detector", "runtime", "precision")},
    }


def make(folder: Path, images: int, rng: random.Random) -> set[str]:
    """Write photographs, and return the paths of the damaged ones."""
    photos = [resize_longest_side(photo, SIDE) for name, photo in demo_photos().items() if name != "her bad copy"]
    bad = set()
    for number in range(images):
        path = folder / f"{number // FOLDER_SIZE:04d}" / f"{number:07d}.jpg"
        path.parent.mkdir(parents=True, exist_ok=True)
        data = _jpeg(photos[number % len(photos)], rng)
        if rng.randrange(DAMAGED_ONE_IN) == 0:
            data = _damaged(data, rng)
            bad.add(str(path))
        path.write_bytes(data)
    return bad


def check(folder: Path, output: Path, images: int, bad: set[str]) -> int:
    """Check that every photograph has exactly one row, with a face or a reason as expected.

    Returns:
        The number of good photographs in which the detector finds no face.
    """
    rows, embeddings, missed = Counter[str](), set(), 0
    for row in read_rows(output, read_job(output)):
        rows[row.path] += 1
        if (row.embedding is None) == (row.refused is None) or (row.refused is None and row.path in bad):
            raise SystemExit(f"expected a face or a reason for {row.path}, found {row}")
        if row.embedding is not None:
            embeddings.add(row.embedding.tobytes())
        elif row.path not in bad:
            if not str(row.refused).startswith("expected a face in"):
                raise SystemExit(f"expected a face of {row.path}, found: {row.refused}")
            missed += 1
    photographs = {str(path) for path in folder.rglob("*.jpg")}
    if rows.keys() != photographs or len(photographs) != images or set(rows.values()) != {1}:
        raise SystemExit(f"expected each of {images} photographs once, found {len(rows)}, of {rows.most_common(3)}")
    good = images - len(bad)
    if missed > 1 + good // MISSED_ONE_IN or len(embeddings) < 0.9 * good:
        raise SystemExit(f"expected {good} faces, found {missed} missed and {len(embeddings)} embeddings")
    return missed


def _killed(command: list[str], output: Path, shards: int, kill: int, kills: int, rng: random.Random) -> int:
    """Start a run in its own process group, kill the group at a random time before its end, and count the shards."""
    process = subprocess.Popen(command, start_new_session=True, stdout=subprocess.DEVNULL)
    wanted = shards * (kill + rng.random()) / kills  # one kill in each of `kills` equal parts of the job
    while len(list(output.glob("part-*.parquet"))) < wanted:
        if process.poll() is not None:
            raise SystemExit(f"run {kill} ended with {process.returncode} before it was killed")
        time.sleep(0.02)
    time.sleep(rng.uniform(0, 1))
    os.killpg(process.pid, signal.SIGKILL)
    process.wait()
    return len(list(output.glob("part-*.parquet")))


def _jpeg(photo: Image, rng: random.Random) -> bytes:
    """The photograph cropped by some pixels at two sides, brighter or darker in each colour."""
    moved = photo[rng.randrange(8) :, rng.randrange(8) :]
    gains = np.array([rng.uniform(0.9, 1.1) for _ in range(3)])
    coloured = np.clip(moved * gains, 0, 255).astype(np.uint8)
    return bytes(cv2.imencode(".jpg", coloured[..., ::-1], [cv2.IMWRITE_JPEG_QUALITY, rng.randint(85, 95)])[1])


def _damaged(data: bytes, rng: random.Random) -> bytes:
    """Text, an empty file, a header alone, or a picture without a face."""
    kind = rng.randrange(4)
    if kind == 3:
        grey = np.full((SIDE, SIDE, 3), rng.randrange(256), np.uint8)
        return bytes(cv2.imencode(".jpg", grey)[1])
    return (b"this is text", b"", data[:20])[kind]


def main() -> None:
    arguments = argparse.ArgumentParser()
    arguments.add_argument("--images", type=int, default=100_000)
    arguments.add_argument("--kills", type=int, default=3)
    arguments.add_argument("--workers", type=int, default=2)
    arguments.add_argument("--seed", type=int, default=0)
    arguments.add_argument("--model", default="mini")
    given = arguments.parse_args()
    with tempfile.TemporaryDirectory(prefix="edgefr-bulk-") as folder:
        result = run(given.images, given.kills, given.workers, given.seed, given.model, Path(folder))
    print(json.dumps(result, indent=2))


if __name__ == "__main__":
    main()
