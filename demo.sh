#!/usr/bin/env bash
# Show what this machine can run, then verify sample photographs with the shipped models and draw the result.
set -euo pipefail
.venv/bin/edgefr doctor
echo
.venv/bin/edgefr demo -o demo.png
