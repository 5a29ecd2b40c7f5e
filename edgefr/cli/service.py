"""edgefr service: install, check, uninstall"""

from __future__ import annotations

import re
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any, Literal

import typer

from edgefr.cli.config_file import SYSTEM_FILE, ConfigFile
from edgefr.cli.options import PASSWORD, JsonOption
from edgefr.cli.output import print_json
from edgefr.errors import InvalidArgumentError

WITHOUT_CODE = ("onnxruntime", "ncnn")
"""Runtimes that work where memory that is written can never be executed. OpenVINO compiles models into such memory."""
CAMERA = re.compile(r"[0-9]+|/dev/video.*|v4l2src\b.*")

NameOption = Annotated[
    str | None, typer.Option("--name", help="Name of the service, edgefr-NAME. Default: the command.")
]
RootOption = Annotated[
    Path, typer.Option("--root", help="Root of the file system, if it is that of an image for a device.")
]


def install(
    command: Annotated[Literal["watch", "serve"], typer.Argument(help="The command that the service runs.")],
    options: Annotated[
        list[str] | None, typer.Argument(help="Its options, after --. Others can be in the configuration file.")
    ] = None,
    name: NameOption = None,
    config: Annotated[
        Path | None, typer.Option(help="Configuration file of the service. Default: /etc/edgefr/edgefr.toml.")
    ] = None,
    credential: Annotated[
        list[str] | None,
        typer.Option(
            metavar="NAME=FILE",
            help="Give the service a secret: the variable NAME, such as EDGEFR_GALLERY_KEY or EDGEFR_WEB_TOKEN, from a "
            "file that only root can read. May be repeated.",
        ),
    ] = None,
    encrypted_credential: Annotated[
        list[str] | None,
        typer.Option(
            metavar="NAME=FILE",
            help="The same from a file that `systemd-creds encrypt --name=NAME` has written; from systemd 250 on. May "
            "be repeated.",
        ),
    ] = None,
    device: Annotated[
        list[str] | None,
        typer.Option(
            metavar="KIND",
            help="Allow a kind of device: camera, gpio or gpu. A camera that is the source of `watch` is allowed "
            "anyway. May be repeated.",
        ),
    ] = None,
    python: Annotated[Path | None, typer.Option(help="Python that edgefr is installed in. Default: this one.")] = None,
    root: RootOption = Path("/"),
    now: Annotated[bool, typer.Option("--now", help="Start the service, or start it again.")] = False,
    print_only: Annotated[bool, typer.Option("--print", help="Print the unit on stdout, and change nothing.")] = False,
) -> None:
    """Install a service of systemd that runs a command, with a hardened unit.

    For example: edgefr service install watch --name door -- 0 --mqtt mqtt://broker/door
    The service has a user of its own, a read-only system, its state in /var/lib/edgefr, and is started again if it
    fails or hangs. It is enabled, and starts with the machine. The same command changes it.
    """
    from edgefr.service import installation
    from edgefr.service.systemd_unit import SystemdUnit

    given = options or []
    values = _effective_values(command, given, config, root)
    devices = {*(device or ())} | ({"camera"} if CAMERA.match(str(values.get("source", ""))) else set())
    unit = SystemdUnit(
        name or command,
        [command, *given],
        python or Path(sys.executable),
        None if config is None else config.absolute(),
        dict(map(_named_file, credential or ())),
        dict(map(_named_file, encrypted_credential or ())),
        frozenset(devices),
        values.get("runtime") in WITHOUT_CODE and "gpu" not in devices,
    )
    if print_only:
        print(unit.text(), end="")
        return
    path = installation.install(unit, root)
    print(f"Installed {path}.")
    if now:
        installation.systemctl(root, "restart", unit.file_name)
        print(f"Started {unit.file_name}. Its log: journalctl -u {unit.file_name} -f")
    else:
        print(f"Start it with: systemctl restart {unit.file_name}")


def check(
    name: Annotated[str, typer.Argument(help="Name of the service.")],
    root: RootOption = Path("/"),
    json: JsonOption = False,
) -> None:
    """Check an installed service: user, groups, secrets, configuration, unit, and whether it runs.

    Exit 0 if all is well, 1 if something is not.
    """
    from edgefr.cli.config_check import config_faults
    from edgefr.service.installation import unit_path
    from edgefr.service.installation_check import Finding, check_installation, unit_values

    findings = check_installation(name, root)
    for path in _config_paths(unit_values(unit_path(root, name).read_text(encoding="utf-8"), "Environment"), root):
        faults = config_faults(ConfigFile.read(path))
        findings.append(Finding("configuration", not faults, "; ".join(map(str, faults)) or str(path)))
    if json:
        print_json({"name": name, "findings": [vars(finding) for finding in findings]})
    else:
        rows = [[finding.name, "ok" if finding.ok else "FAULT", finding.detail] for finding in findings]
        print("\n".join("  ".join(row) for row in rows))
    raise typer.Exit(0 if all(finding.ok for finding in findings) else 1)


def uninstall(name: Annotated[str, typer.Argument(help="Name of the service.")], root: RootOption = Path("/")) -> None:
    """Stop a service and remove its unit. Its user, state and secrets are kept."""
    from edgefr.service import installation

    path = installation.uninstall(name, root)
    print(f"Removed {path}. Galleries and other state stay in /var/lib/edgefr.")


def _effective_values(command: str, options: Sequence[str], config: Path | None, root: Path) -> dict[str, Any]:
    """The values of all options of a command: those given, else those of the configuration file.

    Raises:
        InvalidArgumentError: The command or an option does not exist, or an option holds a password.
    """
    from edgefr.cli import COMMANDS
    from edgefr.cli.config_values import command_settings
    from edgefr.cli.plain_values import with_plain_values

    if command not in COMMANDS:
        raise InvalidArgumentError("a command of this edgefr", f"`{command}`", "use another one, or update edgefr")
    if any(map(PASSWORD.search, options)):
        raise InvalidArgumentError(
            "no password among the options, which all users can read in the unit",
            "one",
            "give it with --credential, for a source as EDGEFR_SOURCE=FILE",
        )
    path = config or next(iter(_config_paths((), root)), None)
    loaded = COMMANDS[command].load(command)
    defaults: dict[str, Any] = {}
    if path is not None:
        found = command_settings(ConfigFile.read(path), command, with_plain_values(list(loaded.params)))
        defaults = {name: setting.value for name, setting in found.items()}
    context = loaded.make_context(command, [*options], default_map=defaults)
    values: dict[str, Any] = context.params
    return values


def _config_paths(variables: Sequence[str], root: Path) -> list[Path]:
    """The configuration file of a service, if there is one."""
    named = [value.strip('"').partition("=")[2] for value in variables if value.strip('"').startswith("EDGEFR_CONFIG=")]
    path = root / (named[0] if named else str(SYSTEM_FILE)).lstrip("/")
    return [path] if named or path.is_file() else []


def _named_file(text: str) -> tuple[str, Path]:
    name, equals, file = text.partition("=")
    if not (equals and file):
        raise InvalidArgumentError("NAME=FILE for a credential", text, "write for example EDGEFR_WEB_TOKEN=/etc/token")
    return name, Path(file)
