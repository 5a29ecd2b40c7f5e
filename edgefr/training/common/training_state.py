"""The state of an unfinished training in one safetensors file: modules, optimiser and step."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor, nn

from edgefr.errors import EdgefrError
from edgefr.io.files import atomic_write


def save_state(
    path: Path, key: str, step: int, modules: Mapping[str, nn.Module], optimizer: torch.optim.Optimizer
) -> None:
    """Write everything that resuming at `step` needs.

    Args:
        path: File to write.
        key: Hash of everything the training depends on.
        step: Number of finished steps.
        modules: All that change, by name.
        optimizer: Its momenta are saved, its settings are not.
    """
    tensors: dict[str, Tensor] = {}
    for name, module in modules.items():
        tensors |= {f"{name}/{entry}": value for entry, value in module.state_dict().items()}
    for index, entries in optimizer.state_dict()["state"].items():
        tensors |= {f"optimizer/{index}/{entry}": value for entry, value in entries.items()}
    header = {"state": json.dumps({"key": key, "step": step})}
    with atomic_write(path) as temporary:
        save_file({name: value.contiguous() for name, value in tensors.items()}, temporary, header)


def load_state(path: Path, key: str, modules: Mapping[str, nn.Module], optimizer: torch.optim.Optimizer) -> int:
    """Load a saved state into modules and optimiser.

    Args:
        path: File that `save_state` wrote; it may be missing.
        key: Must be the key that the state was saved with.
        modules: As for `save_state`.
        optimizer: As for `save_state`.

    Returns:
        The number of finished steps, 0 if there is no file.

    Raises:
        EdgefrError: The state is damaged or belongs to another recipe.
    """
    if not path.is_file():
        return 0
    try:
        with safe_open(path, "pt") as file:
            header = json.loads((file.metadata() or {}).get("state", "{}"))
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 - not a dict
    except (SafetensorError, OSError, ValueError, RecursionError) as error:
        raise EdgefrError(f"a training state in {path}", str(error), "remove the file to start again") from error
    if header.get("key") != key:
        raise EdgefrError(
            f"the training state of this recipe in {path}",
            "that of another recipe",
            "remove the file to start again, or --set name=ANOTHER",
        )
    for name, module in modules.items():
        module.load_state_dict(_with_prefix(tensors, f"{name}/"), strict=True)
    optimizer.load_state_dict({**optimizer.state_dict(), "state": _optimizer_state(tensors)})
    for parameter, entries in optimizer.state.items():
        for entry, value in entries.items():
            if isinstance(value, Tensor) and value.shape == parameter.shape:
                # The file stores no memory layout, and the fused AdamW needs that of the parameter.
                entries[entry] = torch.empty_like(parameter, dtype=value.dtype).copy_(value)
    return int(header["step"])


def _with_prefix(tensors: Mapping[str, Tensor], prefix: str) -> dict[str, Tensor]:
    return {name[len(prefix) :]: value for name, value in tensors.items() if name.startswith(prefix)}


def _optimizer_state(tensors: Mapping[str, Tensor]) -> dict[int, dict[str, Tensor]]:
    state: dict[int, dict[str, Tensor]] = {}
    for name, value in _with_prefix(tensors, "optimizer/").items():
        index, _, entry = name.partition("/")
        state.setdefault(int(index), {})[entry] = value
    return state
