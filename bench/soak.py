"""`make soak`: kills, full disks, malformed inputs and crowds, one after the other, with a table at the end.

Each part is a program of its own in this folder, and fails if its bounds are broken; docs/reliability.md states them.
The default counts take hours. Counts of 0 leave a part out.

    python -m bench.soak --kills 200 --inputs 2000
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import time
from dataclasses import dataclass

from edgefr.gallery.address import LITE, POSTGRES

OWN_MOUNTS = ("unshare", "--map-root-user", "--mount")
"""A part that mounts a small file system needs it."""


@dataclass(frozen=True)
class Part:
    """A program, with how often it does what it does; `launcher` is what it is run by."""

    title: str
    count: int
    module: str
    arguments: tuple[object, ...] = ()
    launcher: tuple[str, ...] = ()


@dataclass(frozen=True)
class Row:
    """How a part ended."""

    title: str
    count: int
    seconds: float
    end: str

    def __str__(self) -> str:
        return f"{self.title:40} {self.count or '':>9,} {self.seconds:9,.0f} s   {self.end}"


def parts(given: argparse.Namespace) -> list[Part]:
    """The parts, without those that are left out."""
    seed = ("--seed", given.seed)
    found = [
        Part("kills, file", given.kills, "kills", ("--kills", given.kills, *seed)),
        Part("kills, PostgreSQL", given.postgres_kills, "store_kills", _kills(POSTGRES, given.postgres_kills, *seed)),
        Part("kills, Milvus Lite", given.lite_kills, "store_kills", _kills(LITE, given.lite_kills, *seed)),
        Part("malformed inputs of parsers", given.inputs, "malformed", ("--inputs", given.inputs, *seed)),
        Part("malformed requests", given.requests, "malformed_requests", ("--inputs", given.requests, *seed)),
        Part("connections", given.connections, "page_load", ("--connections", given.connections)),
    ]
    found = [part for part in found if part.count]
    # The full disk has no count: it tries all amounts of free space in steps.
    disk = Part("full disk, every write", 0, "full_disk", ("--step", given.disk_step), OWN_MOUNTS)
    return [*found, disk] if given.disk_step else found


def _kills(store: str, kills: int, *more: object) -> tuple[object, ...]:
    return ("--store", store, "--kills", kills, *more)


def run(part: Part) -> Row:
    """Run a part to its end, with its output on stderr."""
    print(f"{part.title} ...", file=sys.stderr, flush=True)
    command = [*part.launcher, sys.executable, "-m", f"bench.{part.module}", *map(str, part.arguments)]
    start = time.monotonic()
    try:
        status = subprocess.run(command, stdout=sys.stderr, check=False).returncode
        end = "passed" if status == 0 else f"FAILED, exit status {status}"
    except FileNotFoundError as error:
        end = f"not run: {error.filename} is not installed"
    return Row(part.title, part.count, time.monotonic() - start, end)


def main() -> None:
    options = argparse.ArgumentParser(description="Kills, full disks, malformed inputs and crowds.")
    options.add_argument("--kills", type=int, default=20_000, help="kills of a writer of a gallery in a file")
    options.add_argument("--postgres-kills", type=int, default=2_000, help="the same in PostgreSQL")
    options.add_argument("--lite-kills", type=int, default=0, help="the same in Milvus Lite, which does not survive it")
    options.add_argument("--inputs", type=int, default=100_000, help="malformed inputs of all parsers together")
    options.add_argument("--requests", type=int, default=100_000, help="malformed requests to the page")
    options.add_argument("--connections", type=int, default=10_000, help="idle connections to the page")
    options.add_argument("--disk-step", type=int, default=4096, help="bytes between two amounts of free space; 0: none")
    options.add_argument("--seed", type=int, default=0)
    rows = [run(part) for part in parts(options.parse_args())]
    print("\n".join(map(str, rows)))
    sys.exit(any(row.end != "passed" for row in rows))


if __name__ == "__main__":
    main()
