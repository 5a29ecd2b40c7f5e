"""Kill processes that change a gallery in a database, like `bench.kills` those that change one in a file.

PostgreSQL comes with the wheel pgserver, Milvus Lite with pymilvus. The lease of a killed writer of Milvus ends after
20 seconds, so that a kill can take that long there.

    python -m bench.store_kills --store postgresql --kills 200
"""

from __future__ import annotations

import argparse
import json
import os
import random
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import asdict, replace
from importlib import import_module
from pathlib import Path
from typing import Any

from bench.kills import BINDING, FROM_START, State, content, killed, repeat, work
from edgefr.errors import LockedError, require_extra
from edgefr.gallery.address import LITE, POSTGRES, Address
from edgefr.gallery.crypto.key_wrapping import KeyFile
from edgefr.gallery.factory import create_gallery, open_gallery
from edgefr.gallery.records import Event
from edgefr.gallery.stores.base import NoGalleryError

STORES = (POSTGRES, LITE)
MAX_SECONDS = {POSTGRES: 0.3, LITE: 2.0}
"""Longest time until the kill: enough for some changes."""
ENDED_S = 15.0
"""How long a server may still work on what a killed client has sent."""


class Target:
    """New galleries in a store, whose server runs."""

    def __init__(self, store: str, folder: Path) -> None:
        require_extra("psycopg" if store == POSTGRES else "pymilvus", "scale")
        self._store, self._folder, self._number = store, folder, 0
        self.checks = 0
        """Events that the checks have logged in the present gallery."""
        if store == POSTGRES:
            import_module("psycopg")  # once, and not in each child
            import pgserver

            self._server = pgserver.get_server(folder / "postgres", cleanup_mode="stop")
            os.environ["PGHOST"] = str(self._server.get_postmaster_info().socket_dir)

    def clear(self) -> None:
        """Take another name."""
        self._number, self.checks = self._number + 1, 0

    @property
    def address(self) -> Address:
        if self._store == POSTGRES:
            return Address(POSTGRES, "", f"g{self._number}", None, "postgres", "postgres")
        return Address(LITE, str(self._folder / f"people{self._number}.db"), "people")

    def wait_for_server(self) -> None:
        """Wait until the server has ended what the killed client had sent, which may still be committed."""
        if self._store != POSTGRES:
            return
        import psycopg

        others = (
            "SELECT count(*) FROM pg_stat_activity WHERE backend_type = 'client backend' AND pid <> pg_backend_pid()"
        )
        with psycopg.connect(user="postgres", dbname="postgres", autocommit=True) as connection:
            deadline = time.monotonic() + ENDED_S
            while connection.execute(others).fetchone() != (0,):
                if time.monotonic() > deadline:
                    raise SystemExit(f"the server still works for a killed client after {ENDED_S:.0f} seconds")
                time.sleep(0.005)

    def close(self) -> None:
        if self._store == POSTGRES:
            self._server.cleanup()


def run(store: str, kills: int, folder: Path, seed: int) -> dict[str, object]:
    """Kill writers and return the counts."""
    keys, target = [KeyFile.create(folder / f"key{n}") for n in (0, 1)], Target(store, folder)

    def kill(known: State | None, rng: random.Random) -> tuple[list[list[str]], list[str]]:
        def begin() -> Any:
            if known is None:
                return create_gallery(target.address, keys[0], BINDING, lambda _: None)
            return open_gallery(target.address, keys[known.key])

        child, wait, seconds = rng.random(), rng.random() >= FROM_START, rng.uniform(0, MAX_SECONDS[store])
        return killed(lambda pipe: work(begin, known, keys, random.Random(child), pipe), wait, seconds)  # noqa: S311

    def find() -> State | None:
        found = _in_child(lambda: _found(target, keys))
        target.checks += found is not None
        return found and replace(found, events=found.events - target.checks)

    try:
        found = repeat(kills, seed, target.clear, kill, find)
    finally:
        target.close()
    return {"store": store, **found}


def _found(target: Target, keys: list[KeyFile]) -> State | None:
    """The content after one more change, because Milvus has no transactions: the next change ends a killed one."""
    target.wait_for_server()
    for number, key in enumerate(keys):
        try:
            with open_gallery(target.address, key) as gallery:
                gallery.log([Event.now("matched", "a check")])
                return content(gallery, number)
        except NoGalleryError:
            return None
        except LockedError:
            if number:
                raise
    raise AssertionError


def _in_child(find: Callable[[], State | None]) -> State | None:
    """Call it in a process of its own: a client of Milvus does not survive a later fork of its process."""
    reader, writer = os.pipe()
    child = os.fork()
    if child == 0:
        os.close(reader)
        try:
            found = find()
            os.write(writer, json.dumps(found and asdict(found)).encode())  # some people fit into the pipe
            os._exit(0)
        except BaseException as error:
            print(f"{type(error).__name__}: {error}", file=sys.stderr, flush=True)
            os._exit(1)
    os.close(writer)
    with os.fdopen(reader) as file:
        text = file.read()
    if os.waitpid(child, 0)[1]:
        raise SystemExit("the gallery cannot be read after a kill")
    raw = json.loads(text)
    if raw is None:
        return None
    return State({name: tuple(sources) for name, sources in raw["people"].items()}, raw["events"], raw["key"])


def main() -> None:
    options = argparse.ArgumentParser(description="Kill processes that change a gallery in a database.")
    options.add_argument("--store", choices=STORES, default=POSTGRES)
    options.add_argument("--kills", type=int, default=200)
    options.add_argument("--seed", type=int, default=0)
    given = options.parse_args()
    with tempfile.TemporaryDirectory(prefix="edgefr-kills-") as folder:
        json.dump(run(given.store, given.kills, Path(folder), given.seed), sys.stdout, indent=2)
    print()


if __name__ == "__main__":
    main()
