"""Loading backbones from the checkpoints of other projects.

Supported: arcface_torch (`backbone.pth`, `model.pt`, its own checkpoints for resuming), AdaFace Lightning `.ckpt`,
CVLFace `model.pt` and `model.safetensors`, foamliu's MobileFaceNet; each also saved from `torch.compile` or
DataParallel. Weights for BGR are changed to RGB in the first convolution: every loaded backbone takes RGB.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any, Literal

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor

from edgefr.errors import EdgefrError, WrongModelError
from edgefr.nn.architectures import ARCHITECTURES, build_backbone
from edgefr.nn.backbone import Backbone
from edgefr.nn.fused_model import load_strictly
from edgefr.nn.torch_unpickler import load_torch_file

Colour = Literal["rgb", "bgr"]

CVLFACE_WRAPPER = "net."
WRAPPERS = (CVLFACE_WRAPPER, "model.", "module.", "backbone.", "_orig_mod.")
"""Prefixes of tensor names that modules around the network add: CVLFace, Lightning, DataParallel, torch.compile."""

CONTAINERS = ("state_dict_backbone", "state_dict", "model", "backbone", "net", "model_state_dict", "ema")
"""Keys of the state dict in files that hold more, in order of preference."""


def backbone_from_checkpoint(path: Path, arch: str | None = None, colour: Colour | None = None) -> Backbone:
    """Load a backbone.

    Args:
        path: The checkpoint.
        arch: Architecture; found from the names and shapes of the tensors if not given.
        colour: Colour order that the weights were trained with. If not given: for CVLFace what `model.yaml` next to
            the file says, or RGB; BGR for AdaFace's own files; RGB for all others.

    Returns:
        The frozen backbone in eval mode, which takes RGB in [-1, 1].

    Raises:
        EdgefrError: The file is missing, damaged, hostile or of an unknown architecture, has missing or extra
            tensors, or has weights that are not finite.
    """
    prefix, state = _unwrap(_read(path), path)
    _check_finite(state, path)
    arch = arch or _find_architecture(state, path)
    backbone = build_backbone(arch)
    for key, value in backbone.state_dict().items():
        if key.endswith("num_batches_tracked"):  # files of old torch versions lack these counters
            state.setdefault(key, value)
    load_strictly(backbone, state, str(path))
    if (colour or _default_colour(arch, prefix, path)) == "bgr":
        first = backbone.get_parameter(backbone.first_conv)
        first.data = first.data.flip(1)  # (out, 3, 3, 3): reversed input channels
    return backbone.requires_grad_(False)


def _read(path: Path) -> Any:
    if not path.is_file():
        raise EdgefrError(f"a backbone checkpoint at {path}", "no file", "check the path in the recipe")
    if path.suffix != ".safetensors":
        return load_torch_file(path)
    try:
        return load_file(path)
    except (SafetensorError, OSError) as error:
        raise EdgefrError(f"safetensors in {path}", f"something else ({error})", "download the file again") from error


def _unwrap(content: Any, path: Path) -> tuple[str, dict[str, Tensor]]:
    """The tensors of the network under their own names, and the prefix that was removed from them."""
    for container in CONTAINERS:
        if isinstance(content, dict) and isinstance(content.get(container), dict):
            content = content[container]
            break
    if not isinstance(content, dict):
        raise WrongModelError(
            f"a state dict in {path}",
            f"an object of type {type(content).__name__}",
            "save `net.state_dict()` with the program that made the file",
        )
    tensors = {str(key): value for key, value in content.items() if isinstance(value, Tensor)}
    removed = ""
    # Tensors without the prefix of others (AdaFace's `head.kernel`) belong to the training head and are dropped.
    while wrapper := next((prefix for prefix in WRAPPERS if any(key.startswith(prefix) for key in tensors)), ""):
        tensors = {key[len(wrapper) :]: value for key, value in tensors.items() if key.startswith(wrapper)}
        removed += wrapper
    return removed, {key: value for key, value in tensors.items() if removed or not key.startswith("head.")}


def _check_finite(state: dict[str, Tensor], path: Path) -> None:
    broken = [key for key, value in state.items() if not bool(torch.isfinite(value).all())]
    if broken:
        raise WrongModelError(
            f"finite weights in {path}",
            f"NaN or infinity in {len(broken)} of {len(state)} tensors ({', '.join(broken[:2])})",
            "take a checkpoint from before its training diverged",
        )


def _find_architecture(state: dict[str, Tensor], path: Path) -> str:
    shapes = _shapes(state)
    for arch, build in ARCHITECTURES.items():
        with torch.device("meta"):
            if _shapes(build().state_dict()) == shapes:
                return arch
    raise WrongModelError(
        f"the tensors of one of {', '.join(ARCHITECTURES)} in {path}",
        f"{len(shapes)} others",
        "name the architecture (--arch, or arch in the recipe) to see which are missing or extra",
    )


def _shapes(state: dict[str, Tensor]) -> dict[str, tuple[int, ...]]:
    return {key: tuple(value.shape) for key, value in state.items() if not key.endswith("num_batches_tracked")}


def _default_colour(arch: str, prefix: str, path: Path) -> Colour:
    if prefix.endswith(CVLFACE_WRAPPER):
        description = path.with_name("model.yaml")
        text = description.read_text(encoding="utf-8", errors="replace") if description.is_file() else ""
        return "bgr" if re.search(r"^\s*color_space:\s*['\"]?BGR", text, re.MULTILINE) else "rgb"
    return "bgr" if arch.startswith("ir_") else "rgb"
