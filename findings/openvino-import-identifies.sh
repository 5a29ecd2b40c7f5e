#!/usr/bin/env bash
# `import openvino` alone, without a model, writes a client identifier into the home directory and looks up the name of a
# statistics server, unless the package openvino-telemetry cannot be imported. The Python package
# installs openvino-telemetry as a dependency, and its consent dialog is not shown for this event.
#
# Seen on 2026-11-30 with openvino 2026.4.1 and openvino-telemetry 2025.2.0, Python 3.11, Debian:
#   ~/intel/openvino_ga_cid appears after the import (openvino/tools/ovc/__init__.py sends the event
#   "general_import"). With sys.modules["openvino_telemetry"] = None before the import the package takes its own stub
#   and writes nothing.
# A program that uses openvino only to run models has to prevent this before its first import.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet --disable-pip-version-check openvino==2026.4.1 openvino-telemetry==2025.2.0 numpy==2.4.6

files() { (cd "$1" && find . -type f | sort); }
mkdir "$folder/home" "$folder/quiet"
# Continuous integration servers are exempt by the package itself, so their variables are left out.
run() { env -i PATH="$PATH" HOME="$1" "$folder/venv/bin/python" -c "$2"; }
run "$folder/home" 'import openvino'
run "$folder/quiet" 'import sys; sys.modules["openvino_telemetry"] = None; import openvino; openvino.Core()'
echo "after import openvino:"; files "$folder/home"
echo "without openvino_telemetry:"; files "$folder/quiet"
files "$folder/home" | grep -q 'openvino_ga_cid' || { echo "changed: no identifier is written any more"; exit 1; }
[ -z "$(files "$folder/quiet")" ] || { echo "changed: the stub writes files, too"; exit 1; }
