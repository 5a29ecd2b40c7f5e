"""Measure how a gallery in a file is built, opened and searched, beside another version of edgefr.
`python -m bench opening --people 100000 --before ../edgefr-0.2`

Each version builds its own gallery, and then they open theirs in turns, each time in a process of its own: `open_s` is
the time until the gallery can be searched, `first_ms` that of a first search, and `search_ms` the median of the
following ones. `*_cpu_s` is time of the processor, which other work on the machine affects less. Peak memory is that of
this process. `ratios` divides the figures of this version by those of the other; `same_answers` compares names and
similarities. People are those of `bench.search`, with one image each.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from bench.search import make_queries, random_templates
from edgefr.engines.latency import describe_machine

TURNS, QUERIES = 3, 50
HERE = Path(__file__).resolve().parents[1]

BUILD = """
import json, sys, time
from pathlib import Path
import numpy as np
from edgefr.gallery.crypto.key_wrapping import KeyFile
from edgefr.gallery.factory import create_gallery
from edgefr.gallery.model_binding import ModelBinding
from edgefr.gallery.records import FaceSample, Person
templates, folder = np.load(sys.argv[1], mmap_mode="r"), Path(sys.argv[2])
def entries():
    for number in range(len(templates)):
        template = np.array(templates[number])
        sample = FaceSample("a.jpg", template, 20.0, -1.0, 2.5)
        yield Person(0, f"person {number}", 1.0, None, template, ()), [sample]
before = time.process_time()
binding = ModelBinding("random directions", "0" * 64, "none", "none", "fp32", templates.shape[1])
start = time.perf_counter()
with create_gallery(folder / "people.gallery", KeyFile.create(folder / "key"), binding, print) as gallery:
    gallery.import_all(entries(), "a bench")
seconds, cpu = time.perf_counter() - start, time.process_time() - before
size = sum(file.stat().st_size for file in folder.glob("people.gallery*"))
"""
OPEN = """
import json, sys, time
from pathlib import Path
import numpy as np
from edgefr.gallery.crypto.key_wrapping import KeyFile
from edgefr.gallery.factory import open_gallery
queries, folder = np.load(sys.argv[1]), Path(sys.argv[2])
before = time.process_time()
start = time.perf_counter()
with open_gallery(folder / "people.gallery", KeyFile(folder / "key")) as gallery:
    opened, took, answers = time.perf_counter() - start, [], []
    cpu = time.process_time() - before
    for query in queries:
        start = time.perf_counter()
        answers.append([(hit.name, round(hit.similarity, 5)) for hit in gallery.search(query, 5)])
        took.append(1e3 * (time.perf_counter() - start))
"""
PEAK = """
status = Path("/proc/self/status").read_text()  # unlike getrusage it does not count the process that started this one
peak = int(status.split("VmHWM:")[1].split()[0]) / 2**20
"""
BUILD += (
    PEAK + 'print(json.dumps({"build_s": seconds, "build_cpu_s": cpu, "build_peak_gb": peak, "disk_gb": size / 2**30}))'
)
OPEN += PEAK + (
    'row = {"open_s": opened, "open_cpu_s": cpu, "first_ms": took[0], "search_ms": float(np.median(took[1:]))}\n'
    'print(json.dumps(row | {"open_peak_gb": peak, "answers": answers}))'
)


def run(people: int, before: Path | None, turns: int = TURNS) -> dict[str, Any]:
    """The figures of this version and of the one in the folder `before`, if it is given."""
    trees = {"now": HERE} | ({} if before is None else {"before": before})
    with tempfile.TemporaryDirectory() as name:
        folder, templates = Path(name), random_templates(people)
        np.save(folder / "templates.npy", templates)
        np.save(folder / "queries.npy", np.stack(make_queries(templates, QUERIES)))
        del templates
        figures: dict[str, dict[str, Any]] = {}
        for version, tree in trees.items():
            (folder / version).mkdir()
            figures[version] = _child(tree, BUILD, folder / "templates.npy", folder / version)
        opened: dict[str, list[dict[str, Any]]] = {version: [] for version in trees}
        for _ in range(turns):
            for version, tree in trees.items():
                opened[version].append(_child(tree, OPEN, folder / "queries.npy", folder / version))
    answers = {version: rows[-1]["answers"] for version, rows in opened.items()}
    for version, rows in opened.items():
        keys = rows[0].keys() - {"answers"}
        figures[version] |= {key: float(np.median([row[key] for row in rows])) for key in sorted(keys)}
    result: dict[str, Any] = {"people": people, "turns": turns, **figures}
    if before is not None:
        result["ratios"] = {key: value / figures["before"][key] for key, value in figures["now"].items()}
        result["same_answers"] = answers["now"] == answers["before"]
    return result


def _child(tree: Path, code: str, *arguments: Path) -> dict[str, Any]:
    """What a script prints that imports edgefr from a folder."""
    command = [sys.executable, "-c", code, *map(str, arguments)]
    environment = os.environ | {"PYTHONPATH": str(tree)}
    done = subprocess.run(command, cwd=tree, env=environment, stdout=subprocess.PIPE, text=True, check=True)
    printed: dict[str, Any] = json.loads(done.stdout)
    return printed


def main(command: Sequence[str]) -> None:
    arguments = argparse.ArgumentParser("python -m bench opening")
    arguments.add_argument("--people", type=int, default=100_000)
    arguments.add_argument("--before", type=Path, help="folder with another version of edgefr")
    arguments.add_argument("--turns", type=int, default=TURNS)
    given = arguments.parse_args(command)
    json.dump({"machine": describe_machine(), **run(given.people, given.before, given.turns)}, sys.stdout, indent=2)
    print()
