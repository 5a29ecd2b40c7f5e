"""`edgefr service`, as whoever sets up a device uses it; into the root of an image, because tests have no systemd."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import pytest

PYTHON = "/usr/bin/python3"


@pytest.fixture
def service(edgefr, tmp_path: Path):
    """`edgefr service` with an image as its root."""
    if shutil.which("systemctl") is None or shutil.which("systemd-sysusers") is None:
        pytest.skip("systemd is not installed")
    if os.geteuid() != 0:
        pytest.skip("systemd-sysusers writes users as root only")
    root = tmp_path / "image"
    (root / "etc").mkdir(parents=True)

    def run(command: str, *arguments: object):
        place = ["--root", root, *(["--python", PYTHON] if command == "install" else [])]
        return edgefr("service", command, *place, *arguments)

    run.root = root  # type: ignore[attr-defined]
    return run


@pytest.fixture
def unit(edgefr):
    """The unit that `install --print` shows."""

    def show(*arguments: object) -> str:
        told = edgefr("service", "install", "--print", *arguments)
        assert told.code == 0, told.err
        return told.out

    return show


def test_print_shows_the_unit_and_writes_nothing(service) -> None:
    told = service("install", "watch", "--name", "door", "--print", "--", "0", "--mqtt", "mqtt://broker/door")
    assert f"ExecStart={PYTHON} -I -X faulthandler -m edgefr watch 0 --mqtt mqtt://broker/door\n" in told.out
    assert "Type=notify" in told.out
    assert [*service.root.rglob("*")] == [service.root / "etc"]


def test_a_service_is_installed_changed_and_removed(service) -> None:
    told = service("install", "watch", "--name", "door", "--", "rtsp://camera/1")
    assert told.code == 0, told.err
    units = service.root / "etc/systemd/system"
    path = units / "edgefr-door.service"
    assert "rtsp://camera/1" in path.read_text()
    assert path.stat().st_mode & 0o777 == 0o644
    assert (units / "multi-user.target.wants/edgefr-door.service").is_symlink()
    assert "edgefr:" in (service.root / "etc/passwd").read_text()
    assert service("install", "watch", "--name", "door", "--", "rtsp://camera/2").code == 0
    assert "rtsp://camera/2" in path.read_text()
    assert service("uninstall", "door").code == 0
    assert not path.exists()
    assert not (units / "multi-user.target.wants/edgefr-door.service").is_symlink()
    assert "edgefr:" in (service.root / "etc/passwd").read_text(), "its files still belong to the user"
    assert "edgefr-door" in service("uninstall", "door").sentence


def test_a_unit_of_others_is_not_replaced_and_not_removed(service) -> None:
    path = service.root / "etc/systemd/system/edgefr-door.service"
    path.parent.mkdir(parents=True)
    path.write_text("[Service]\nExecStart=/bin/true\n")
    assert "another" in service("install", "watch", "--name", "door", "--", "0").sentence
    assert service("uninstall", "door").code == 2
    assert "bin/true" in path.read_text()


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (["rtsp://user:geheim@camera/1"], ["--credential", "EDGEFR_SOURCE"]),
        (["0", "--hook", "https://user:geheim@host/"], ["--credential"]),
        (["--port", "99999"], ["--port"]),
        (["--prot", "1"], ["--prot", "--port"]),
    ],
)
def test_options_are_checked_before_anything_is_written(service, options: list[str], words: list[str]) -> None:
    told = service("install", "watch", "--", *options)
    assert told.code == 2
    assert "geheim" not in told.err
    assert all(word in told.err for word in words)
    assert [*service.root.rglob("*")] == [service.root / "etc"]


def test_a_python_that_the_service_cannot_see_is_refused(service) -> None:
    told = service("install", "watch", "--python", "/home/ada/venv/bin/python", "--", "0")
    assert "/opt/edgefr" in told.sentence


def test_only_a_camera_and_a_runtime_that_needs_it_loosen_the_unit(unit) -> None:
    loose = unit("watch", "--", "0")
    assert "DeviceAllow=char-video4linux rw" in loose
    assert "MemoryDenyWriteExecute=no" in loose, "auto may choose OpenVINO"
    tight = unit("watch", "--", "rtsp://camera/1", "--runtime", "onnxruntime")
    assert "PrivateDevices=yes" in tight
    assert "MemoryDenyWriteExecute=yes" in tight
    assert "PrivateDevices" not in unit("watch", "--device", "gpu", "--", "rtsp://camera/1")


def test_the_configuration_file_counts_too(unit, tmp_path: Path) -> None:
    config = tmp_path / "door.toml"
    config.write_text('[model]\nruntime = "ncnn"\n[watch]\nsource = 0\n')
    text = unit("watch", "--config", config)
    assert f"EDGEFR_CONFIG={config}" in text
    assert "MemoryDenyWriteExecute=yes" in text
    assert "char-video4linux" in text


def test_a_fault_of_the_configuration_file_is_told(edgefr, tmp_path: Path) -> None:
    config = tmp_path / "door.toml"
    config.write_text("[watch]\nprot = 1\n")
    assert f"{config}:2" in edgefr("service", "install", "watch", "--print", "--config", config, "--", "0").sentence


def test_secrets_are_named_and_not_read(unit) -> None:
    text = unit(
        "watch", "--credential", "EDGEFR_WEB_TOKEN=/etc/edgefr/token",
        "--encrypted-credential", "EDGEFR_GALLERY_KEY=/etc/edgefr/key.cred", "--", "0",
    )  # fmt: skip
    assert "LoadCredential=EDGEFR_WEB_TOKEN:/etc/edgefr/token\n" in text
    assert "LoadCredentialEncrypted=EDGEFR_GALLERY_KEY:/etc/edgefr/key.cred\n" in text


def test_check_finds_what_is_missing(service) -> None:
    assert "install" in service("check", "door").sentence
    service("install", "watch", "--name", "door", "--credential", "EDGEFR_WEB_TOKEN=/etc/edgefr/token", "--", "0")
    findings = {each["name"]: each["ok"] for each in service("check", "door", "--json").json["findings"]}
    assert findings["user edgefr"]
    assert not findings["credential EDGEFR_WEB_TOKEN"]
    token, config = service.root / "etc/edgefr/token", service.root / "etc/edgefr/edgefr.toml"
    token.parent.mkdir()
    token.write_text("x")
    token.chmod(0o644)
    config.write_text("[watch]\nprot = 1\n")
    told = service("check", "door")
    assert told.code == 1
    assert "chmod 600" in told.out
    assert "write port" in told.out.lower()
    token.chmod(0o600)
    config.write_text("[watch]\nport = 1\n")
    with (service.root / "etc/group").open("a") as groups:
        groups.write("video:x:44:\n")
    assert service("check", "door").code == 0, service("check", "door").out
