#!/usr/bin/env bash
# The import of pymilvus calls logging.config.dictConfig. "disable_existing_loggers" is False there, so the loggers of the
# program stay, but dictConfig also shuts all existing handlers down: a log file that the program has opened is closed. In
# mode "w" nothing is written to it any more, without an error. In mode "a" it is opened again at the next entry. The
# handler of absl.logging, which openvino imports, closes its stream, too: that of whatever has captured stderr when
# openvino was imported. pytest then fails in every later test with "I/O operation on closed file".
#
# Seen on 2026-12-01 with pymilvus 3.0.2, Python 3.11: a FileHandler in mode "w" writes "before", then pymilvus is
# imported, then it writes "after": the file holds "before" only.
# Import pymilvus before logging is set up, or keep the list logging._handlerList away from it.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
cd "$folder"
python3 -m venv venv
venv/bin/pip install --quiet --disable-pip-version-check pymilvus==3.0.2
cat > seen.py <<'PY'
import logging

handler = logging.FileHandler("door.log", mode="w")
door = logging.getLogger("door")
door.addHandler(handler)
door.warning("before")
import pymilvus

door.warning("after")
logging.shutdown()
print("in the file:", *open("door.log").read().split())
PY
venv/bin/python seen.py | tee seen
[ "$(cat seen)" = "in the file: before" ] || { echo "changed: pymilvus leaves the handlers of others open"; exit 1; }
