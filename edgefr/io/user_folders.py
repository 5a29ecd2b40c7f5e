"""The user's folders for data, caches and configuration, where there is a home directory."""

from __future__ import annotations

from pathlib import Path

from edgefr.errors import UnavailableError


def user_folder(kind: str) -> Path | None:
    """The folder of edgefr for a kind of the user's files, as the XDG base directory specification names it.

    Args:
        kind: "data", "cache" or "config".

    Returns:
        The folder, which need not exist. None if no home directory is known: $HOME is not set, and the user has no
        entry in the list of users, as in some containers.
    """
    import platformdirs

    try:
        folder = Path(getattr(platformdirs, f"user_{kind}_dir")("edgefr"))
    except (KeyError, RuntimeError):
        return None
    return folder if folder.is_absolute() else None


def require_user_folder(kind: str, purpose: str, fix: str) -> Path:
    """The same folder, for a default that cannot do without it.

    Args:
        kind: "data" or "cache".
        purpose: What is stored in it, for messages.
        fix: The option that names another place.

    Raises:
        UnavailableError: No home directory is known.
    """
    folder = user_folder(kind)
    if folder is None:
        name = "~/.local/share/edgefr" if kind == "data" else "~/.cache/edgefr"
        raise UnavailableError(f"a home directory for {purpose} in {name}", "none", fix)
    return folder
