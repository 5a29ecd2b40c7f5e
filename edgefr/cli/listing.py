"""What commands print about files and folders that they did not read."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from edgefr.cli.output import warn

if TYPE_CHECKING:
    from collections.abc import Sequence

    from edgefr.io.picture_files import PictureFinder, RejectedImage

MAX_LISTED = 10
"""Most photographs without a reason of their own, of a command that reads millions, that are printed on stderr."""


def warn_left_out(images: Sequence[RejectedImage], limit: int | None = None) -> None:
    """Print a line for each photograph or folder that was left out, at most `limit` of them."""
    for image in images[:limit]:
        warn(f"edgefr: left out: {image.reason}")
    if limit is not None and len(images) > limit:
        warn(f"edgefr: and {len(images) - limit:,} more")


def warn_other_files(finder: PictureFinder) -> None:
    """Print one line that counts the files that are no pictures, if there are any."""
    if others := finder.summary():
        warn(f"edgefr: not read: {others}")


def left_out_document(images: Sequence[RejectedImage]) -> list[dict[str, Any]]:
    """The same for --json."""
    return [{"path": image.path, "reason": image.reason} for image in images]
