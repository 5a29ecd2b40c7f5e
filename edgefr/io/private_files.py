"""Files and folders that only their owner can read: they hold faces, templates, names or keys.

The mode is given when a file is made, so it is never readable by others in between, and no umask is changed: a umask
belongs to the whole process, and other threads write at the same time.
"""

from __future__ import annotations

import os
import stat
from pathlib import Path

OWNER_ONLY, OWNER_FOLDER = 0o600, 0o700
OTHERS = 0o077
"""Permissions of the group and of all other users."""


def open_private(path: Path, flags: int) -> int:
    """Open a file that only its owner can read, also if it was there with wider permissions.

    Pipes, terminals and other files that are not regular keep their permissions, as do files of other users.

    Args:
        path: The file. It is made if it is missing.
        flags: Flags of `os.open`, without O_CREAT.

    Returns:
        The descriptor.

    Raises:
        OSError: The file cannot be opened.
    """
    descriptor = os.open(path, flags | os.O_CREAT, OWNER_ONLY)
    try:
        found = os.fstat(descriptor)
        if stat.S_ISREG(found.st_mode) and found.st_mode & OTHERS and found.st_uid == os.geteuid():
            os.fchmod(descriptor, OWNER_ONLY)
    except BaseException:
        os.close(descriptor)
        raise
    return descriptor


def make_library_folder(path: Path) -> None:
    """Make a folder in which a library writes files with modes of its own, so that only the owner can enter it.

    Raises:
        OSError: It cannot be made.
    """
    make_folder(path, private=True)
    found = path.stat()
    if found.st_mode & OTHERS and found.st_uid == os.geteuid():
        path.chmod(OWNER_FOLDER)


def make_folder(path: Path, private: bool) -> None:
    """Make a folder, and those above it that are missing. Folders that exist keep their permissions.

    Args:
        path: The folder.
        private: Whether the folders that are made have mode 0700. `Path.mkdir` would give it only to the last one.

    Raises:
        OSError: It cannot be made, or `path` is a file.
    """
    if private:
        for parent in reversed([parent for parent in path.parents if not parent.exists()]):
            parent.mkdir(mode=OWNER_FOLDER, exist_ok=True)
    path.mkdir(mode=OWNER_FOLDER if private else 0o777, parents=True, exist_ok=True)
