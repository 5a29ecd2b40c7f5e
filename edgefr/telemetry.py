"""Turns off the usage reports of the libraries that edgefr runs on.

onnxruntime (from 1.32 on Linux) writes an identifier of the device below the home directory and contacts its makers,
openvino does the same by the package openvino_telemetry, and Ray reports about its clusters. Each reads its switch
when it is first imported, so edgefr sets them when the package `edgefr` is imported: in the command line, in programs
that use edgefr, in spawned workers and in Ray actors. Child processes inherit the environment variables.
"""

from __future__ import annotations

import os
import sys

ALLOW = "EDGEFR_TELEMETRY"
"""The environment variable that leaves the libraries as they are, if it is 1."""

SWITCHES = {"ORT_DISABLE_TELEMETRY": "1", "RAY_USAGE_STATS_ENABLED": "0"}
"""The environment variables of the libraries. A value that is already set is kept."""


def disable_telemetry() -> None:
    """Turn off the usage reports of onnxruntime, openvino and Ray in this process, unless `ALLOW` is 1.

    It has no effect on a library that is already imported.
    """
    if os.environ.get(ALLOW) == "1":
        return
    for name, value in SWITCHES.items():
        os.environ.setdefault(name, value)
    # openvino has no switch. It uses a stub of its own if the package cannot be imported.
    sys.modules.setdefault("openvino_telemetry", None)  # type: ignore[arg-type]
