"""Files that appear complete or not at all, and their digests."""

from __future__ import annotations

import errno
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from edgefr.errors import UnavailableError
from edgefr.io.private_files import OWNER_ONLY, make_folder


@contextmanager
def atomic_write(path: Path, private: bool = False) -> Iterator[Path]:
    """Write a file that appears complete or not at all.

    Args:
        path: The file to write. Its folder is made if it is missing.
        private: Whether only the owner can read the file, and a folder that is made for it: for faces, templates,
            names and keys. This holds also if a file with wider permissions is replaced.

    Yields:
        A temporary path in the same folder. It is renamed to `path` on success and removed on failure.

    Raises:
        UnavailableError: `path` is a folder, or the file cannot be written.
    """
    import secrets  # only here, because a verification writes nothing

    try:
        if path.is_dir():
            raise IsADirectoryError(0, "it is a folder")
        make_folder(path.parent, private)
        # numpy and OpenCV choose a format by the suffix or append it, so it stays.
        temporary = path.with_name(f".{path.stem}-{secrets.token_hex(8)}{path.suffix}")
        mode = OWNER_ONLY if private else 0o666  # the system subtracts the umask
        os.close(os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL, mode))
    except OSError as error:
        raise unwritable(path, error) from error
    try:
        yield temporary
        sync_path(temporary)
        if private:
            temporary.chmod(OWNER_ONLY)  # a library may have replaced the file instead of writing into it
        temporary.replace(path)
        sync_path(path.parent)
    except OSError as error:
        raise unwritable(path, error) from error
    finally:
        temporary.unlink(missing_ok=True)


def sync_path(path: Path) -> None:
    """Wait until a file is on the disk, or the names in a folder, as after a rename. Raises OSError."""
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    except OSError as error:
        if error.errno not in (errno.EINVAL, errno.ENOTSUP):  # some network file systems cannot sync a folder
            raise
    finally:
        os.close(handle)


def unwritable(path: Path, error: OSError, fix: str = "choose another path or free disk space") -> UnavailableError:
    """The error for a file that cannot be written."""
    return UnavailableError("", f"{path} cannot be written ({error.strerror or error})", fix)


def sha256_of(path: Path) -> str:
    """SHA-256 of a file as hexadecimal digits."""
    import hashlib  # only here: it loads OpenSSL, and few runs need a digest

    digest = hashlib.sha256()
    with path.open("rb") as stream:
        while block := stream.read(1 << 20):
            digest.update(block)
    return digest.hexdigest()
