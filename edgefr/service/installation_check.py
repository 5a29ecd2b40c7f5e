"""What an installed service needs: its user, its Python, its secrets, and that it runs."""

from __future__ import annotations

import shlex
import shutil
import stat
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from edgefr.errors import EdgefrError, UnavailableError
from edgefr.io.private_files import OTHERS
from edgefr.service.installation import TIMEOUT_S, check_visible, is_running, unit_path
from edgefr.service.systemd_unit import USER


@dataclass(frozen=True)
class Finding:
    """The result of one check.

    Attributes:
        name: What was checked.
        ok: Whether it is as it must be.
        detail: What was found, and what to do if it is not.
    """

    name: str
    ok: bool
    detail: str


def unit_values(text: str, key: str) -> list[str]:
    """All values of a key of a unit file that edgefr has written."""
    return [line.partition("=")[2] for line in text.splitlines() if line.startswith(f"{key}=")]


def check_installation(name: str, root: Path) -> list[Finding]:
    """Check an installed service.

    Args:
        name: Name of the service.
        root: The root of the file system: / or that of an image, of which less can be checked.

    Raises:
        UnavailableError: There is no such service.
    """
    path = unit_path(root, name)
    try:
        text = path.read_text(encoding="utf-8")
    except OSError as error:
        raise UnavailableError(f"a unit at {path}", error.strerror or "none", "run `edgefr service install`") from error
    findings = [_account(root, "passwd", "user", USER), *_groups(root, text), *_secrets(root, text)]
    if root == Path("/"):
        findings += [_python(text), _syntax(path)]
    if is_running(root):
        findings.append(_activity(path.name))
    return findings


def _account(root: Path, file: str, kind: str, name: str) -> Finding:
    path = root / "etc" / file
    lines = path.read_text(encoding="utf-8", errors="replace").splitlines() if path.is_file() else []
    found = any(line.startswith(f"{name}:") for line in lines)
    return Finding(f"{kind} {name}", found, "exists" if found else f"is missing in {path}: create it")


def _groups(root: Path, text: str) -> Iterator[Finding]:
    for value in unit_values(text, "SupplementaryGroups"):
        for group in value.split():
            yield _account(root, "group", "group", group)


def _secrets(root: Path, text: str) -> Iterator[Finding]:
    for key in ("LoadCredential", "LoadCredentialEncrypted"):
        for value in unit_values(text, key):
            name, _, place = value.partition(":")
            file = root / place.replace("%%", "%").lstrip("/")
            try:
                mode = stat.S_IMODE(file.stat().st_mode)
            except OSError as error:
                yield Finding(f"credential {name}", False, f"{file}: {error.strerror}")
                continue
            is_private = key == "LoadCredentialEncrypted" or not mode & OTHERS
            fix = f"other users can read {file}: run chmod 600"
            yield Finding(f"credential {name}", is_private, str(file) if is_private else fix)


def _python(text: str) -> Finding:
    """Whether the Python of the unit can import edgefr, in a folder that the service can see."""
    python = Path(shlex.split(unit_values(text, "ExecStart")[0])[0].replace("%%", "%"))
    try:
        check_visible(python, "edgefr's Python", "install edgefr into a folder such as /opt/edgefr")
    except EdgefrError as error:
        return Finding("Python", False, str(error))
    done = _run(str(python), "-I", "-m", "edgefr", "--version")
    return Finding("Python", done[0], f"{python}: {done[1]}")


def _syntax(path: Path) -> Finding:
    if shutil.which("systemd-analyze") is None:
        return Finding("unit", False, "systemd is not installed")
    valid, told = _run("systemd-analyze", "verify", str(path))
    return Finding("unit", valid, told or str(path))


def _activity(unit: str) -> Finding:
    """Whether it runs now, and how often it was started again."""
    active, told = _run("systemctl", "is-active", unit)
    restarts = _run("systemctl", "show", "--property=NRestarts", "--value", unit)[1]
    again = f", started again {restarts} times" if restarts not in ("", "0") else ""
    fix = "" if active else f"; see `journalctl -u {unit}`"
    return Finding("state", active, f"{told}{again}{fix}")


def _run(*command: str) -> tuple[bool, str]:
    """Whether a program succeeds, and what it says."""
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=TIMEOUT_S, check=False)  # noqa: S603
    except (OSError, subprocess.TimeoutExpired) as error:
        return False, str(error)
    return done.returncode == 0, " ".join((done.stdout + done.stderr).split())
