"""Measure the transform of templates: same answers, speed, and what known templates reveal to the database's operator.

`same_first` is the share of searches with the same first person as in clear, `largest_change` the largest change of a
similarity. An operator who knows the templates of some people in clear fits the transform to them (orthogonal
Procrustes) and undoes it for all others; `recovered` is the mean similarity of what that gives to the true templates.

    python -m bench.template_transform                      # random directions, as in bench.search
    edgefr embed FACES -o faces.npz && python -m bench.template_transform --embeddings faces.npz
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from pathlib import Path

import numpy as np

from bench.search import DIM, NOISE, random_templates
from edgefr.engines.latency import describe_machine
from edgefr.gallery.crypto.template_transform import TemplateTransform
from edgefr.types import Floats

TURNS, QUERIES, UNKNOWN = 200, 500, 500


def run(templates: Floats) -> dict[str, object]:
    """The figures for templates (N, K) of unit length."""
    dim = templates.shape[1]
    start = time.perf_counter()
    transform = TemplateTransform.new()
    stored = transform.apply(templates)
    prepared = time.perf_counter() - start
    queries = _queries(templates)
    took = []
    for query in queries[:TURNS]:
        start = time.perf_counter()
        transform.apply(query[None])
        took.append(time.perf_counter() - start)
    clear, found = queries @ templates.T, transform.apply(queries) @ stored.T
    return {
        "people": len(templates),
        "dim": dim,
        "first_use_s": prepared,
        "query_us": 1e6 * float(np.median(took)),
        "same_first": float(np.mean(clear.argmax(1) == found.argmax(1))),
        "largest_change": float(np.abs(clear - found).max()),
        "recovered": {known: _recovered(templates, stored, known) for known in (32, 64, 128, 256, 512, 1024)},
    }


def _queries(templates: Floats) -> Floats:
    """Noisy views of people."""
    rng = np.random.default_rng(0)
    queries = templates[rng.integers(len(templates), size=QUERIES)] + rng.normal(
        0, NOISE, (QUERIES, templates.shape[1])
    )
    normalised: Floats = (queries / np.linalg.norm(queries, axis=1, keepdims=True)).astype(np.float32)
    return normalised


def _recovered(templates: Floats, stored: Floats, known: int) -> float | None:
    """Mean similarity of the recovered templates of `UNKNOWN` people; None if there are too few people."""
    if len(templates) < known + UNKNOWN:
        return None
    left, _, right = np.linalg.svd(templates[:known].T @ stored[:known])
    # Directions that no known template has are left out, because the fit says nothing about them.
    rank = min(known, templates.shape[1])
    recovered = stored[known : known + UNKNOWN] @ (left[:, :rank] @ right[:rank]).T
    recovered /= np.linalg.norm(recovered, axis=1, keepdims=True)
    return float(np.mean(np.sum(recovered * templates[known : known + UNKNOWN], axis=1)))


def main() -> None:
    arguments = argparse.ArgumentParser("python -m bench.template_transform")
    arguments.add_argument("--embeddings", type=Path, help="output of edgefr embed; the default are random directions")
    arguments.add_argument("--people", type=int, default=20_000)
    given = arguments.parse_args()
    if given.embeddings is None:
        templates = random_templates(given.people)
    else:
        templates = np.load(given.embeddings)["embedding"].astype(np.float32)
    json.dump(
        {"machine": describe_machine(), "of": str(given.embeddings or f"{DIM} random numbers"), **run(templates)},
        sys.stdout,
        indent=2,
    )
    print()


if __name__ == "__main__":
    main()
