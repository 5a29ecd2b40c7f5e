"""A program opens the door: without a shell, for a limited time, once."""

from __future__ import annotations

import json
from pathlib import Path
from time import monotonic

import pytest

from edgefr.camera.delivery import RefusedEventError
from edgefr.camera.event_queue import Entry
from edgefr.door.command_action import CommandAction
from edgefr.door.door_file import CommandSettings
from edgefr.door.fresh_receiver import MAX_AGE_S, Action
from edgefr.errors import UnavailableError
from tests.waiting import wait_for

OPENING = {"what": "opened", "rule": "day", "name": "Ada", "id": "1"}
ENTRY = Entry(1, "1", json.dumps(OPENING).encode())


def program(folder: Path, script: str) -> Path:
    path = folder / "program"
    path.write_text(f"#!/bin/sh\n{script}\n")
    path.chmod(0o700)
    return path


def test_a_program_gets_its_arguments_and_the_opening_and_no_secrets(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("EDGEFR_MQTT_PASSWORD", "secret")
    path = program(tmp_path, f'cat > {tmp_path}/stdin; echo "$@" > {tmp_path}/arguments; env > {tmp_path}/env')
    CommandAction("strike", CommandSettings((str(path), "$(id); open", "*"))).deliver(ENTRY)
    assert json.loads((tmp_path / "stdin").read_text()) == OPENING
    assert (tmp_path / "arguments").read_text() == "$(id); open *\n"
    assert "secret" not in (tmp_path / "env").read_text()


@pytest.mark.parametrize(
    ("script", "reason"), [("exit 3", "it exited with 3"), ("kill -9 $$", "it was ended by signal 9")]
)
def test_a_failure_is_final(script: str, reason: str, tmp_path: Path) -> None:
    action = CommandAction("strike", CommandSettings((str(program(tmp_path, script)),)))
    with pytest.raises(RefusedEventError, match=reason):
        action.deliver(ENTRY)


def test_a_program_that_does_not_end_is_killed_with_its_children(tmp_path: Path) -> None:
    path = program(tmp_path, f"sleep 600 & echo $! > {tmp_path}/child; wait")
    action = CommandAction("strike", CommandSettings((str(path),), timeout_s=0.5))
    with pytest.raises(RefusedEventError, match=r"did not end within 0\.5 s"):
        action.deliver(ENTRY)
    child = int((tmp_path / "child").read_text())
    wait_for(lambda: not is_running(child))


def is_running(process: int) -> bool:
    try:
        return Path(f"/proc/{process}/stat").read_text().split()[2] != "Z"
    except OSError:
        return False


def test_closing_ends_a_program_at_once(tmp_path: Path) -> None:
    path = program(tmp_path, f"echo > {tmp_path}/started; sleep 600")
    failures: list[tuple[str, str, str]] = []
    opener = CommandAction("strike", CommandSettings((str(path),), timeout_s=60))
    action = Action("strike", opener, lambda _: None, lambda *failure: failures.append(failure))
    action.open(OPENING, monotonic())
    wait_for((tmp_path / "started").exists)
    (tmp_path / "started").unlink()
    action.open({**OPENING, "id": "2"}, monotonic())
    action.close()
    reasons = ["it was ended by signal 9", "edgefr has ended"]
    assert failures == [("day", "strike", reason) for reason in reasons]
    assert not (tmp_path / "started").exists(), "what waits is not carried out any more"


def test_a_program_that_is_missing_or_cannot_be_run_is_an_error_at_the_start(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    for name, found in (("nothing", "no file"), ("file", "a file that cannot be run")):
        with pytest.raises(UnavailableError, match=found):
            CommandAction("strike", CommandSettings((str(tmp_path / name),)))


def test_an_old_opening_is_dropped_with_a_word(tmp_path: Path) -> None:
    path = program(tmp_path, f"echo > {tmp_path}/opened")
    warnings, failures = list[str](), list[tuple[str, str, str]]()
    opener = CommandAction("strike", CommandSettings((str(path),)))
    action = Action("strike", opener, warnings.append, lambda *failure: failures.append(failure))
    action.open(OPENING, monotonic() - MAX_AGE_S - 1)
    action.open({**OPENING, "id": "2"}, monotonic())
    wait_for((tmp_path / "opened").exists)
    action.close()
    assert failures == [("day", "strike", "not carried out within 5 s, so it is dropped")]
    assert "events for command strike are lost: 1 (not carried out within 5 s" in warnings[0]
