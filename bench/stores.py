"""Measure a gallery of many people in each store: time to build it, memory, disk, and speed and recall of the search.
`python -m bench stores --store milvus --server milvus://localhost:19530 --people 1000000`

People are random directions with one image each, and queries are those of `bench.search`. `recall_at_1` is the share of
queries with the same first person as an exact search in float32. People are added by `import_all`. Peak memory is that
of this process, which also holds all templates (`templates_gb`). `server_gb` is the memory of the server's processes,
if `--server-pid` is given. The first search after the build loads the index and is reported separately as `first_ms`.
"""

from __future__ import annotations

import argparse
import json
import resource
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from bench.search import DIM, make_queries, random_templates
from edgefr.engines.latency import describe_machine
from edgefr.gallery.address import Address, parse_address
from edgefr.gallery.base import Gallery
from edgefr.gallery.crypto.key_wrapping import KeyFile
from edgefr.gallery.factory import create_gallery, open_gallery
from edgefr.gallery.model_binding import ModelBinding
from edgefr.gallery.records import FaceSample, Person
from edgefr.types import Floats

BINDING = ModelBinding("random directions", "0" * 64, "none", "none", "fp32", DIM)
QUERIES = 500
FILE, LITE, POSTGRES, MILVUS = STORES = ("file", "milvus-lite", "postgresql", "milvus")


def run(
    people: int, store: str, server: str | None, pid: int | None, queries: int = QUERIES, transform: bool = False
) -> dict[str, Any]:
    """The row of the table for one store."""
    templates = random_templates(people)
    asked = make_queries(templates, queries)
    # Milvus Lite may still write while its folder is deleted, which must not lose the row.
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as folder:
        place, key = _place(store, server, Path(folder)), KeyFile.create(Path(folder) / "key")
        start = time.perf_counter()
        with create_gallery(place, key, BINDING, lambda _text: None, transform=transform) as gallery:
            gallery.import_all(_entries(templates), "a bench")
            inserted = time.perf_counter() - start
            _settle(gallery)
            built = time.perf_counter() - start
        start = time.perf_counter()
        with open_gallery(place, key) as gallery:
            opened = time.perf_counter() - start
            row = {
                "store": store,
                "people": people,
                "transformed": transform,
                "insert_s": inserted,
                "build_s": built,
                "open_s": opened,
                **_search(gallery, templates, asked),
                "client_peak_gb": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20,
                "templates_gb": templates.nbytes / 2**30,
                "server_gb": None if pid is None else _memory(pid),
                "disk_gb": _disk(Path(folder)) or None,
            }
            start = time.perf_counter()
            gallery.enrol("One more", [_sample(asked[0])])
            row["enrol_one_ms"] = 1e3 * (time.perf_counter() - start)
            start = time.perf_counter()
            gallery.remove("One more")
            return row | {"remove_one_ms": 1e3 * (time.perf_counter() - start)}


def _place(store: str, server: str | None, folder: Path) -> Path | Address:
    if store == FILE:
        return folder / "people.gallery"
    name = f"bench{time.time_ns()}"
    if store == LITE:
        return parse_address(f"{LITE}:{folder}/people.db/{name}")
    if server is None:
        raise SystemExit(f"give --server, such as {store}://HOST:PORT" + "/DATABASE" * (store == POSTGRES))
    return parse_address(f"{server.rstrip('/')}/{name}")


def _entries(templates: Floats) -> Iterator[tuple[Person, list[FaceSample]]]:
    start = time.perf_counter()
    for number, template in enumerate(templates):
        yield Person(0, f"person {number}", 1.0, None, template, ()), [_sample(template)]
        if number % 10_000 == 9_999:
            rate = number / (time.perf_counter() - start)
            print(f"{number + 1:,} people, {rate:,.0f}/s", file=sys.stderr)


def _sample(embedding: Floats) -> FaceSample:
    return FaceSample("a.jpg", embedding, 20.0, -1.0, 2.5)


def _settle(gallery: Gallery) -> None:
    """Make Milvus close and index its segments, which it would do by itself within minutes."""
    from edgefr.gallery.database_gallery import DatabaseGallery
    from edgefr.gallery.stores.milvus import MilvusStore

    if not isinstance(gallery, DatabaseGallery) or not isinstance(gallery._store, MilvusStore):
        return
    client, people = gallery._store._client, gallery._store._people
    client.flush(people, timeout=600)
    index = client.list_indexes(people, "template")[0]
    while (left := client.describe_index(people, index).get("pending_index_rows", 0)) > 0:
        print(f"{left:,} people are not indexed yet", file=sys.stderr)
        time.sleep(1)


def _search(gallery: Gallery, templates: Floats, asked: list[Floats]) -> dict[str, Any]:
    start = time.perf_counter()
    gallery.search(asked[0], 5)
    first, took, right = time.perf_counter() - start, [], []
    for query in asked:
        start = time.perf_counter()
        hits = gallery.search(query, 5)
        took.append(time.perf_counter() - start)
        right.append(bool(hits) and hits[0].name == f"person {int(np.argmax(templates @ query))}")
    return {
        "first_ms": 1e3 * first,
        "p50_ms": 1e3 * float(np.percentile(took, 50)),
        "p99_ms": 1e3 * float(np.percentile(took, 99)),
        "recall_at_1": float(np.mean(right)),
        "recall_at_1_of_enrolled": float(np.mean(right[1::2])),
        "queries": len(asked),
    }


def _memory(pid: int) -> float:
    """Memory of a process and its children in GiB; shared pages are divided among their users."""
    total, waiting = 0, [pid]
    while waiting:
        process = Path("/proc") / str(waiting.pop())
        for task in process.glob("task/*/children"):
            waiting += map(int, task.read_text().split())
        rollup = (process / "smaps_rollup").read_text()
        total += next(int(line.split()[1]) for line in rollup.splitlines() if line.startswith("Pss:"))
    return total / 2**20


def _disk(folder: Path) -> float:
    return sum(file.stat().st_size for file in folder.rglob("*") if file.is_file()) / 2**30


def main(command: Sequence[str]) -> None:
    arguments = argparse.ArgumentParser("python -m bench stores")
    arguments.add_argument("--people", type=int, default=1_000_000)
    arguments.add_argument("--store", choices=STORES, default=FILE)
    arguments.add_argument("--server", help="milvus://HOST:PORT or postgresql://USER@HOST:PORT/DATABASE")
    arguments.add_argument("--server-pid", type=int, help="process whose memory is reported, with its children")
    arguments.add_argument("--queries", type=int, default=QUERIES)
    arguments.add_argument("--transform-templates", action="store_true")
    given = arguments.parse_args(command)
    row = run(given.people, given.store, given.server, given.server_pid, given.queries, given.transform_templates)
    json.dump({"machine": describe_machine(), **row}, sys.stdout, indent=2)
    print()
