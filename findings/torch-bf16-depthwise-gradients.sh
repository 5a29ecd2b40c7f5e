#!/usr/bin/env bash
# On a processor with AVX-512 bf16, the gradient of a strided depth-wise convolution for its input takes some forty times
# as long in bf16 as in float32, although the forward pass is faster. oneDNN picks its kernel for dense groups of channels
# (brgconv_strided) there, and not the one for depth-wise convolutions (jit_dw), which it picks in float32 and, in bf16,
# without a stride. So `torch.autocast("cpu", torch.bfloat16)` trains MobileNets more slowly than it need do: the strided
# convolutions of a MobileFaceNet take a third of a step.
#
# Seen on 2026-12-01 with torch 2.13.0 (CPU), Python 3.11, AMD EPYC (Zen 5), one thread, 32 x 128 channels of 28x28, 3x3:
#   stride 2: brgconv_strided in bf16, 33 ms; jit_dw in float32, 0.8 ms
#   stride 1: jit_dw in both
# Compute these convolutions in float32: turn autocast off around them and convert their input.
set -euo pipefail
grep -q avx512_bf16 /proc/cpuinfo || { echo "needs a processor with AVX-512 bf16"; exit 2; }
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
cd "$folder"
python3 -m venv venv
venv/bin/pip install --quiet --disable-pip-version-check torch==2.13.0 numpy==2.4.6
cat > seen.py <<'PY'
import time

import torch

torch.set_num_threads(1)
for stride in (2, 1):
    for dtype in (torch.bfloat16, torch.float32):
        image = torch.randn(32, 128, 28, 28, dtype=dtype).contiguous(memory_format=torch.channels_last)
        weight = torch.randn(128, 1, 3, 3, dtype=dtype)
        gradient = torch.randn_like(torch.conv2d(image, weight, None, stride, 1, 1, 128))
        rest = [stride, stride], [1, 1], [1, 1], False, [0, 0], 128, [True, False, False]
        for _ in range(5):
            start = time.perf_counter()
            torch.ops.aten.convolution_backward(gradient, image, weight, None, *rest)
            seconds = time.perf_counter() - start
        print("seen", stride, str(dtype)[6:], f"{1e3 * seconds:.1f} ms", flush=True)
PY
ONEDNN_VERBOSE=1 venv/bin/python seen.py > all
grep ^seen all
kernels=$(awk -F, '/,convolution,.*,backward_data/ { split($7, kernel, ":"); print kernel[1] }' all | uniq | tr '\n' ' ')
echo "$kernels"
[ "$kernels" = "brgconv_strided jit_dw " ] || { echo "changed: oneDNN picks other kernels"; exit 1; }
