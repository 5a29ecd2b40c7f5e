"""Questions about embeddings in files: the shards of bulk jobs, and the arrays of .npz files."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

import numpy as np

from tests.golden.asking import Answer, Shell, differences
from tests.golden.of_galleries import FAKE, SEEN

JOB = ("embed", "--list", "photographs.txt", "--shard", 3, *FAKE)
PART = "part-00001.parquet"


def finished_job(shell: Shell) -> Answer:
    """Nothing is done again, and nothing changes."""
    job, new = shell.folder / "job", ("-g", "new.gallery")
    before = _files(job)
    told: Answer = {"again": shell.asked(*JOB, "-o", "job")}
    after = _files(job)
    told["changed"] = [name for name in before if after.get(name) != before[name]]
    told["enrolled"] = shell.asked("gallery", "enroll", "--from", "job", *FAKE, *new, "--plain")
    told["identify"] = shell.asked("gallery", "identify", *SEEN, *FAKE, *new)
    told["show"] = shell.asked("gallery", "show", "Hopper", *new)["json"]["images"]
    return told | {"others": shell("embed", *SEEN, "-o", "job", *FAKE).refusal}


def unfinished_job(shell: Shell) -> Answer:
    """Only the shard that is missing is made, as it was."""
    job = shell.folder / "job"
    before, rows = _files(job), _rows(job)
    (job / PART).unlink()
    told: Answer = {"again": shell.asked(*JOB, "-o", "job")}
    after = _files(job)
    told["changed"] = [name for name in before if name != PART and after[name] != before[name]]
    return told | {"rows": list(differences(rows, _rows(job)))}


def another_job(shell: Shell) -> Answer:
    """A new job of the same photographs is the same."""
    old, new = shell.folder / "job", shell.folder / "new"
    told: Answer = {"new": shell.asked(*JOB, "-o", "new")}
    told["missing"] = sorted(_files(old).keys() - _files(new).keys())
    told["job"] = (old / "job.json").read_text() == (new / "job.json").read_text()
    return told | {"rows": list(differences(_rows(old), _rows(new)))}


def npz(shell: Shell) -> Answer:
    """What is written today has the arrays of the old file, and the same numbers."""
    (shell.folder / "broken.jpg").write_text("no picture")
    told: Answer = {"embed": shell.asked("embed", "pictures", "broken.jpg", "-o", "new.npz", *FAKE)}
    old, new = _arrays(shell.folder / "faces.npz"), _arrays(shell.folder / "new.npz")
    return told | {"arrays": list(differences(old, new))}


def _files(folder: Path) -> dict[str, str]:
    return {path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in sorted(folder.iterdir())}


def _rows(folder: Path) -> list[Answer]:
    """All rows of the shards, by Arrow alone, and before them what each shard says of itself."""
    from pyarrow import parquet

    rows: list[Answer] = []
    for path in sorted(folder.glob("part-*.parquet")):
        table = parquet.read_table(path)
        types = {field.name: f"{field.type} {field.nullable}" for field in table.schema}
        rows.append({"types": types, "metadata": json.loads(table.schema.metadata[b"edgefr"])})
        rows += table.to_pylist()
    return rows


def _arrays(path: Path) -> Answer:
    with np.load(path) as found:
        return {name: [found[name].dtype.kind, {name: found[name].tolist()}] for name in found.files}
