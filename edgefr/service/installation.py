"""Install the unit of a service, and remove it."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

from edgefr.errors import InvalidArgumentError, UnavailableError
from edgefr.io.files import atomic_write
from edgefr.service.systemd_unit import MARK, NAME, USER, SystemdUnit, unit_name

UNITS = Path("etc/systemd/system")
USERS = Path("etc/sysusers.d/edgefr.conf")
USERS_TEXT = f'u {USER} - "edgefr face recognition" /var/lib/{USER}\n'
"""A user of the system without password and shell, see sysusers.d(5)."""
HIDDEN = ("/home", "/root", "/run/user", "/tmp", "/var/tmp")  # noqa: S108
"""Folders whose content a service does not see (ProtectHome, PrivateTmp)."""
TIMEOUT_S = 60.0


def unit_path(root: Path, name: str) -> Path:
    """The file of the unit of a service.

    Raises:
        InvalidArgumentError: The name is not valid.
    """
    if not NAME.fullmatch(name):
        raise InvalidArgumentError("a name of lower-case letters, digits and -", name, "choose another --name")
    return root / UNITS / unit_name(name)


def install(unit: SystemdUnit, root: Path) -> Path:
    """Write the unit and the user, and enable the service. It starts with the machine.

    Args:
        unit: The service.
        root: The root of the file system: / or that of an image.

    Returns:
        The file of the unit.

    Raises:
        InvalidArgumentError: A file of this name was not written by edgefr, or the service cannot read its Python.
        UnavailableError: A file cannot be written, or systemd refuses.
    """
    path = unit_path(root, unit.name)
    if path.exists() and not _is_ours(path):
        raise InvalidArgumentError(f"no file, or one of edgefr, at {path}", "another one", "choose another --name")
    check_visible(unit.python, "edgefr's Python", "install edgefr into a folder such as /opt/edgefr")
    for file, text in ((root / USERS, USERS_TEXT), (path, unit.text())):
        with atomic_write(file) as temporary:
            temporary.write_text(text, encoding="utf-8")
        file.chmod(0o644)
    _run("systemd-sysusers", f"--root={root}", USERS.name)
    if is_running(root):
        systemctl(root, "daemon-reload")
    systemctl(root, "enable", unit.file_name)
    return path


def uninstall(name: str, root: Path) -> Path:
    """Stop and disable a service, and remove its unit. User, state and credentials are kept.

    Returns:
        The file of the unit, which is removed.

    Raises:
        UnavailableError: There is no such service, or systemd refuses.
    """
    path = unit_path(root, name)
    if not path.is_file() or not _is_ours(path):
        raise UnavailableError(f"a service that edgefr has installed at {path}", "none", "check its --name")
    if is_running(root):
        systemctl(root, "stop", path.name)
    systemctl(root, "disable", path.name)
    path.unlink()
    if is_running(root):
        systemctl(root, "daemon-reload")
    return path


def is_running(root: Path) -> bool:
    """Whether systemd runs this machine, and `root` is not an image."""
    return root == Path("/") and Path("/run/systemd/system").is_dir()


def systemctl(root: Path, *arguments: str) -> None:
    """Run systemctl.

    Raises:
        UnavailableError: It is missing, or fails.
    """
    _run("systemctl", *([] if root == Path("/") else [f"--root={root}"]), *arguments)


def check_visible(path: Path, what: str, fix: str) -> None:
    """Check that a service can see a file.

    Raises:
        InvalidArgumentError: It lies in a folder that services do not see.
    """
    for place in {path.absolute(), path.resolve()}:
        if folder := next((hidden for hidden in HIDDEN if place.is_relative_to(hidden)), None):
            raise InvalidArgumentError(f"{what} where a service can read it", f"{place}, below {folder}", fix)


def _is_ours(path: Path) -> bool:
    return path.read_text(encoding="utf-8", errors="replace").startswith(MARK)


def _run(program: str, *arguments: str) -> None:
    if (found := shutil.which(program)) is None:
        raise UnavailableError(f"the program {program}", "none", "run this on a machine with systemd")
    done = subprocess.run(  # noqa: S603 (no input of others)
        [found, *arguments], capture_output=True, text=True, timeout=TIMEOUT_S, check=False
    )
    if done.returncode != 0:
        reason = " ".join(done.stderr.split()) or f"exit code {done.returncode}"
        raise UnavailableError(f"`{program} {' '.join(arguments)}` to succeed", reason, "run it as root")
