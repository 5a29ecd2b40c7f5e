"""The systemd unit of a service: what it runs, and what it may do."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from edgefr.errors import InvalidArgumentError

USER = "edgefr"
"""The user and group of all services: `edgefr gallery` can be run as it, and a database can know it."""
MARK = "# Written by `edgefr service install`"
NAME = re.compile(r"[a-z0-9][a-z0-9-]{0,39}")
CREDENTIAL = re.compile(r"[A-Z][A-Z0-9_]{0,63}")
"""A credential has the name of the environment variable that it stands for."""
WATCHDOG_S = 60
"""The longest pause of a healthy service is a database that does not respond, which takes some ten seconds."""

DEVICES = {"camera": ("char-video4linux",), "gpio": ("char-gpiochip",), "gpu": ()}
"""Kind of device -> device nodes in the words of DeviceAllow. A GPU has nodes of many names, which differ between
drivers, so a service with one is limited by the permissions of the files alone."""
GROUPS = {"camera": ("video",), "gpio": ("gpio",), "gpu": ("video", "render")}

HARDENING = """\
NoNewPrivileges=yes
CapabilityBoundingSet=
AmbientCapabilities=
ProtectSystem=strict
ProtectHome=yes
PrivateTmp=yes
PrivateMounts=yes
PrivateUsers=yes
ProtectProc=invisible
ProtectHostname=yes
ProtectKernelLogs=yes
ProtectKernelModules=yes
ProtectKernelTunables=yes
ProtectControlGroups=yes
RestrictNamespaces=yes
RestrictRealtime=yes
RestrictSUIDSGID=yes
LockPersonality=yes
RemoveIPC=yes
KeyringMode=private
RestrictAddressFamilies=AF_UNIX AF_INET AF_INET6
SystemCallArchitectures=native
SystemCallFilter=@system-service
SystemCallFilter=~@privileged @resources
SystemCallFilter=sched_setaffinity
SystemCallErrorNumber=EPERM
LimitCORE=0
UMask=0077"""
"""Holds for every service. A dump of the memory would hold keys and templates, so there is none. onnxruntime binds its
threads to cores."""


@dataclass(frozen=True)
class SystemdUnit:
    """A service.

    Attributes:
        name: Its name; the unit is edgefr-NAME.service.
        command: The command of edgefr and its options.
        python: The Python that edgefr is installed in.
        config: The configuration file, None for the one of the system.
        credentials: Name of an environment variable -> file with its secret, which root can read.
        encrypted: The same for files that `systemd-creds encrypt` has written.
        devices: Devices that it uses.
        never_writes_code: Whether memory that is written can never be executed. Some runtimes compile models into it.
    """

    name: str
    command: Sequence[str]
    python: Path
    config: Path | None = None
    credentials: Mapping[str, Path] = field(default_factory=dict)
    encrypted: Mapping[str, Path] = field(default_factory=dict)
    devices: frozenset[str] = frozenset()
    never_writes_code: bool = False

    def __post_init__(self) -> None:
        """Raises InvalidArgumentError if a name cannot be one."""
        if not NAME.fullmatch(self.name):
            raise InvalidArgumentError("a name of lower-case letters, digits and -", self.name, "choose another --name")
        if unknown := self.devices - DEVICES.keys():
            raise InvalidArgumentError(f"one of {', '.join(DEVICES)} as --device", min(unknown), "correct it")
        for name in (*self.credentials, *self.encrypted):
            if not CREDENTIAL.fullmatch(name):
                raise InvalidArgumentError("a credential that is named as a variable", name, "write NAME=FILE")

    @property
    def file_name(self) -> str:
        """Name of the unit."""
        return unit_name(self.name)

    def text(self) -> str:
        """The unit file."""
        command = [str(self.python), "-I", "-X", "faulthandler", "-m", "edgefr", *self.command]
        lines = [
            f"{MARK}, which replaces this file; change it by `systemctl edit {self.file_name}`.",
            "[Unit]",
            f"Description=edgefr {self.command[0]} ({self.name})",
            "After=network-online.target time-sync.target",
            "Wants=network-online.target",
            "StartLimitIntervalSec=900",
            "StartLimitBurst=30",
            "",
            "[Service]",
            "Type=notify",
            f"ExecStart={' '.join(map(quote_argument, command))}",
            "Restart=on-failure",
            "RestartSec=10",
            f"WatchdogSec={WATCHDOG_S}",
            "TimeoutStartSec=300",
            "TimeoutStopSec=45",
            f"User={USER}",
            f"Group={USER}",
            *self._environment(),
            f"StateDirectory={USER}",
            "StateDirectoryMode=0700",
            f"CacheDirectory={USER}",
            "CacheDirectoryMode=0700",
            f"WorkingDirectory=%S/{USER}",
            *self._secrets(),
            *self._device_access(),
            f"MemoryDenyWriteExecute={'yes' if self.never_writes_code else 'no'}",
            HARDENING,
            "",
            "[Install]",
            "WantedBy=multi-user.target",
        ]
        return "\n".join(lines) + "\n"

    def _environment(self) -> list[str]:
        """edgefr appends its name to the folders of the XDG specification: /etc, /var/lib and /var/cache."""
        variables = [f"HOME=%S/{USER}", "XDG_CONFIG_HOME=%E", "XDG_DATA_HOME=%S", "XDG_CACHE_HOME=%C"]
        variables += ["EDGEFR_LOG_FORMAT=json"]
        if self.config is not None:
            variables.append(quote(f"EDGEFR_CONFIG={self.config}"))
        return [f"Environment={variable}" for variable in variables]

    def _secrets(self) -> list[str]:
        return [
            *(f"LoadCredential={name}:{_plain_path(path)}" for name, path in self.credentials.items()),
            *(f"LoadCredentialEncrypted={name}:{_plain_path(path)}" for name, path in self.encrypted.items()),
        ]

    def _device_access(self) -> list[str]:
        groups = sorted({group for device in self.devices for group in GROUPS[device]})
        lines = [f"SupplementaryGroups={' '.join(groups)}"] if groups else []
        if "gpu" in self.devices:
            return lines
        lines.append("ProtectClock=yes")  # it limits the devices, too
        if not self.devices:
            return [*lines, "PrivateDevices=yes"]
        nodes = sorted({node for device in self.devices for node in DEVICES[device]})
        return [*lines, "DevicePolicy=closed", *(f"DeviceAllow={node} rw" for node in nodes)]


def unit_name(name: str) -> str:
    """The name of the unit of a service."""
    return f"edgefr-{name}.service"


def quote_argument(text: str) -> str:
    """A word of a command line, in which variables would be replaced; see systemd.service(5), "Command lines"."""
    return quote(text).replace("$", "$$")


def quote(text: str) -> str:
    """A word of a list in a unit file, see systemd.syntax(7), "Quoting".

    Raises:
        InvalidArgumentError: It has control characters, which a unit file cannot hold.
    """
    if any(ord(letter) < 32 or ord(letter) == 127 for letter in text):
        raise InvalidArgumentError("options without control characters", repr(text), "leave them out")
    doubled = text.replace("\\", "\\\\").replace('"', '\\"').replace("%", "%%")
    return doubled if re.fullmatch(r"[\w@%+=:,./$-]+", doubled) else f'"{doubled}"'


def _plain_path(path: Path) -> str:
    """A path in a setting that knows no quotes."""
    text = str(path.absolute())
    if re.search(r"[\s:\"'\\]", text):
        raise InvalidArgumentError("a path without spaces, quotes and colons", text, "move the file")
    return text.replace("%", "%%")
