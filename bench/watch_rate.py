"""Frames a second of `edgefr watch`, in turns with the version before, and what both report.

Both watch the film of `bench.watch`, shown three times, with a gallery of two people. Startup is part of the time."""

from __future__ import annotations

import json
import tempfile
from pathlib import Path
from typing import Any

from bench.film import write
from bench.lfw import YUNET
from bench.turns import REPOSITORY, checkout_before, compare, edgefr_of, in_turns
from bench.watch import ENROLLED, shots
from edgefr.models import MINI, SPOT

ROUNDS = 5
SHOWINGS = 3


def run(data: Path, rounds: int = ROUNDS) -> dict[str, Any]:
    """A row for each detector: medians of the rounds, and the events of the last one."""
    with tempfile.TemporaryDirectory(prefix="edgefr-watch-") as name:
        folder = Path(name)
        frames = write(folder / "film.mp4", SHOWINGS * shots(data / "photos"))
        return {
            Path(detector).stem: {"frames": frames, **_row(folder, data, detector, frames, rounds)}
            for detector in (SPOT, data / YUNET)
        }


def _row(folder: Path, data: Path, detector: Path | str, frames: int, rounds: int) -> dict[str, Any]:
    before = checkout_before()
    versions = {"edgefr": REPOSITORY} | ({} if before is None else {"before": before})
    commands, events = {}, {}
    for name, checkout in versions.items():
        home = folder / f"{name}-{Path(detector).stem}"
        home.mkdir()
        options = ("--gallery", home / "people.gallery", "--model", MINI, "--detector", detector, "--plain")
        for person, photographs in ENROLLED.items():
            paths = [data / "photos" / photograph for photograph in photographs]
            in_turns(
                {"enrol": edgefr_of(checkout, "gallery", "enroll", person, *paths, *options, "--face", "largest")}, 0
            )
        events[name] = home / "events.jsonl"
        commands[name] = edgefr_of(checkout, "watch", folder / "film.mp4", *options, "--events", events[name], "--once")
    runs = in_turns(commands, rounds)
    row: dict[str, Any] = {f"of {name}": compare(runs, "edgefr", name) for name in commands if name != "edgefr"}
    row["frames_per_second"] = round(frames / min(run.seconds for run in runs["edgefr"]), 1)
    return row | {f"events of {name}": _of_last_round(path, rounds + 1) for name, path in events.items()}


def _of_last_round(path: Path, rounds: int) -> list[tuple[str, str | None, float]]:
    """What was reported about whom, and when, in the last of the rounds that a file holds."""
    found = [json.loads(line) for line in path.read_text().splitlines()]
    tracks = [event for event in found if event["what"] in ("identified", "unknown", "lost")]
    last = tracks[-(len(tracks) // rounds) :]
    return [(event["what"], event["name"], event["seconds"]) for event in last]
