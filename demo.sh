#!/usr/bin/env bash
# The main job once, end to end, with what comes with edgefr: find the faces, compare them, draw what was found.
set -euo pipefail
.venv/bin/edgefr doctor
echo
.venv/bin/edgefr demo -o demo.png
