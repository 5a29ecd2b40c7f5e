"""`python -m bench.api_load --clients 100 --seconds 600`: what a crowd of clients gets from `edgefr serve`.

Each client identifies, compares and enrols photographs of scikit-image without a pause, and waits as it is told when it
is refused. Prints a line of JSON for each operation, and one for the server: refusals, memory, and enrolments that were
acknowledged and are not in the gallery. Exits with 1 if there is one, or any other status.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import random
import re
import secrets
import subprocess
import sys
import tempfile
import time
from collections import Counter, defaultdict
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

import cv2
import httpx
import numpy as np
from skimage import data

AnyClient = TypeVar("AnyClient", httpx.Client, httpx.AsyncClient)

SHARES = {"identify": 0.7, "verify": 0.1, "enrol": 0.1, "list": 0.1}
"""Operation -> its share of the requests."""
ENROLMENTS = 1000
"""People who are enrolled at most, so that the thresholds of the model suffice for the gallery."""


@dataclass
class Found:
    """What the clients have seen."""

    seconds: dict[str, list[float]] = field(default_factory=lambda: defaultdict(list))
    statuses: dict[str, Counter[int]] = field(default_factory=lambda: defaultdict(Counter))
    enrolled: set[str] = field(default_factory=set)


class Server:
    """`edgefr serve` with the shipped models and a new gallery."""

    def __init__(self, folder: Path) -> None:
        self.token = secrets.token_urlsafe(32)
        environment = {**os.environ, "EDGEFR_API_ADMIN_TOKEN": self.token, "XDG_DATA_HOME": str(folder)}
        options = ["--gallery", str(folder / "people.gallery"), "--plain", "--port", "0", "--attempts", "1000000"]
        command = [sys.executable, "-m", "edgefr", "serve", *options]
        self.process = subprocess.Popen(command, env=environment, stderr=subprocess.PIPE, text=True)
        assert self.process.stderr is not None
        for line in self.process.stderr:
            if found := re.search(r"the API is at (\S+)/v1", line):
                self.url = found[1]
                return
        raise SystemExit(f"edgefr serve ended with {self.process.wait()}")

    def client(self, kind: type[AnyClient]) -> AnyClient:
        """A client with the token of an admin."""
        headers = {"Authorization": f"Bearer {self.token}"}
        return kind(base_url=self.url, headers=headers, timeout=60, trust_env=False, verify=False)

    def megabytes(self) -> int:
        """Resident memory of the process."""
        text = Path(f"/proc/{self.process.pid}/status").read_text(encoding="utf-8")
        found = re.search(r"VmRSS:\s+(\d+) kB", text)
        return 0 if found is None else int(found[1]) // 1024

    def stop(self) -> int:
        self.process.terminate()
        return self.process.wait(60)


class Client:
    """A client that sends one request after the other."""

    def __init__(self, name: str, http: httpx.AsyncClient, pictures: list[bytes], found: Found) -> None:
        self._http, self._pictures, self._found = http, pictures, found
        self._name, self._turn = name, 0
        self._random = random.Random(name)  # noqa: S311 (no secret)

    async def run(self, until: float) -> None:
        while time.monotonic() < until:
            (operation,) = self._random.choices(list(SHARES), list(SHARES.values()))
            if operation == "enrol" and len(self._found.enrolled) >= ENROLMENTS:
                operation = "identify"
            self._turn += 1
            name = f"{self._name} {self._turn}"
            start = time.monotonic()
            try:
                answer = await self._send(operation, name)
            except httpx.HTTPError:
                self._found.statuses[operation][0] += 1
                continue
            self._found.statuses[operation][answer.status_code] += 1
            if answer.status_code == 503:
                await asyncio.sleep(float(answer.headers["retry-after"]))
                continue
            self._found.seconds[operation].append(time.monotonic() - start)
            if operation == "enrol" and answer.status_code == 201:
                self._found.enrolled.add(name)

    async def _send(self, operation: str, name: str) -> httpx.Response:
        if operation == "list":
            return await self._http.get("/v1/people", params={"limit": 20})
        if operation == "verify":
            files = {"first": self._photograph(), "second": self._photograph()}
            return await self._http.post("/v1/verify", files=files)
        if operation == "identify":
            return await self._http.post("/v1/identify", files={"photo": self._photograph()})
        # All people have one face here, so the enrolments are forced.
        fields, files = {"name": name, "force": "true"}, {"photo": self._photograph()}
        return await self._http.post("/v1/people", data=fields, files=files)

    def _photograph(self) -> bytes:
        return self._random.choice(self._pictures)


def make_pictures() -> list[bytes]:
    """Photographs of one face with different noise."""
    astronaut = cv2.cvtColor(data.astronaut(), cv2.COLOR_RGB2BGR)
    noises = (np.random.default_rng(seed).integers(0, 8, astronaut.shape, np.uint8) for seed in range(16))
    return [cv2.imencode(".jpg", cv2.add(astronaut, noise))[1].tobytes() for noise in noises]


async def crowd(server: Server, name: str, clients: int, seconds: float) -> Found:
    """Let clients, whose names begin with `name`, send requests for a time."""
    found, pictures = Found(), make_pictures()
    until = time.monotonic() + seconds

    async def client(number: int) -> None:
        # Each has a pool of its own: one pool for all clients would spend seconds on its lists of connections.
        async with server.client(httpx.AsyncClient) as http:
            await Client(f"{name} {number}", http, pictures, found).run(until)

    await asyncio.gather(*map(client, range(clients)))
    return found


def people(server: Server) -> set[str]:
    """The names of all enrolled people, as the API lists them."""
    names: set[str] = set()
    after = "0"
    with server.client(httpx.Client) as client:
        while after:
            page = client.get("/v1/people", params={"after": after, "limit": 200}).raise_for_status().json()
            names |= {person["name"] for person in page["people"]}
            after = page["next"]
    return names


def report(found: Found) -> None:
    """Print a line for each operation."""
    for operation, statuses in sorted(found.statuses.items()):
        seconds = found.seconds[operation]
        quantiles = {f"p{share}_ms": round(1e3 * float(np.percentile(seconds, share))) for share in (50, 99) if seconds}
        print(json.dumps({"operation": operation, "statuses": dict(sorted(statuses.items())), **quantiles}))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--clients", type=int, default=100)
    parser.add_argument("--seconds", type=float, default=600)
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        server = Server(Path(folder))
        asyncio.run(crowd(server, "warm", 2, 5))
        before = server.megabytes()
        found = asyncio.run(crowd(server, "client", given.clients, given.seconds))
        after, listed = server.megabytes(), people(server)
        exit_code = server.stop()
    report(found)
    answered = sum(map(len, found.seconds.values()))
    statuses: Counter[int] = sum(found.statuses.values(), Counter())
    summary: dict[str, Any] = {
        "clients": given.clients,
        "requests_per_second": round(answered / given.seconds, 1),
        "refused": statuses[503],
        "without_answer": statuses[0],
        "lost_enrolments": len(found.enrolled - listed),
        "megabytes_before": before,
        "megabytes_after": after,
        "exit_code": exit_code,
    }
    print(json.dumps(summary))
    faults = summary["lost_enrolments"] or exit_code or set(statuses) - {200, 201, 503}
    raise SystemExit(1 if faults else 0)


if __name__ == "__main__":
    main()
