"""Compare a search among a million people with the bandwidth of memory, and with numpy, faiss and usearch.

Templates are random directions, which is the hardest case. Half of the queries are noisy templates of enrolled people,
half are strangers. The methods take turns, so that other work on the machine affects all of them. `times_memory` is
the best time divided by the time in which memory delivers the scanned bytes. `python -m bench.search --people 1000`
measures a small gallery.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from importlib import import_module, util
from typing import Any

import numpy as np

from edgefr.engines.latency import describe_machine
from edgefr.gallery.search.int8_index import ROWS, THREADS, Codes, Int8Index, numkong_scan, numpy_scan
from edgefr.types import Floats

DIM, TOP, TURNS = 512, 5, 12
NOISE = 0.03
READ = "codes read and nothing else"
PART = 4
"""Libraries with int8 codes of their own get one in four templates, so that 3 GB of memory are enough."""

Method = Callable[[Floats], Sequence[int] | None]


def run(people: int = 1_000_000) -> dict[str, Any]:
    """Milliseconds of a search by each method, and the share of queries with the same first person as in float32."""
    templates = random_templates(people)
    queries = make_queries(templates, TURNS)
    asked: list[int] = []

    def exact(ids: Sequence[int]) -> Floats:
        asked.append(len(ids))
        return templates[np.array(ids)]

    index = Int8Index(exact)
    for start in range(0, people, ROWS):
        index.add(range(start, min(start + ROWS, people)), templates[start : start + ROWS])
    blocks = [block.codes for block in index._blocks]
    ways: dict[str, tuple[int, Method]] = {
        f"{READ}, {count} threads": (people * DIM, lambda _query, count=count: _read(blocks, count))
        for count in (1, THREADS)
    }
    kernels = {"numpy": numpy_scan} | ({"numkong": numkong_scan()} if util.find_spec("numkong") else {})
    for name, scan in kernels.items():
        ways[f"edgefr, int8 by {name}"] = (people * DIM, _ours(index, scan))
    ways["numpy, float32"] = (4 * people * DIM, lambda query: _best(templates @ query))
    ways |= _faiss(templates) | _usearch(templates, blocks)
    found = _take_turns(ways, queries)
    right = [int(_best(templates @ query)[0]) for query in queries]
    floor = min(times["best_ms"] for name, times in found.items() if name.startswith(READ))
    rows = {
        name: {
            **times,
            "gb_per_s": ways[name][0] / times["best_ms"] / 1e6,
            "times_memory": times["best_ms"] / floor * (people * DIM / ways[name][0]),  # relative to its bytes
            "same_top_1": None if found_ids is None else sum(map(int.__eq__, found_ids, right)) / len(right),
        }
        for name, (times, found_ids) in ((name, (row, row.pop("ids"))) for name, row in found.items())
    }
    return {"people": people, "dim": DIM, "compared_again": float(np.mean(asked)), "ways": rows}


def random_templates(people: int) -> Floats:
    """Templates (people, DIM) of unit length in random directions, the same every time."""
    rng = np.random.default_rng(0)
    templates = np.empty((people, DIM), np.float32)
    for start in range(0, people, ROWS):
        rows = templates[start : start + ROWS]
        rng.random(out=rows, dtype=np.float32)
        rows -= 0.5
        rows /= np.linalg.norm(rows, axis=1, keepdims=True)
    return templates


def make_queries(templates: Floats, count: int) -> list[Floats]:
    """Queries (DIM,) of unit length: strangers and noisy templates in turns."""
    rng = np.random.default_rng(1)
    queries = []
    for turn in range(count):
        query = rng.standard_normal(DIM, np.float32)
        if turn % 2:
            query = templates[rng.integers(len(templates))] + np.float32(NOISE) * query
        queries.append(query / np.linalg.norm(query))
    return queries


def _take_turns(ways: dict[str, tuple[int, Method]], queries: Sequence[Floats]) -> dict[str, dict[str, Any]]:
    seconds: dict[str, list[float]] = {name: [] for name in ways}
    ids: dict[str, list[int]] = {name: [] for name in ways}
    for turn, query in enumerate([queries[0], *queries]):
        for name, (_, way) in ways.items():
            start = time.perf_counter()
            answer = way(query)
            if turn:  # the first one is a warm-up
                seconds[name].append(time.perf_counter() - start)
                if answer is not None:
                    ids[name].append(int(answer[0]))
    return {
        name: {"best_ms": 1e3 * min(took), "median_ms": 1e3 * float(np.median(took)), "ids": ids[name] or None}
        for name, took in seconds.items()
    }


def _read(blocks: Sequence[Codes], count: int) -> None:
    """Read all codes in `count` threads."""

    def read(start: int) -> int:
        return sum(int(one.view(np.int64).sum()) for one in blocks[start::count])

    with ThreadPoolExecutor(count) as threads:
        list(threads.map(read, range(count)))


def _ours(index: Int8Index, scan: Callable[[Codes, Codes], Floats]) -> Method:
    def search(query: Floats) -> list[int]:
        index._scan = scan
        return [match.id for match in index.search(query, TOP)]

    return search


def _best(similarity: Floats) -> np.ndarray[Any, Any]:
    top = np.argpartition(similarity, -TOP)[-TOP:]
    return top[np.argsort(-similarity[top])]


def _faiss(templates: Floats) -> dict[str, tuple[int, Method]]:
    if util.find_spec("faiss") is None:
        return {}
    faiss = import_module("faiss")
    count = len(templates) // PART
    quantised = faiss.IndexScalarQuantizer(DIM, faiss.ScalarQuantizer.QT_8bit, faiss.METRIC_INNER_PRODUCT)
    quantised.train(templates[:ROWS])
    quantised.add(templates[:count])
    inner = faiss.METRIC_INNER_PRODUCT
    return {
        # The kernel of IndexFlatIP, without its copy of the templates.
        "faiss flat, float32": (
            templates.nbytes,
            lambda query: faiss.knn(query[None], templates, TOP, metric=inner)[1][0],
        ),
        f"faiss QT_8bit, 1/{PART} of them": (count * DIM, lambda query: _no_result(quantised.search(query[None], TOP))),
    }


def _usearch(templates: Floats, blocks: Sequence[Codes]) -> dict[str, tuple[int, Method]]:
    if util.find_spec("usearch") is None:
        return {}
    usearch = import_module("usearch.index")
    codes = np.concatenate(blocks[: len(blocks) // PART + 1])
    inner = usearch.MetricKind.IP
    code = np.rint(np.linspace(-127, 127, DIM)).astype(np.int8)
    return {
        "usearch exact, float32": (
            templates.nbytes,
            lambda query: usearch.search(templates, query[None], TOP, inner, exact=True, threads=THREADS).keys.ravel(),
        ),
        f"usearch exact int8, 1/{PART} of them": (
            codes.nbytes,
            lambda query: _no_result(usearch.search(codes, code[None], TOP, inner, exact=True, threads=THREADS)),
        ),
    }


def _no_result(_answer: object) -> None:
    """The nearest of a part of the templates is not comparable."""


def main() -> None:
    arguments = argparse.ArgumentParser()
    arguments.add_argument("--people", type=int, default=1_000_000)
    json.dump({"machine": describe_machine(), **run(arguments.parse_args().people)}, sys.stdout, indent=2)
    print()


if __name__ == "__main__":
    main()
