"""`python -m bench.page_load`: what a crowd of clients costs the page of `edgefr watch`.

Ten comparisons of two photographs of 32 megapixels at once, ten logins that send 39 MB and do not end, and 10,000 idle
connections of 200 addresses to a process that may open 1,024 files. Prints a line of JSON for each.
"""

from __future__ import annotations

import argparse
import http.client
import json
import os
import re
import resource
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, suppress
from pathlib import Path
from typing import Any

import cv2
from skimage import data

TOKEN = "a token of some length"  # noqa: S105
FILES = 1024
"""Files that the page may open."""
MEGABYTES = 1536
"""Memory that a crowd may take beyond what the page had before."""
ADDRESSES = 200
"""Addresses that the idle connections come from: 50 connections of each, which is less than an address may have."""


class Watch:
    """`edgefr watch` of a made film, with its page."""

    def __init__(self, folder: Path, port: int = 0) -> None:
        """Start it on a port, 0 for any free one, and wait until it answers."""
        self.port = port or _free_port()
        frames = folder / "film"
        frames.mkdir()
        for number in range(4):
            cv2.imwrite(str(frames / f"{number}.png"), cv2.cvtColor(data.astronaut(), cv2.COLOR_RGB2BGR))
        command = [sys.executable, "-m", "edgefr", "watch", str(frames), "--web", "--plain", "--port", str(self.port)]
        environment = {**os.environ, "EDGEFR_WEB_TOKEN": TOKEN, "EDGEFR_GALLERY": str(folder / "people.gallery")}
        self.process = subprocess.Popen(
            command,
            env=environment,
            stdout=subprocess.DEVNULL,
            preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_NOFILE, (FILES, FILES)),
        )
        while self.request("GET", "/api/state")[0] != 200:
            if self.process.poll() is not None:
                raise SystemExit(f"edgefr watch ended with {self.process.returncode}")
            time.sleep(0.2)

    def request(
        self, method: str, path: str, body: bytes = b"", kind: str = "", seconds: float = 5
    ) -> tuple[int, float]:
        """Status, 0 without an answer, and seconds."""
        start = time.monotonic()
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=seconds)
        try:
            connection.request(method, path, body, {"Authorization": f"Bearer {TOKEN}", "Content-Type": kind})
            status = connection.getresponse().status
        except (OSError, http.client.HTTPException):
            status = 0
        connection.close()
        return status, time.monotonic() - start

    def stop(self) -> None:
        self.process.terminate()
        self.process.wait()

    def megabytes(self, key: str) -> int:
        """VmRSS or VmHWM (the peak) of the process."""
        text = Path(f"/proc/{self.process.pid}/status").read_text()
        found = re.search(rf"{key}:\s+(\d+) kB", text)
        return 0 if found is None else int(found.group(1)) // 1024

    def reset_peak(self) -> None:
        Path(f"/proc/{self.process.pid}/clear_refs").write_text("5")


def _free_port() -> int:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port: int = free.getsockname()[1]
    return port


def loopback(number: int) -> str:
    """One of 60,000 addresses of this machine, so that a client is not always the same to the page."""
    return f"127.1.{number // 250 % 240}.{number % 250 + 1}"


def compares(watch: Watch) -> dict[str, Any]:
    photo = cv2.resize(cv2.cvtColor(data.astronaut(), cv2.COLOR_RGB2BGR), (5600, 5600), interpolation=cv2.INTER_CUBIC)
    encoded = cv2.imencode(".jpg", photo, [cv2.IMWRITE_JPEG_PROGRESSIVE, 1])[1].tobytes()
    parts = [
        b'--x\r\nContent-Disposition: form-data; name="%s"; filename="a.jpg"\r\n\r\n%s\r\n' % (name, encoded)
        for name in (b"first", b"second")
    ]
    body = b"".join(parts) + b"--x--\r\n"
    watch.request("POST", "/api/compare", body, "multipart/form-data; boundary=x", 240)
    before = watch.megabytes("VmRSS")
    watch.reset_peak()
    with ThreadPoolExecutor(10) as pool:
        answers = list(
            pool.map(
                lambda _: watch.request("POST", "/api/compare", body, "multipart/form-data; boundary=x", 240), range(10)
            )
        )
    return {
        "statuses": Counter(status for status, _ in answers),
        "seconds": round(max(seconds for _, seconds in answers), 1),
        "megabytes_before": before,
        "megabytes_peak": watch.megabytes("VmHWM"),
    }


def unfinished_logins(watch: Watch) -> dict[str, Any]:
    before = watch.megabytes("VmRSS")
    watch.reset_peak()

    def login(_: int) -> None:
        fields = ("Host: 127.0.0.1", "Content-Type: application/json", "Content-Length: 41000000")
        head = "\r\n".join(("POST /api/login HTTP/1.1", *fields, "", ""))
        with suppress(OSError), socket.create_connection(("127.0.0.1", watch.port), timeout=5) as connection:
            connection.sendall(head.encode())
            for _part in range(39):
                connection.sendall(b" " * (1 << 20))
            time.sleep(2)

    threads = [threading.Thread(target=login, args=(number,)) for number in range(10)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return {"megabytes_before": before, "megabytes_peak": watch.megabytes("VmHWM")}


def idle_connections(watch: Watch, count: int) -> dict[str, Any]:
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))
    before = watch.megabytes("VmRSS")
    watch.reset_peak()
    with ExitStack() as stack:
        opened = 0
        for number in range(count):
            with suppress(OSError):
                address = (loopback(number % ADDRESSES), 0)
                stack.enter_context(socket.create_connection(("127.0.0.1", watch.port), 5, address))
                opened += 1
        answers = [watch.request("GET", "/api/state") for _ in range(20)]
        time.sleep(3)
        files = len(list(Path(f"/proc/{watch.process.pid}/fd").iterdir())) if watch.process.poll() is None else None
    return {
        "connected": opened,
        "statuses": Counter(status for status, _ in answers),
        "seconds": round(max(seconds for _, seconds in answers), 2),
        "files": files,
        "megabytes_before": before,
        "megabytes_peak": watch.megabytes("VmHWM"),
        "exit_code": watch.process.poll(),
    }


def main() -> None:
    options = argparse.ArgumentParser(description="What a crowd of clients costs the page.")
    options.add_argument("--connections", type=int, default=10_000, help="number of idle connections")
    given = options.parse_args()
    measures: dict[str, Callable[[Watch], dict[str, Any]]] = {
        "unfinished_logins": unfinished_logins,
        "compares": compares,
        "idle_connections": lambda watch: idle_connections(watch, given.connections),
    }
    faults: list[str] = []
    with tempfile.TemporaryDirectory(prefix="edgefr-page-") as folder:
        watch = Watch(Path(folder))
        try:
            for name, measure in measures.items():
                found = measure(watch)
                faults += [f"{name}: {fault}" for fault in _faults(found)]
                print(json.dumps({name: found}), flush=True)
            if watch.process.poll() is not None:
                faults.append("the page ended")
        finally:
            watch.stop()
    if faults:
        raise SystemExit("; ".join(faults))


def _faults(found: dict[str, Any]) -> list[str]:
    """What breaks the bounds: memory, and requests without an answer. 503 is the answer of a busy page."""
    more = found["megabytes_peak"] - found["megabytes_before"]
    odd = set(found.get("statuses", ())) - {200, 503}
    return [f"{more} MB more"] * (more > MEGABYTES) + [f"statuses {sorted(odd)}"] * bool(odd)


if __name__ == "__main__":
    main()
