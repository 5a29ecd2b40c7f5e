"""Downloads from a server that misbehaves in every way that was thought of."""

from __future__ import annotations

import hashlib
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from edgefr.downloads.http_client import LostConnectionError, RefusedError
from edgefr.downloads.resumable import Download, download, validator_path
from edgefr.errors import EdgefrError, InvalidArgumentError, UnavailableError, WrongModelError
from tests.conftest import REPOSITORY
from tests.downloads.servers import (
    Behaviour,
    Handler,
    Place,
    answer,
    broken_off,
    endless,
    redirect,
    running_server,
    serve,
    whole,
    without_length,
)

CONTENT = np.random.default_rng(1).bytes(300_000)
OTHER = np.random.default_rng(2).bytes(300_000)
PATH = "/net.onnx"


@pytest.fixture
def place() -> Iterator[Place]:
    with running_server() as started:
        started.files[PATH] = CONTENT
        yield started


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("edgefr.downloads.resumable.DELAYS", (0.0, 0.0, 0.0))
    for name in ("http_proxy", "https_proxy", "all_proxy", "HTTP_PROXY", "HTTPS_PROXY"):
        monkeypatch.delenv(name, raising=False)


def wanted(place: Place, size: int | None = len(CONTENT), limit: int = len(CONTENT), path: str = PATH) -> Download:
    return Download(place.url + path, hashlib.sha256(CONTENT).hexdigest(), size, limit)


def fetch(download_of: Download, partial: Path) -> int:
    """Download, and return the number of bytes that the progress was told of."""
    counts: list[int] = []
    download(download_of, partial, counts.append)
    assert partial.read_bytes() == CONTENT
    return sum(counts)


@pytest.mark.parametrize("size", [len(CONTENT), None])
def test_a_file_is_downloaded_and_the_progress_is_that_of_its_bytes(
    place: Place, tmp_path: Path, size: int | None
) -> None:
    assert fetch(wanted(place, size), tmp_path / "part") == len(CONTENT)
    assert [path.name for path in tmp_path.iterdir()] == ["part"]


def test_the_request_says_nothing_about_the_user_or_the_machine(place: Place, tmp_path: Path) -> None:
    fetch(wanted(place), tmp_path / "part")
    (_, headers) = place.requests[0]
    assert headers.pop("Host").startswith("localhost:")
    assert headers == {"User-Agent": "edgefr", "Accept-Encoding": "identity", "Connection": "close"}


def test_a_connection_that_breaks_off_is_resumed_and_asks_only_for_the_rest(place: Place, tmp_path: Path) -> None:
    place.behaviours[PATH] = [broken_off(100_000), broken_off(50_000), serve]
    fetch(wanted(place), tmp_path / "part")
    assert place.ranges() == [None, "bytes=100000-", "bytes=150000-"]
    assert place.requests[1][1]["If-Range"] == '"1"'


def test_a_connection_that_always_breaks_off_is_given_up_after_three_retries_and_keeps_what_arrived(
    place: Place, tmp_path: Path
) -> None:
    place.behaviours[PATH] = [broken_off(20_000)]
    place.repeat_last = True
    with pytest.raises(LostConnectionError, match="Run the same command again to go on"):
        fetch(wanted(place), tmp_path / "part")
    assert len(place.requests) == 4
    place.behaviours.clear()
    fetch(wanted(place), tmp_path / "part")
    assert place.ranges()[-1] == "bytes=80000-"


def test_progress_earns_new_retries(place: Place, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("edgefr.downloads.resumable.PROGRESS", 30_000)
    place.behaviours[PATH] = [broken_off(30_000)]
    place.repeat_last = True
    fetch(wanted(place), tmp_path / "part")
    assert len(place.requests) == 10


def test_a_server_that_ignores_ranges_sends_the_file_from_its_beginning(place: Place, tmp_path: Path) -> None:
    place.behaviours[PATH] = [broken_off(100_000), whole]
    assert fetch(wanted(place), tmp_path / "part") == len(CONTENT)


def test_a_file_that_was_replaced_meanwhile_is_downloaded_from_its_beginning(place: Place, tmp_path: Path) -> None:
    (tmp_path / "part").write_bytes(OTHER[:100_000])
    validator_path(tmp_path / "part").write_text('"0"')
    assert fetch(wanted(place), tmp_path / "part") == len(CONTENT)
    assert place.ranges() == ["bytes=100000-"]


def test_a_part_that_was_damaged_is_found_by_the_digest_and_downloaded_again(place: Place, tmp_path: Path) -> None:
    (tmp_path / "part").write_bytes(bytes(100_000))
    assert fetch(wanted(place), tmp_path / "part") == len(CONTENT)
    assert place.ranges() == ["bytes=100000-", None]


@pytest.mark.parametrize("size", [len(CONTENT), None])
def test_a_part_that_is_complete_is_not_downloaded_again(place: Place, tmp_path: Path, size: int | None) -> None:
    (tmp_path / "part").write_bytes(CONTENT)
    fetch(wanted(place, size), tmp_path / "part")
    assert place.ranges() == ([] if size else [f"bytes={len(CONTENT)}-"])


def test_a_part_that_is_too_long_is_discarded(place: Place, tmp_path: Path) -> None:
    (tmp_path / "part").write_bytes(CONTENT + b"more")
    fetch(wanted(place), tmp_path / "part")
    assert place.ranges() == [None]


def other_range(handler: Handler, content: bytes) -> None:
    handler.begin(206, Content_Length=10, Content_Range=f"bytes 7-16/{len(content)}")
    handler.wfile.write(content[7:17])


def other_total(handler: Handler, content: bytes) -> None:
    handler.begin(206, Content_Length=10, Content_Range="bytes 100000-100009/100010")
    handler.wfile.write(content[:10])


@pytest.mark.parametrize(
    "behaviour",
    [other_range, other_total, answer(206), answer(206, Content_Range="bytes a-b/c"), answer(416), answer(503)],
    ids=["other range", "other total", "no range", "not a range", "416", "503"],
)
def test_a_wrong_answer_to_a_range_is_asked_for_again(place: Place, tmp_path: Path, behaviour: Behaviour) -> None:
    place.behaviours[PATH] = [broken_off(100_000), behaviour, serve]
    assert fetch(wanted(place), tmp_path / "part") == len(CONTENT)


@pytest.mark.parametrize("status", [429, 500, 502, 503, 504])
def test_a_busy_server_is_asked_again(place: Place, tmp_path: Path, status: int) -> None:
    place.behaviours[PATH] = [answer(status), answer(status, Retry_After=0), serve]
    fetch(wanted(place), tmp_path / "part")


def test_a_server_that_asks_to_wait_long_is_not_waited_for(place: Place, tmp_path: Path) -> None:
    place.behaviours[PATH] = [answer(429, Retry_After=3600), serve]
    with pytest.raises(UnavailableError, match=r"the answer 429, and the wish to wait 3600 s\. Try again later"):
        fetch(wanted(place), tmp_path / "part")


@pytest.mark.parametrize("status", [401, 403, 404, 410, 416, 451])
def test_a_refusal_is_not_asked_again(place: Place, tmp_path: Path, status: int) -> None:
    place.behaviours[PATH] = [answer(status), serve]
    with pytest.raises(RefusedError, match=f"the answer {status}"):
        fetch(wanted(place), tmp_path / "part")
    assert len(place.requests) == 1


@pytest.mark.parametrize(
    ("size", "behaviour", "found"),
    [
        (len(CONTENT), without_length(), "expected 300,000 bytes at .* found more"),
        (None, without_length(), "expected at most 300,000 bytes at .* found more"),
        (len(CONTENT), endless, "found more"),
        (None, endless, "found more"),
    ],
)
def test_too_many_bytes_are_not_stored(
    place: Place, tmp_path: Path, size: int | None, behaviour: Behaviour, found: str
) -> None:
    place.files[PATH] = CONTENT + bytes(1 << 20)
    place.behaviours[PATH] = [behaviour]
    with pytest.raises(WrongModelError, match=found):
        fetch(wanted(place, size), tmp_path / "part")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(("size", "sent"), [(300_000, 300_001), (300_000, 299_999), (None, 300_001), (300_000, 0)])
def test_another_size_is_refused_before_the_file_is_sent(
    place: Place, tmp_path: Path, size: int | None, sent: int
) -> None:
    place.files[PATH] = bytes(sent)
    with pytest.raises(WrongModelError, match=f"found {sent:,}."):
        fetch(wanted(place, size), tmp_path / "part")
    assert list(tmp_path.iterdir()) == []
    assert len(place.requests) == 1


@pytest.mark.parametrize("size", [len(CONTENT), None])
def test_another_file_is_refused_by_its_digest(place: Place, tmp_path: Path, size: int | None) -> None:
    place.files[PATH] = OTHER
    with pytest.raises(WrongModelError, match=f"found {hashlib.sha256(OTHER).hexdigest()}"):
        fetch(wanted(place, size), tmp_path / "part")
    assert list(tmp_path.iterdir()) == []


def test_an_answer_without_a_length_that_ends_early_is_resumed(place: Place, tmp_path: Path) -> None:
    place.behaviours[PATH] = [without_length(1000), serve]
    fetch(wanted(place), tmp_path / "part")
    assert place.ranges() == [None, "bytes=1000-"]


def chunked(handler: Handler, content: bytes) -> None:
    handler.begin(200, Transfer_Encoding="chunked")
    for start in range(0, len(content), 50_000):
        part = content[start : start + 50_000]
        handler.wfile.write(b"%x\r\n%s\r\n" % (len(part), part))
    handler.wfile.write(b"0\r\n\r\n")


def broken_chunk(handler: Handler, content: bytes) -> None:
    handler.begin(200, Transfer_Encoding="chunked", Connection="close")
    handler.wfile.write(b"%x\r\n%s" % (len(content), content[:1000]))


def no_http(handler: Handler, content: bytes) -> None:
    handler.wfile.write(b"\x00\xff nothing that is HTTP\r\n\r\n")


def test_chunks_are_read_and_resumed(place: Place, tmp_path: Path) -> None:
    place.behaviours[PATH] = [no_http, broken_chunk, chunked]
    fetch(wanted(place), tmp_path / "part")


def test_redirects_are_followed_with_the_range(place: Place, tmp_path: Path) -> None:
    with running_server() as other:
        other.files["/a b.onnx"] = CONTENT
        place.behaviours[PATH] = [redirect(f"{other.url}/a b.onnx"), redirect("/here.onnx")]
        place.behaviours["/here.onnx"] = [redirect(f"{other.url}/a%20b.onnx")]
        other.files["/a%20b.onnx"] = CONTENT
        other.behaviours["/a%20b.onnx"] = [broken_off(1000), serve]
        fetch(wanted(place), tmp_path / "part")
        assert other.ranges() == [None, "bytes=1000-"]


@pytest.mark.parametrize(
    ("target", "message"),
    [
        (PATH, "at most 5 redirects"),
        ("ftp://localhost/net.onnx", "one to ftp://localhost/net.onnx"),
        ("file:///etc/passwd", "one to nowhere"),
        ("http://[", "one to nowhere"),
    ],
)
def test_a_loop_of_redirects_and_other_protocols_are_not_followed(
    place: Place, tmp_path: Path, target: str, message: str
) -> None:
    place.behaviours[PATH] = [redirect(target)]
    place.repeat_last = True
    with pytest.raises(RefusedError, match=message):
        fetch(wanted(place), tmp_path / "part")
    assert len(place.requests) <= 6


@pytest.fixture
def certificate(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A certificate for localhost that edgefr trusts in this test."""
    from edgefr.downloads import http_client

    path = tmp_path / "certificate.pem"
    path.write_bytes(make_certificate())
    monkeypatch.setenv("SSL_CERT_FILE", str(path))
    http_client._opener.cache_clear()
    yield path
    http_client._opener.cache_clear()


def make_certificate() -> bytes:
    from datetime import datetime, timedelta, timezone

    from cryptography import x509
    from cryptography.hazmat.primitives import hashes, serialization
    from cryptography.hazmat.primitives.asymmetric import ec

    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "localhost")])
    now = datetime.now(timezone.utc)
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(1)
        .not_valid_before(now - timedelta(days=1))
        .not_valid_after(now + timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([x509.DNSName("localhost")]), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(key, hashes.SHA256())
    )
    encoding = serialization.Encoding.PEM
    private = key.private_bytes(encoding, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    return private + certificate.public_bytes(encoding)


def test_https_is_never_left_by_a_redirect(place: Place, tmp_path: Path, certificate: Path) -> None:
    with running_server(certificate) as secure:
        secure.files[PATH] = CONTENT
        fetch(wanted(secure), tmp_path / "part")
        secure.behaviours[PATH] = [redirect(place.url + PATH)]
        with pytest.raises(RefusedError, match=r"only https after redirects of https://.* found one to http://"):
            fetch(wanted(secure), tmp_path / "other")
    assert place.requests == []


def test_a_certificate_that_nobody_trusts_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "certificate.pem"
    path.write_bytes(make_certificate())
    with running_server(path) as secure, pytest.raises(RefusedError, match="a valid certificate of localhost"):
        fetch(wanted(secure), tmp_path / "part")


@pytest.mark.parametrize("url", ["http://models.example/net.onnx", "ftp://localhost/net.onnx", "file:///net.onnx"])
def test_publishers_are_reached_by_https_only(tmp_path: Path, url: str) -> None:
    with pytest.raises(InvalidArgumentError, match="an https address, or http on this machine"):
        fetch(Download(url, "0" * 64, 1, 1), tmp_path / "part")


def test_a_proxy_of_the_environment_is_used(place: Place, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from edgefr.downloads import http_client

    address = "http://models.example/net.onnx"
    place.files[address] = CONTENT  # a proxy is asked for whole addresses
    monkeypatch.setenv("http_proxy", place.url)
    http_client._opener.cache_clear()
    try:
        fetch(Download(address, wanted(place).sha256, len(CONTENT), len(CONTENT), allow_http=True), tmp_path / "part")
    finally:
        http_client._opener.cache_clear()
    assert [path for path, _ in place.requests] == [address]


def test_a_server_that_cannot_be_reached_is_named(place: Place, tmp_path: Path) -> None:
    with running_server() as gone:
        pass
    with pytest.raises(LostConnectionError, match=r"expected a connection to localhost, found .*refused"):
        fetch(wanted(gone), tmp_path / "part")


RUN = """
import resource, signal, sys
from pathlib import Path
from edgefr.downloads.resumable import Download, download
from edgefr.errors import EdgefrError
url, sha256, size, partial, most = sys.argv[1:]
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
resource.setrlimit(resource.RLIMIT_FSIZE, (int(most), resource.RLIM_INFINITY))
try:
    download(Download(url, sha256, int(size), int(size)), Path(partial), lambda count: None)
except EdgefrError as error:
    print(error)
"""


def command(download_of: Download, partial: Path, most: int) -> list[str]:
    arguments = [download_of.url, download_of.sha256, str(download_of.bytes), str(partial), str(most)]
    return [sys.executable, "-c", RUN, *arguments]


def test_a_disk_that_fills_is_left_as_it_was(place: Place, tmp_path: Path) -> None:
    """A limit on the size of files simulates the full disk."""
    told = subprocess.run(
        command(wanted(place), tmp_path / "part", 200_000), capture_output=True, text=True, check=True, cwd=REPOSITORY
    )
    assert "part cannot be written (File too large). Free disk space, and run the same command again." in told.stdout
    assert list(tmp_path.iterdir()) == []


def test_a_download_that_is_killed_goes_on_where_it_ended(place: Place, tmp_path: Path) -> None:
    def stall(handler: Handler, content: bytes) -> None:
        handler.begin(200, Content_Length=len(content), ETag='"1"')
        handler.wfile.write(content[:270_000])
        handler.wfile.flush()
        time.sleep(60)

    place.behaviours[PATH] = [stall]
    partial = tmp_path / "part"
    process = subprocess.Popen(command(wanted(place), partial, 1 << 30), cwd=REPOSITORY)
    deadline = time.monotonic() + 30
    while not (partial.is_file() and partial.stat().st_size) and time.monotonic() < deadline:
        time.sleep(0.02)
    process.send_signal(signal.SIGKILL)
    process.wait()
    arrived = partial.stat().st_size
    assert 0 < arrived < len(CONTENT)
    fetch(wanted(place), partial)
    assert place.ranges() == [None, f"bytes={arrived}-"]


def test_a_folder_that_cannot_be_written_is_an_error_of_one_sentence(place: Place, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(EdgefrError, match="cannot be written"):
        fetch(wanted(place), tmp_path / "file" / "part")
