"""The unit of a service: what systemd says of it, and that nothing in it is misread."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgefr.errors import InvalidArgumentError
from edgefr.service.systemd_unit import DEVICES, SystemdUnit, quote_argument

MOST_EXPOSURE = 2.0


def unit(*options: str, **settings: object) -> SystemdUnit:
    return SystemdUnit("door", ["watch", *options], Path(sys.executable), **settings)  # type: ignore[arg-type]


def analysed(folder: Path, text: str, *arguments: str) -> str:
    if shutil.which("systemd-analyze") is None:
        pytest.skip("systemd is not installed")
    path = folder / "edgefr-door.service"
    path.write_text(text)
    command = ["systemd-analyze", "--no-pager", *arguments, str(path)]
    told = subprocess.run(command, capture_output=True, text=True, check=False)
    assert told.returncode == 0, told.stderr
    return told.stdout + told.stderr


@pytest.mark.parametrize("device", [None, *DEVICES])
def test_systemd_finds_no_fault_and_little_exposure(tmp_path: Path, device: str | None) -> None:
    text = unit(
        "0",
        config=Path("/etc/edgefr/door 1.toml"),
        credentials={"EDGEFR_WEB_TOKEN": Path("/etc/edgefr/token")},
        encrypted={"EDGEFR_GALLERY_KEY": Path("/etc/edgefr/key.cred")},
        devices=frozenset({device} if device else ()),
    ).text()
    assert analysed(tmp_path, text, "verify") == ""
    told = analysed(tmp_path, text, "security", "--offline=true")
    exposure = float(told.split("Overall exposure level for edgefr-door.service: ")[1].split()[0])
    assert exposure <= MOST_EXPOSURE


@pytest.mark.parametrize(
    "line",
    [
        "User=edgefr",
        "NoNewPrivileges=yes",
        "CapabilityBoundingSet=",
        "ProtectSystem=strict",
        "ProtectHome=yes",
        "StateDirectoryMode=0700",
        "LimitCORE=0",
        "Type=notify",
        "WatchdogSec=60",
        "Restart=on-failure",
    ],
)
def test_the_unit_keeps_what_the_documentation_promises(line: str) -> None:
    assert line in unit().text().splitlines()


def test_a_variable_is_not_a_command_line() -> None:
    assert 'Environment="EDGEFR_CONFIG=/etc/100%% $HOME.toml"' in unit(config=Path("/etc/100% $HOME.toml")).text()


def test_a_service_without_devices_sees_none(tmp_path: Path) -> None:
    assert "PrivateDevices=yes" in unit().text()
    camera = unit(devices=frozenset({"camera"})).text()
    assert "DeviceAllow=char-video4linux rw" in camera
    assert "SupplementaryGroups=video\n" in camera
    assert "PrivateDevices" not in camera


@pytest.mark.parametrize("writes", [True, False])
def test_memory_is_executable_only_for_runtimes_that_need_it(writes: bool) -> None:
    assert f"MemoryDenyWriteExecute={'no' if writes else 'yes'}\n" in unit(never_writes_code=not writes).text()


@pytest.mark.parametrize(
    ("word", "quoted"),
    [
        ("--port=8765", "--port=8765"),
        ("http://host/a%20b?c=$d", '"http://host/a%%20b?c=$$d"'),
        ('a "b" c\\d', '"a \\"b\\" c\\\\d"'),
        ("", '""'),
        ("it's; rm", '"it\'s; rm"'),
    ],
)
def test_options_are_quoted(word: str, quoted: str) -> None:
    assert quote_argument(word) == quoted


def as_systemd_reads(word: str) -> str:
    """A word of a unit file without quotes, escapes and doubled specifiers."""
    inner = word[1:-1] if word.startswith('"') else word
    return re.sub(r"\\(.)|%(%)|\$(\$)", lambda found: next(filter(None, found.groups())), inner, flags=re.DOTALL)


@given(st.text(max_size=20) | st.text("%$\"\\ '", max_size=9))
def test_an_option_is_read_as_it_was_given(word: str) -> None:
    try:
        quoted = quote_argument(word)
    except InvalidArgumentError:
        assert any(ord(letter) < 32 or ord(letter) == 127 for letter in word)
        return
    assert as_systemd_reads(quoted) == word
    assert not set(quoted) & set("\n\r\0")
    if not quoted.startswith('"'):
        assert not set(quoted) & set(" '\"\\;#")


@pytest.mark.parametrize(
    "settings",
    [
        {"name": "../door"},
        {"name": "Door"},
        {"credentials": {"web token": Path("/a")}},
        {"credentials": {"TOKEN": Path("/a b")}},
        {"encrypted": {"TOKEN": Path("/a:b")}},
        {"devices": frozenset({"mouse"})},
        {"command": ["watch", "a\nUser=root"]},
    ],
)
def test_what_cannot_be_in_a_unit_is_refused(settings: dict[str, object]) -> None:
    values: dict[str, object] = {"name": "door", "command": ["watch"], "python": Path("/usr/bin/python3")}
    with pytest.raises(InvalidArgumentError):
        SystemdUnit(**{**values, **settings}).text()  # type: ignore[arg-type]
