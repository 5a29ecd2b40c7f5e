"""Secrets from the environment, or from files that a service manager or a container hands over.

systemd and container engines give secrets as files in one folder, which $CREDENTIALS_DIRECTORY names. The environment
of a process can be read by its children and is printed by many tools. A file there with the name of a variable stands
for that variable.
"""

from __future__ import annotations

import os
from pathlib import Path

from edgefr.errors import UnavailableError

FOLDER_VARIABLE = "CREDENTIALS_DIRECTORY"
MAX_BYTES = 1 << 16


def credential(name: str) -> Path | None:
    """The file of a credential; None if there is none.

    Args:
        name: Name of the environment variable that it stands for.
    """
    folder = os.environ.get(FOLDER_VARIABLE)
    path = Path(folder, name) if folder else None
    return path if path is not None and path.exists() else None


def is_credential(path: Path) -> bool:
    """Whether a file lies in the folder of credentials."""
    folder = os.environ.get(FOLDER_VARIABLE)
    return bool(folder) and path.absolute().parent == Path(str(folder)).absolute()


def secret_value(name: str) -> str | None:
    """A secret: the environment variable, else the content of its credential, else None.

    Args:
        name: Name of the variable.

    Returns:
        The text. Of a credential it is without the line end that editors add.

    Raises:
        UnavailableError: The credential cannot be read, or is no text of at most 64 KiB.
    """
    if (value := os.environ.get(name)) is not None:
        return value
    path = credential(name)
    if path is None:
        return None
    try:
        with path.open("rb") as file:
            content = file.read(MAX_BYTES + 1)
        if len(content) > MAX_BYTES:
            raise ValueError(f"more than {MAX_BYTES >> 10} KiB")
        return content.decode().rstrip("\r\n")
    except UnicodeDecodeError as error:  # its text would quote the secret
        raise _unreadable(name, path, "it is not UTF-8") from error
    except (OSError, ValueError) as error:
        raise _unreadable(name, path, str(getattr(error, "strerror", None) or error)) from error


def is_given(name: str) -> bool:
    """Whether a variable is set and not empty, or has a credential."""
    return bool(os.environ.get(name)) or credential(name) is not None


def _unreadable(name: str, path: Path, reason: str) -> UnavailableError:
    return UnavailableError(f"the credential {name} as a text in {path}", reason, f"correct it, or set ${name}")
