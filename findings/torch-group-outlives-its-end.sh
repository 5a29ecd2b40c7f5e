#!/usr/bin/env bash
# torch.distributed.destroy_process_group() does not end a group if torch.distributed.nn was imported after
# init_process_group. Ten functions of torch.distributed.nn.functional have `group=group.WORLD` as a default. Python
# evaluates it at the import, when group.WORLD is the group itself, so the functions keep it. Nobody has to name the
# module: the first step of torch.optim.SGD or AdamW imports it. Gloo's threads therefore run on after
# destroy_process_group, and now and then such a process aborts at its exit ("terminate called without an active
# exception"), after all its work is done; torchrun then reports a failed training.
#
# Seen on 2026-12-01 with torch 2.13.0 (CPU), Python 3.11:
#   after one step of SGD and destroy_process_group: 3 threads of gloo;
#   the same with `import torch.distributed.nn` before init_process_group: none.
# A training loop of its own should import torch.distributed.nn before init_process_group.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
cd "$folder"
python3 -m venv venv
venv/bin/pip install --quiet --disable-pip-version-check torch==2.13.0 numpy==2.4.6
cat > seen.py <<'PY'
import sys
from pathlib import Path

import torch

if sys.argv[1] == "before":
    import torch.distributed.nn
torch.distributed.init_process_group("gloo", init_method=f"file://{sys.argv[2]}", rank=0, world_size=1)
weight = torch.ones(3, requires_grad=True)
optimizer = torch.optim.SGD([weight], lr=0.1)
weight.sum().backward()
optimizer.step()
torch.distributed.all_reduce(weight.detach())
torch.distributed.destroy_process_group()
threads = [path.read_text() for path in Path("/proc/self/task").glob("*/comm")]
print(sys.argv[1], sum("gloo" in name for name in threads), flush=True)
PY
{ venv/bin/python seen.py after "$folder/a" || true; venv/bin/python seen.py before "$folder/b"; } | tee seen
[ "$(cat seen)" = $'after 3\nbefore 0' ] || { echo "changed: the group ends now"; exit 1; }
