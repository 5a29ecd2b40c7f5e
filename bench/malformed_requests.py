"""Send damaged requests to the page of `edgefr watch`, and check that each is answered or its connection is closed.

Valid requests of every route are made here and damaged in ways that are random with a fixed seed: in their bytes, their
headers, their lengths, and with numbers and texts that no format allows. They go to a real process by real connections
from many addresses of this machine, so that its limits of each address do not refuse them all. The page must not answer
5xx (but 503 while it is busy), take longer than `SECONDS`, use more memory than `MEGABYTES` more than before, or end.

    python -m bench.malformed_requests --inputs 100000
"""

from __future__ import annotations

import argparse
import http.client
import json
import random
import socket
import sys
import tempfile
import time
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np

from bench.page_load import TOKEN, Watch, loopback

SECONDS = 20.0
"""Longest time until the page answers a request or closes its connection."""
MEGABYTES = 512
"""Memory that the page may use beyond what it had after its first comparison."""
PATIENCE_S = 0.5
"""How long an answer to a request that seems incomplete is waited for, before the client closes its half."""
CLIENTS = 8
ENDS = ("accepted", "refused", "limited", "closed")
"""How requests may end: by a status below 400, by 4xx, by a limit of rates or uploads, and without an answer."""
WORDS = (
    b"1e999",
    b"NaN",
    b"-1",
    b"9" * 40,
    b"null",
    b"[]",
    b"{}",
    b'"\\ud800"',
    b"\xff\xfe",
    b"[" * 2000,
    b"\0",
    b"%00",
)
HEADERS = (
    (b"Content-Length", b"5"),
    (b"Content-Length", b"-1"),
    (b"Content-Length", b"9" * 30),
    (b"Transfer-Encoding", b"chunked"),
    (b"Transfer-Encoding", b"gzip, chunked"),
    (b"Expect", b"100-continue"),
    (b"Range", b"bytes=5-1"),
    (b"Origin", b"null"),
    (b"Origin", b"http://[::1"),
    (b"Host", b"\xff"),
    (b"Cookie", b'edgefr="\xff; ;=;' + b"a=" * 200),
    (b"Authorization", b"Bearer \xff"),
    (b"If-Modified-Since", b"Mon, 99 Foo 99999999999"),
    (b"X-Forwarded-For", b"x, " * 100),
    (b"Upgrade", b"h2c"),
)


@dataclass(frozen=True)
class Route:
    """A valid request."""

    method: bytes
    target: bytes
    kind: bytes = b""
    body: bytes = b""


def routes() -> tuple[Route, ...]:
    """A valid request of each route; photographs are rarer, because they take long."""
    reads = (
        b"/", b"/api/state", b"/api/picture", b"/api/live", b"/api/scene", b"/api/events?after=0", b"/api/people",
        b"/api/events.csv?what=identified&name=Ada", b"/api/events.jsonl?name=Ada", b"/page/page.js", b"/openapi.json",
    )  # fmt: skip
    changes = (
        (b"POST", b"/api/login", {"token": "not the token, but as long"}),
        (b"POST", b"/api/logout", {"everyone": False}),
        (b"POST", b"/api/links", {"role": "viewer"}),
        (b"POST", b"/api/people", {"name": "Ada", "track": 1, "confirm": True}),
        (b"PATCH", b"/api/people?name=Ada", {"name": "Grace"}),
        (b"DELETE", b"/api/people?name=Grace", {}),
    )
    noise = np.random.default_rng(0).integers(0, 256, (48, 64, 3), np.uint8)
    jpeg = cv2.imencode(".jpg", noise)[1].tobytes()
    kind = b"multipart/form-data; boundary=x"
    return (
        *(Route(b"GET", target) for target in reads),
        *(Route(method, to, b"application/json", json.dumps(body).encode()) for method, to, body in changes),
        Route(b"POST", b"/api/compare", kind, _form({b"first": jpeg, b"second": jpeg})),
        Route(b"POST", b"/api/people/photograph", kind, _form({b"name": b"Ada", b"photo": jpeg})),
    )


def _form(fields: dict[bytes, bytes]) -> bytes:
    head = b'--x\r\nContent-Disposition: form-data; name="%s"%s\r\n\r\n%s\r\n'
    parts = (head % (name, b"" if name == b"name" else b'; filename="a.jpg"', data) for name, data in fields.items())
    return b"".join(parts) + b"--x--\r\n"


def sign_in(port: int) -> bytes:
    """The cookie of a new session. It is not limited by wrong guesses, of which damaged requests make many."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=SECONDS)
    headers = {"Content-Type": "application/json"}
    connection.request("POST", "/api/login", json.dumps({"token": TOKEN}), headers)
    cookie = connection.getresponse().headers["Set-Cookie"]
    connection.close()
    return cookie.partition(";")[0].encode()


def request(route: Route, cookie: bytes, rng: random.Random) -> bytes:
    """A damaged request as bytes. Signing out carries the token, so that the session lasts."""
    target, body = route.target, route.body
    where = rng.choice(("target", "body", "body", "headers", "bytes"))
    if where == "target":
        target = b"/" + damaged(target[1:], rng).replace(b"\r", b"").replace(b"\n", b"").replace(b" ", b"+")
    elif where == "body":
        body = damaged(body or b"{}", rng)
    bearer = (b"Authorization", b"Bearer " + TOKEN.encode())
    headers = [(b"Host", b"127.0.0.1"), bearer if route.target == b"/api/logout" else (b"Cookie", cookie)]
    headers += [(b"Content-Type", route.kind)] if route.kind else []
    headers += [(b"Content-Length", b"%d" % len(body))] if body else []
    if where == "headers":
        for _ in range(rng.choice((1, 1, 2, 5))):
            headers.insert(rng.randrange(len(headers) + 1), rng.choice(HEADERS))
        if rng.random() < 0.3:
            del headers[rng.randrange(len(headers))]
    lines = [b"%s %s HTTP/1.1" % (route.method, target), *(name + b": " + value for name, value in headers), b"", b""]
    whole = b"\r\n".join(lines) + body
    return damaged(whole, rng) if where == "bytes" else whole


def damaged(data: bytes, rng: random.Random) -> bytes:
    """A damaged copy."""
    copy = bytearray(data)
    for _ in range(rng.choice((1, 1, 2, 4))):
        at, size = rng.randrange(len(copy) + 1), rng.choice((1, 2, 8, 64))
        copy[at : at + rng.choice((0, size))] = rng.choice(
            (b"", b"\xff" * size, bytes(size), rng.randbytes(size), bytes(copy[at : at + size]) * 2, rng.choice(WORDS))
        )
    return bytes(copy)


def ask(port: int, sent: bytes, number: int) -> tuple[str, float]:
    """How a request ends, one of `ENDS` or else what is wrong; and the seconds that it took."""
    start = time.monotonic()
    try:
        with socket.create_connection(("127.0.0.1", port), SECONDS, (loopback(number), 0)) as connection:
            connection.sendall(sent)
            connection.settimeout(PATIENCE_S)
            try:
                answer = connection.recv(4096)
            except TimeoutError:  # an incomplete request, or a slow answer
                connection.settimeout(SECONDS)
                connection.shutdown(socket.SHUT_WR)
                answer = connection.recv(4096)
    except TimeoutError:
        return f"no answer within {SECONDS:.0f} s", time.monotonic() - start
    except OSError:
        answer = b""
    return _end(answer), time.monotonic() - start


def _end(answer: bytes) -> str:
    """How an answer of the page counts. A limit (429, 503) says nothing about the request, so it counts by itself."""
    status = answer[9:12].decode(errors="replace")
    if not answer:
        return "closed"
    if status in ("429", "503"):
        return "limited"
    known = answer.startswith(b"HTTP/1.1 ") and status[:1] in ("1", "2", "3", "4")
    return f"status {status}" if not known else "refused" if status[:1] == "4" else "accepted"


def run(count: int, seed: int, folder: Path) -> dict[str, object]:
    """Send damaged requests; returns how they ended, and the first that ended otherwise."""
    watch, found = Watch(folder, port=0), routes()
    ends: Counter[str] = Counter()
    failure: dict[str, object] | None = None
    slowest = 0.0

    def one(number: int) -> tuple[int, bytes, str, float]:
        rng = random.Random(f"{seed} {number}")  # noqa: S311
        sent = request(rng.choice(found), cookie, rng)
        return number, sent, *ask(watch.port, sent, number)

    try:
        cookie = sign_in(watch.port)
        compare = next(route for route in found if route.target == b"/api/compare")
        head = b"POST /api/compare HTTP/1.1\r\nHost: 127.0.0.1\r\nAuthorization: Bearer %s\r\nContent-Type: %s\r\n"
        head = head % (TOKEN.encode(), compare.kind) + b"Content-Length: %d\r\n\r\n" % len(compare.body)
        ask(watch.port, head + compare.body, 0)  # loads what the first comparison loads
        before = watch.megabytes("VmRSS")
        watch.reset_peak()
        with ThreadPoolExecutor(CLIENTS) as pool:
            for number, sent, end, seconds in pool.map(one, range(count)):
                good = end in ENDS
                ends[end if good else "failed"] += 1
                slowest = max(slowest, seconds)
                if not good:
                    failure = failure or {"input": number, "end": end, "request": repr(sent[:2000])}
        more, alive = watch.megabytes("VmHWM") - before, watch.process.poll() is None
    finally:
        watch.stop()
    result = {"parser": "requests to the page", "inputs": count, **ends, "slowest_s": round(slowest, 3)}
    result |= {"more_mb": more, "alive": alive}
    if not alive or more > MEGABYTES:
        failure = failure or {"end": f"the page used {more} MB more" if alive else "the page ended"}
    return result | ({} if failure is None else {"first_failure": failure})


def main() -> None:
    options = argparse.ArgumentParser(description="Send damaged requests to the page.")
    options.add_argument("--inputs", type=int, default=100_000)
    options.add_argument("--seed", type=int, default=0)
    given = options.parse_args()
    with tempfile.TemporaryDirectory(prefix="edgefr-requests-") as folder:
        result = run(given.inputs, given.seed, Path(folder))
    print(json.dumps(result))
    sys.exit(1 if "first_failure" in result else 0)


if __name__ == "__main__":
    main()
