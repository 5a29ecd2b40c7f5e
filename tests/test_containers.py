"""The files of docker/: what linters and schemas say, and that they agree with edgefr and its documents."""

from __future__ import annotations

import http.server
import os
import re
import shutil
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.conftest import REPOSITORY

DOCKERFILES = ("Dockerfile", "Dockerfile.jetpack")
COMPOSE = REPOSITORY / "docker/compose.yaml"

each_dockerfile = pytest.mark.parametrize("name", DOCKERFILES)


def dockerfile(name: str) -> str:
    return (REPOSITORY / "docker" / name).read_text(encoding="utf-8")


@pytest.fixture(scope="module")
def compose() -> Any:
    yaml = pytest.importorskip("yaml")
    return yaml.safe_load(COMPOSE.read_text(encoding="utf-8"))


@each_dockerfile
def test_hadolint_finds_no_fault(name: str) -> None:
    program = shutil.which("hadolint", path=f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}")
    if program is None:
        pytest.skip("hadolint is not installed")
    told = subprocess.run([program, name], cwd=REPOSITORY / "docker", capture_output=True, text=True, check=False)
    assert told.stdout == told.stderr == ""


def test_compose_yaml_is_one_of_the_specification() -> None:
    pytest.importorskip("check_jsonschema")
    command = [sys.executable, "-m", "check_jsonschema", "--builtin-schema", "vendor.compose-spec", str(COMPOSE)]
    told = subprocess.run(command, capture_output=True, text=True, check=False)
    assert told.returncode == 0, told.stdout


@each_dockerfile
def test_images_run_as_a_user_with_a_health_check(name: str) -> None:
    text = dockerfile(name)
    last_stage = text[text.rindex("\nFROM ") :]
    assert re.findall(r"^USER (.*)$", last_stage, re.MULTILINE) == ["10001"]
    assert "HEALTHCHECK" in last_stage
    assert not re.search(r"^(ENV|ARG) .*(TOKEN|PASSWORD|KEY)=", text, re.MULTILINE)


def test_what_the_package_is_built_from_goes_to_the_builder() -> None:
    allowed = {line[1:] for line in (REPOSITORY / ".dockerignore").read_text().splitlines() if line.startswith("!")}
    needed = {"LICENSE", "README.md", "constraints.txt", "edgefr", "engines/*.toml", "hatch_build.py", "pyproject.toml"}
    assert allowed == needed | {"docker/healthcheck.py"}


def test_containers_may_do_little(compose: Any) -> None:
    for name in ("api", "watch"):
        service = compose["services"][name]
        assert service["read_only"]
        assert service["cap_drop"] == ["ALL"]
        assert "no-new-privileges:true" in service["security_opt"]
        assert not service.get("privileged")
        assert "HEALTH_URL" in service["environment"]
    assert compose["networks"]["database"]["internal"]
    assert "ports" not in compose["services"]["database"]


def test_secrets_are_files_that_the_documentation_makes(compose: Any) -> None:
    page = (REPOSITORY / "docs/service.md").read_text(encoding="utf-8")
    for name, secret in compose["secrets"].items():
        assert secret == {"file": f"./secrets/{name}"}
        assert f"secrets/{name}" in page
    used = {name for service in compose["services"].values() for name in service.get("secrets", ())}
    assert used == compose["secrets"].keys()


@pytest.fixture
def server() -> Iterator[str]:
    """A server that answers 200 to /good, and 503 to others."""

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(200 if self.path == "/good" else 503)
            self.end_headers()

        def log_message(self, *_: object) -> None:
            pass

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler) as listening:
        thread = threading.Thread(target=listening.serve_forever)
        thread.start()
        yield f"http://127.0.0.1:{listening.server_address[1]}"
        listening.shutdown()
        thread.join()


@pytest.mark.parametrize(("path", "code"), [("/good", 0), ("/bad", 1)])
def test_the_health_check_asks_the_server(server: str, path: str, code: int) -> None:
    assert health(server + path) == code


def test_a_server_that_does_not_listen_is_not_healthy() -> None:
    assert health("http://127.0.0.1:1/") == 1


def health(url: str) -> int:
    command = [sys.executable, "-I", str(REPOSITORY / "docker/healthcheck.py")]
    environment = {"PATH": os.environ["PATH"], "HEALTH_URL": url}
    return subprocess.run(command, env=environment, capture_output=True, check=False).returncode
