"""Reads a published recogniser in a child process, with limits of memory and time.

The child is this module: `python -m edgefr.recognition.published.core_worker FILE CORE` writes the core graph and
prints one JSON document. The libraries that read a graph can be ended by a damaged or hostile file, and with them the
process.
"""

from __future__ import annotations

import json
import subprocess
import sys
from contextlib import suppress
from dataclasses import asdict
from pathlib import Path

from edgefr.errors import EdgefrError, WrongModelError
from edgefr.recognition.published.published_net import FIX, PublishedNet, core_from_published
from edgefr.runtimes.base import check_onnx_file

SECONDS = 600
"""A net of 100 layers takes 20 s on two cores."""

FIXED_BYTES, BYTES_PER_BYTE = 4 << 30, 12
"""Address space for Python and its libraries, and for each byte of the file, which is held in several forms at once."""


def read_published_net(path: Path, core: Path) -> PublishedNet:
    """Read a published recogniser and write its core graph; see `core_from_published`.

    Args:
        path: The published .onnx file.
        core: The .onnx file to write.

    Returns:
        What was found.

    Raises:
        WrongModelError: The file is no recogniser, cannot be converted, or needs more memory or time than a recogniser
            of its size.
        EdgefrError: A library is missing.
    """
    check_onnx_file(path, "edgefr adopt")  # cheap, and most bad files end here
    command = [sys.executable, "-m", "edgefr.recognition.published.core_worker", str(path), str(core)]
    try:
        done = subprocess.run(command, capture_output=True, timeout=SECONDS, check=False)  # noqa: S603 - this module
        answer = json.loads(done.stdout)
    except subprocess.TimeoutExpired as error:
        raise _refusal(path, f"more than {SECONDS} s to convert it") from error
    except ValueError as error:
        raise _refusal(path, "that the libraries which read it end with a crash or without memory") from error
    if "expected" in answer:
        kind = WrongModelError if answer.pop("wrong_model") else EdgefrError
        raise kind(**answer)
    return PublishedNet(**{**answer, "size": tuple(answer["size"])})


def _refusal(path: Path, found: str) -> WrongModelError:
    return WrongModelError(f"a face recogniser in {path}", found, FIX)


def _limit_memory(path: Path) -> None:
    """Bound the address space of this process, where the system can."""
    with suppress(ImportError, OSError, ValueError):  # Windows has no such limits
        import resource

        allowed = FIXED_BYTES + BYTES_PER_BYTE * path.stat().st_size
        _, hard = resource.getrlimit(resource.RLIMIT_AS)
        resource.setrlimit(resource.RLIMIT_AS, (allowed, hard))
        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))


def main(path: str, core: str) -> None:
    """Run as the child."""
    _limit_memory(Path(path))
    try:
        answer = asdict(core_from_published(Path(path), Path(core)))
    except EdgefrError as error:
        answer = {"expected": error.expected, "found": error.found, "fix": error.fix}
        answer["wrong_model"] = isinstance(error, WrongModelError)
    sys.stdout.write(json.dumps(answer))


if __name__ == "__main__":
    main(*sys.argv[1:])
