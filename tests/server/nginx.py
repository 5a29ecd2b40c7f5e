"""A real nginx with TLS in front of the page."""

from __future__ import annotations

import datetime
import shutil
import socket
import ssl
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec

from tests.waiting import wait_for

NAME = "door.example"
UNPACKED = Path(sys.prefix, "nginx/usr/sbin/nginx")
NGINX = str(UNPACKED) if UNPACKED.is_file() else shutil.which("nginx", path="/usr/sbin:/usr/bin:/usr/local/bin")
MISSING = "no nginx on this machine: `make .venv/nginx` on Debian, or apt-get install nginx"

CONFIGURATION = """
daemon off; worker_processes 1; pid {folder}/nginx.pid; error_log {folder}/error.log;
events {{ worker_connections 64; }}
http {{
  access_log off;
  client_body_temp_path {folder}/body; proxy_temp_path {folder}/proxy;
  fastcgi_temp_path {folder}/f; uwsgi_temp_path {folder}/u; scgi_temp_path {folder}/s;
  server {{
    listen 127.0.0.1:{port} ssl; server_name {name};
    ssl_certificate {folder}/certificate.pem; ssl_certificate_key {folder}/key.pem;
    client_max_body_size 40m;
    location / {{
      proxy_pass {page};
      proxy_buffering off;
      {headers}
    }}
  }}
}}
"""
FORWARDED = """
      proxy_set_header Host $host;
      proxy_set_header X-Forwarded-For $proxy_add_x_forwarded_for;
      proxy_set_header X-Forwarded-Proto $scheme;
"""
"""The headers that docs/watch.md advises; without them nginx passes the address of the page as Host."""


@contextmanager
def nginx(folder: Path, page: str, headers: str) -> Iterator[tuple[int, ssl.SSLContext]]:
    """The port of a proxy of the page, and what a client trusts."""
    write_certificate(folder)
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    text = CONFIGURATION.format(folder=folder, port=port, name=NAME, page=page.rstrip("/"), headers=headers)
    (folder / "nginx.conf").write_text(text)
    command = [str(NGINX), "-p", str(folder), "-c", str(folder / "nginx.conf")]
    with subprocess.Popen(command, stderr=subprocess.PIPE) as process:
        try:
            wait_for(lambda: process.poll() is not None or _listens(port), 30)
            assert process.poll() is None, process.stderr and process.stderr.read()
            yield port, ssl.create_default_context(cafile=str(folder / "certificate.pem"))
        finally:
            process.terminate()


def _listens(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0


def write_certificate(folder: Path) -> None:
    """Write `certificate.pem` and `key.pem` for NAME."""
    key = ec.generate_private_key(ec.SECP256R1())
    subject = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, NAME)])
    now = datetime.datetime.now(datetime.timezone.utc)
    certificate = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(subject)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - datetime.timedelta(days=1))
        .not_valid_after(now + datetime.timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([x509.DNSName(NAME)]), critical=False)
        .sign(key, hashes.SHA256())
    )
    pem = serialization.Encoding.PEM
    (folder / "certificate.pem").write_bytes(certificate.public_bytes(pem))
    private = key.private_bytes(pem, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    (folder / "key.pem").write_bytes(private)
