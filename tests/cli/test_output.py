"""What all commands share: progress, help, version and completion."""

from __future__ import annotations

import io
import re

import pytest
from rich.progress import Progress

from edgefr import __version__
from edgefr.cli import COMMANDS
from edgefr.cli.output import progress
from edgefr.cli.progress_bars import RateColumn


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def use_terminal(monkeypatch: pytest.MonkeyPatch) -> Terminal:
    """Make stderr a terminal. This is no fixture because pytest replaces stderr between a fixture and its test."""
    made = Terminal()
    for name, value in {"TERM": "xterm", "COLUMNS": "120", "NO_COLOR": "1"}.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setattr("sys.stderr", made)
    return made


def frames(text: str) -> list[str]:
    """The blocks of lines that were drawn one after the other, each from the first column."""
    return re.split(r"\r\x1b\[2K", re.sub(r"\x1b\[\?25[lh]|\x1b\[1A\x1b\[2K", "", text))


def test_nested_progress_shows_both_bars(monkeypatch) -> None:
    terminal = use_terminal(monkeypatch)
    with progress("Distilling", 10) as advance:
        with progress("Embedding", 4) as inner:
            inner(3)
            advance(2)
        with progress("Measuring", 5) as inner:
            inner(1)
        advance(8)
    with progress("Again", 3):
        pass
    shown = frames(terminal.getvalue())
    both = [frame for frame in shown if "Distilling" in frame and "Embedding" in frame]
    assert both
    assert not any("Embedding" in frame and "Measuring" in frame for frame in shown)
    assert not any("Again" in frame and "Distilling" in frame for frame in shown)


def test_a_failed_progress_leaves_no_bar(monkeypatch) -> None:
    terminal = use_terminal(monkeypatch)
    with pytest.raises(KeyboardInterrupt), progress("Outer", 3), progress("Inner", 3):
        raise KeyboardInterrupt
    start = len(terminal.getvalue())
    with progress("Next", 3):
        pass
    assert "Outer" not in terminal.getvalue()[start:]


def test_progress_is_silent_without_a_terminal(capsys: pytest.CaptureFixture[str]) -> None:
    with progress("Distilling", 10) as advance:
        advance(3)
    assert capsys.readouterr() == ("", "")


def test_the_rate_after_a_resume_ignores_earlier_steps() -> None:
    now = [0.0]
    bars = Progress(get_time=lambda: now[0])
    bars.add_task("Distilling", total=10_000)
    (task,) = bars.tasks
    rate = RateColumn()
    assert rate.render(task).plain == ""
    bars.advance(task.id, 5000)
    for _ in range(6):
        now[0] += 2.0
        bars.advance(task.id, 64)
    assert rate.render(task).plain == "32.0/s"


def test_the_version_is_printed(edgefr) -> None:
    answer = edgefr("--version")
    assert (answer.code, answer.out, answer.err) == (0, f"edgefr {__version__}\n", "")


@pytest.mark.parametrize("command", [[], ["verify"], ["gallery"], ["gallery", "enroll"], ["data", "check"]])
def test_every_command_has_a_short_help_option(edgefr, command: list[str]) -> None:
    short, long = edgefr(*command, "-h"), edgefr(*command, "--help")
    assert (short.code, short.err) == (0, "")
    assert short.out == long.out
    assert "Usage: edgefr" in short.out


def test_commands_are_listed_in_the_order_of_use() -> None:
    names = list(COMMANDS)
    assert names.index("verify") < names.index("eval") < names.index("train") < names.index("demo")


def test_a_shell_can_complete_commands(edgefr, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("_EDGEFR_COMPLETE", "complete_bash")
    monkeypatch.setenv("COMP_WORDS", "edgefr ver")
    monkeypatch.setenv("COMP_CWORD", "1")
    assert edgefr().out.split() == ["verify"]
