"""The log of a service: what goes to stderr as JSON, one document a line, for a journal.

It holds neither names of people nor similarities. The log of the gallery has names: it is encrypted, forgets those of
removed people, and keeps events as long as it shall. A journal does none of this. The `id` of an event is the same in
the log and in what hooks and brokers receive.
"""

from __future__ import annotations

import functools
import inspect
import io
import json
import os
import re
import sys
import threading
from collections.abc import Callable
from contextlib import redirect_stderr
from datetime import datetime, timezone
from typing import TYPE_CHECKING, Annotated, Any, Literal, TextIO

import typer

from edgefr.cli.output import remark
from edgefr.errors import EdgefrError, InvalidArgumentError

if TYPE_CHECKING:
    from edgefr.camera.session import Document

LOG_VARIABLE = "EDGEFR_LOG_FORMAT"
LogFormat = Literal["text", "json"]
LogFormatOption = Annotated[
    LogFormat | None,
    typer.Option(
        "--log-format",
        help="Format of the log on stderr: text, or json with one document a line and without names of people. With "
        "json, events are not printed as sentences. Default: $EDGEFR_LOG_FORMAT, then text.",
    ),
]
SIGN_IN_CODE = re.compile(r"#code=[\w-]+")
"""The part of a link that signs in. Whoever can read a journal must not become an admin of the page."""


class JsonLog(io.TextIOBase):
    """A text stream that writes every line as a JSON document. Several threads may use it."""

    def __init__(self, stream: TextIO) -> None:
        super().__init__()
        self._stream = stream
        self._lock = threading.Lock()
        self._unfinished = threading.local()  # `print` writes a line and its end by two calls

    def writable(self) -> bool:
        return True

    def fileno(self) -> int:
        return self._stream.fileno()

    def write(self, text: str) -> int:
        """Take text as `print` and tracebacks give it; each complete line is a warning."""
        *lines, self._unfinished.line = (getattr(self._unfinished, "line", "") + text).split("\n")
        for line in filter(str.strip, lines):
            self.log("warning", "message", message=line.removeprefix("edgefr: "))
        return len(text)

    def log(self, level: Literal["info", "warning", "error"], event: str, **fields: Any) -> None:
        """Write one document.

        Args:
            level: How severe it is.
            event: A short name of what happened.
            fields: More about it, as values of JSON.
        """
        at = datetime.now(timezone.utc).isoformat(timespec="milliseconds")
        text = json.dumps({"time": at, "level": level, "event": event, **fields}, ensure_ascii=False)
        with self._lock:
            print(SIGN_IN_CODE.sub("#code=(left out)", text), file=self._stream, flush=True)

    def log_event(self, document: Document) -> None:
        """Write an event of a watch, without name and similarity."""
        if document["what"] == "source":
            fields = {name: document[name] for name in ("source", "condition", "reason", "id")}
            self.log("info" if document["condition"] in ("back", "ended") else "warning", "source", **fields)
        else:
            self.log("info", document["what"], **{name: document[name] for name in ("track", "live", "id")})


def json_log() -> JsonLog | None:
    """The log of the command that runs now; None if its format is text."""
    return sys.stderr if isinstance(sys.stderr, JsonLog) else None


def note(text: str) -> None:
    """Write a remark: a line of the log of a service, else text on a terminal."""
    if (log := json_log()) is None:
        remark(text)
    else:
        log.log("info", "message", message=text)


def with_log_format(command: Callable[..., None]) -> Callable[..., None]:
    """Give a command the option --log-format. With json, everything that it prints on stderr is a line of JSON."""

    @functools.wraps(command)
    def wrapped(*, log_format: LogFormat | None, **values: Any) -> None:
        if (log_format or _default_format()) == "text":
            command(**values)
            return
        log = JsonLog(sys.stderr)
        try:
            with redirect_stderr(log):
                command(**values)
        except EdgefrError as error:
            log.log("error", "failed", message=" ".join(str(error).split()))
            raise typer.Exit(error.exit_code) from error

    parameters = [
        parameter.replace(kind=inspect.Parameter.KEYWORD_ONLY)
        for parameter in inspect.signature(command, eval_str=True).parameters.values()
    ]
    own = inspect.Parameter("log_format", inspect.Parameter.KEYWORD_ONLY, default=None, annotation=LogFormatOption)
    wrapped.__signature__ = inspect.Signature([*parameters, own])  # type: ignore[attr-defined]
    return wrapped


def _default_format() -> str:
    named = os.environ.get(LOG_VARIABLE) or "text"
    if named not in ("text", "json"):
        raise InvalidArgumentError(f"text or json in ${LOG_VARIABLE}", named, "correct it")
    return named
