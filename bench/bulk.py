"""`python -m bench.bulk --images N`: a bulk job over synthetic photographs is killed at random and begun again.

`python -m bench bulk` does it with 100,000. When the job is done, every photograph must have exactly one row in the
shards: the good ones a face, the damaged ones a reason. They are those of scikit-image and matplotlib, small, each
moved and coloured otherwise, so that the detector misses one in some thousands; a share is damaged in one of four ways.
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
"""Longest side in pixels: detection takes the time, and it grows with the size."""
BAD = 20
"""Of so many photographs one is damaged."""
MISSED = 500
"""Of so many good photographs the detector may miss the face of one; it did in one of 3,000."""
PEOPLE = 500
"""Photographs of a folder."""


def run(images: int, kills: int, workers: int, seed: int, model: str, folder: Path) -> dict[str, Any]:
    """Make photographs, embed them with so many kills, check all rows; what was found.

    Raises:
        SystemExit: a run fails, or a photograph has not exactly the row that it should have.
    """
    rng = random.Random(seed)  # noqa: S311
    bad = make(folder / "photographs", images, rng)
    output = folder / "shards"
    shard = max(1, min(2048, images // 24))
    command = [sys.executable, "-m", "edgefr", "embed", str(folder / "photographs"), "-o", str(output)]
    command += ["--workers", str(workers), "--shard", str(shard), "--model", model, "--json"]
    start, there = time.perf_counter(), []
    for kill in range(kills):
        there.append(_killed(command, output, -(-images // shard), kill, kills, rng))
    told = subprocess.run(command, capture_output=True, text=True, check=False)
    if told.returncode:
        raise SystemExit(told.stderr)
    seconds = time.perf_counter() - start
    done = json.loads(told.stdout)
    missed = check(folder / "photographs", output, images, bad)
    return {
        "images": images,
        "damaged": len(bad),
        "faces_missed": missed,
        "shards": done["shards"],
        "kills": kills,
        "shards_whole_at_kills": there,
        "images_per_second": images / seconds,
        "seconds": seconds,
        "workers": workers,
        **{key: done[key] for key in ("model_sha256", "detector", "runtime", "precision")},
    }


def make(folder: Path, images: int, rng: random.Random) -> set[str]:
    """Write so many photographs; the paths of the damaged ones."""
    photos = [resize_longest_side(photo, SIDE) for name, photo in demo_photos().items() if name != "her bad copy"]
    bad = set()
    for number in range(images):
        path = folder / f"{number // PEOPLE:04d}" / f"{number:07d}.jpg"
        path.parent.mkdir(parents=True, exist_ok=True)
        data = _jpeg(photos[number % len(photos)], rng)
        if rng.randrange(BAD) == 0:
            data = _damaged(data, rng)
            bad.add(str(path))
        path.write_bytes(data)
    return bad


def check(folder: Path, output: Path, images: int, bad: set[str]) -> int:
    """Insist on exactly one row for every photograph, with a face or a reason as it should be; how many of the good
    ones the detector saw no face in."""
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
    there = {str(path) for path in folder.rglob("*.jpg")}
    if rows.keys() != there or len(there) != images or set(rows.values()) != {1}:
        raise SystemExit(f"expected each of {images} photographs once, found {len(rows)}, of {rows.most_common(3)}")
    good = images - len(bad)
    if missed > 1 + good // MISSED or len(embeddings) < 0.9 * good:
        raise SystemExit(f"expected {good} faces, found {missed} missed and {len(embeddings)} embeddings")
    return missed


def _killed(command: list[str], output: Path, shards: int, kill: int, kills: int, rng: random.Random) -> int:
    """Begin a run in a group of its own, kill the group at a random moment before it is done; shards then there."""
    process = subprocess.Popen(command, start_new_session=True, stdout=subprocess.DEVNULL)
    wanted = shards * (kill + rng.random()) / kills  # of `kills` equal parts of the job, some time in each
    while len(list(output.glob("part-*.parquet"))) < wanted:
        if process.poll() is not None:
            raise SystemExit(f"run {kill} ended before it was killed, with {process.returncode}")
        time.sleep(0.02)
    time.sleep(rng.uniform(0, 1))
    os.killpg(process.pid, signal.SIGKILL)
    process.wait()
    return len(list(output.glob("part-*.parquet")))


def _jpeg(photo: Image, rng: random.Random) -> bytes:
    """The photograph cut at two sides by some pixels, brighter or darker in each colour."""
    moved = photo[rng.randrange(8) :, rng.randrange(8) :]
    gains = np.array([rng.uniform(0.9, 1.1) for _ in range(3)])
    other = np.clip(moved * gains, 0, 255).astype(np.uint8)
    return bytes(cv2.imencode(".jpg", other[..., ::-1], [cv2.IMWRITE_JPEG_QUALITY, rng.randint(85, 95)])[1])


def _damaged(data: bytes, rng: random.Random) -> bytes:
    """No picture, an empty file, a header alone, or a picture without a face."""
    how = rng.randrange(4)
    if how == 3:
        grey = np.full((SIDE, SIDE, 3), rng.randrange(256), np.uint8)
        return bytes(cv2.imencode(".jpg", grey)[1])
    return (b"this is text", b"", data[:20])[how]


def main() -> None:
    arguments = argparse.ArgumentParser()
    arguments.add_argument("--images", type=int, default=100_000)
    arguments.add_argument("--kills", type=int, default=3)
    arguments.add_argument("--workers", type=int, default=2)
    arguments.add_argument("--seed", type=int, default=0)
    arguments.add_argument("--model", default="mini")
    given = arguments.parse_args()
    with tempfile.TemporaryDirectory(prefix="edgefr-bulk-") as folder:
        found = run(given.images, given.kills, given.workers, given.seed, given.model, Path(folder))
    print(json.dumps(found, indent=2))


if __name__ == "__main__":
    main()
