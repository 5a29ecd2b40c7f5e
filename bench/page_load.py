"""`python -m bench.page_load`: what a crowd of clients costs the page of `edgefr watch`.

Ten comparisons of two photographs of 32 megapixels at once, ten logins that send 39 MB and do not end, and 1,100 idle
connections to a process that may open 1,024 files. Prints a line of JSON for each.
"""

from __future__ import annotations

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
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, suppress
from pathlib import Path
from typing import Any

import cv2
from skimage import data

TOKEN = "a token of some length"  # noqa: S105
PORT = 18765
FILES = 1024


class Watch:
    """`edgefr watch` of a made film, with its page."""

    def __init__(self, folder: Path) -> None:
        frames = folder / "film"
        frames.mkdir()
        for number in range(4):
            cv2.imwrite(str(frames / f"{number}.png"), cv2.cvtColor(data.astronaut(), cv2.COLOR_RGB2BGR))
        command = [sys.executable, "-m", "edgefr", "watch", str(frames), "--web", "--plain", "--port", str(PORT)]
        environment = {**os.environ, "EDGEFR_WEB_TOKEN": TOKEN, "EDGEFR_GALLERY": str(folder / "people.gallery")}
        self.process = subprocess.Popen(
            command,
            env=environment,
            stdout=subprocess.DEVNULL,
            preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_NOFILE, (FILES, FILES)),
        )
        while _request("GET", "/api/picture")[0] != 200:
            time.sleep(0.2)

    def megabytes(self, key: str) -> int:
        """VmRSS or VmHWM (the peak) of the process."""
        text = Path(f"/proc/{self.process.pid}/status").read_text()
        found = re.search(rf"{key}:\s+(\d+) kB", text)
        return 0 if found is None else int(found.group(1)) // 1024

    def reset_peak(self) -> None:
        Path(f"/proc/{self.process.pid}/clear_refs").write_text("5")


def _request(method: str, path: str, body: bytes = b"", kind: str = "", seconds: float = 5) -> tuple[int, float]:
    """Status, 0 without an answer, and seconds."""
    start = time.monotonic()
    connection = http.client.HTTPConnection("127.0.0.1", PORT, timeout=seconds)
    try:
        connection.request(method, path, body, {"Authorization": f"Bearer {TOKEN}", "Content-Type": kind})
        status = connection.getresponse().status
    except (OSError, http.client.HTTPException):
        status = 0
    connection.close()
    return status, time.monotonic() - start


def compares(watch: Watch) -> dict[str, Any]:
    photo = cv2.resize(cv2.cvtColor(data.astronaut(), cv2.COLOR_RGB2BGR), (5600, 5600), interpolation=cv2.INTER_CUBIC)
    encoded = cv2.imencode(".jpg", photo, [cv2.IMWRITE_JPEG_PROGRESSIVE, 1])[1].tobytes()
    parts = [
        b'--x\r\nContent-Disposition: form-data; name="%s"; filename="a.jpg"\r\n\r\n%s\r\n' % (name, encoded)
        for name in (b"first", b"second")
    ]
    body = b"".join(parts) + b"--x--\r\n"
    _request("POST", "/api/compare", body, "multipart/form-data; boundary=x", 240)
    before = watch.megabytes("VmRSS")
    watch.reset_peak()
    with ThreadPoolExecutor(10) as pool:
        answers = list(
            pool.map(
                lambda _: _request("POST", "/api/compare", body, "multipart/form-data; boundary=x", 240), range(10)
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
        with suppress(OSError), socket.create_connection(("127.0.0.1", PORT), timeout=5) as connection:
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


def idle_connections(watch: Watch) -> dict[str, Any]:
    with ExitStack() as stack:
        opened = 0
        for _ in range(1100):
            with suppress(OSError):
                stack.enter_context(socket.create_connection(("127.0.0.1", PORT), timeout=5))
                opened += 1
        answers = [_request("GET", "/api/state") for _ in range(20)]
        time.sleep(3)
        files = len(list(Path(f"/proc/{watch.process.pid}/fd").iterdir())) if watch.process.poll() is None else None
    return {
        "connected": opened,
        "statuses": Counter(status for status, _ in answers),
        "seconds": round(max(seconds for _, seconds in answers), 2),
        "files": files,
        "exit_code": watch.process.poll(),
    }


def main() -> None:
    with tempfile.TemporaryDirectory(prefix="edgefr-page-") as folder:
        watch = Watch(Path(folder))
        try:
            for measure in (unfinished_logins, compares, idle_connections):
                print(json.dumps({measure.__name__: measure(watch)}), flush=True)
        finally:
            watch.process.terminate()
            watch.process.wait()


if __name__ == "__main__":
    main()
