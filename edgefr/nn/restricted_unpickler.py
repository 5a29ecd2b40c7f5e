"""Reading checkpoints that others pickled, without running what they say.

`torch.load(weights_only=True)` refuses whole Lightning files because of the harmless objects beside their
weights (callbacks, hyper-parameters). Here such objects of known training libraries become inert shells, and
everything else that a pickle wants to call is refused by name.
"""

from __future__ import annotations

import pickle
import tarfile
import warnings
import zipfile
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import torch

from edgefr.errors import EdgefrError

REBUILD = {
    ("collections", "OrderedDict"),
    ("torch", "Size"),
    ("torch", "device"),
    ("torch._utils", "_rebuild_tensor_v2"),
    ("torch._utils", "_rebuild_parameter"),
}
"""What tensors are made of."""

INERT_PACKAGES = {"pytorch_lightning", "lightning", "lightning_fabric", "omegaconf", "easydict", "numpy", "pathlib"}
INERT_NAMES = {
    ("argparse", "Namespace"),
    ("builtins", "set"),
    ("builtins", "frozenset"),
    ("builtins", "list"),
    ("builtins", "dict"),
    ("builtins", "complex"),
    ("collections", "Counter"),
    ("collections", "defaultdict"),
    ("typing", "Any"),
    ("_codecs", "encode"),
}
"""What Lightning keeps beside weights: callbacks, hyper-parameters, schedulers' milestones, numpy scalars."""


class Inert:
    """Stands for an object that is not weights: takes whatever a pickle does to it and keeps nothing."""

    def __new__(cls, *_args: object) -> Inert:
        return super().__new__(cls)

    def __init__(self, *_args: object) -> None:
        """Ignores what the real constructor would get."""

    def __setstate__(self, _state: object) -> None:
        """Ignores the real object's state."""

    def __setitem__(self, _key: object, _value: object) -> None:
        """Ignores the items of a dict."""

    def append(self, _item: object) -> None:
        """Ignores the items of a list."""

    def extend(self, _items: object) -> None:
        """Ignores the items of a list."""

    add = append


class RestrictedUnpickler(pickle.Unpickler):
    """Finds what tensors are made of, shells for known bystanders, and nothing else."""

    def find_class(self, module: str, name: str) -> Any:
        module = "builtins" if module == "__builtin__" else module  # pickle protocol 2 uses Python 2's name
        if (module, name) in REBUILD or (module == "torch" and name.endswith("Storage")):
            return super().find_class(module, name)
        if module == "torch" and isinstance(getattr(torch, name, None), torch.dtype):
            return getattr(torch, name)
        if module.partition(".")[0] in INERT_PACKAGES or (module, name) in INERT_NAMES:
            return Inert
        raise pickle.UnpicklingError(f"it wants to run {module}.{name}")


def _restricted_load(file: Any, **arguments: Any) -> Any:
    return RestrictedUnpickler(file, **arguments).load()


def _refuse_programs(path: Path) -> None:
    """Refuse the formats that `torch.load` reads without asking the unpickler it was given.

    Raises:
        UnpicklingError: the file is a TorchScript program or a tar archive.
    """
    if zipfile.is_zipfile(path):
        with zipfile.ZipFile(path) as archive:
            if any(name.rpartition("/")[2] == "constants.pkl" for name in archive.namelist()):
                raise pickle.UnpicklingError("it is a TorchScript program")
    elif tarfile.is_tarfile(path):
        raise pickle.UnpicklingError("it is a tar archive of torch before 0.1.10")


RESTRICTED_PICKLE = SimpleNamespace(__name__="pickle", Unpickler=RestrictedUnpickler, load=_restricted_load)
"""In the shape of the pickle module, as `torch.load` wants it."""


def unpickle(path: Path) -> Any:
    """The content of a torch file, on the CPU.

    Raises:
        EdgefrError: The file is damaged, no torch file, or would run code.
    """
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of pickle protocols, to the publisher's address
            return torch.load(path, map_location="cpu", weights_only=True)
    except Exception:  # damaged, hostile or with bystanders: the restricted reader tells which
        return _unpickle_restricted(path)


def _unpickle_restricted(path: Path) -> Any:
    try:
        _refuse_programs(path)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            return torch.load(path, map_location="cpu", weights_only=False, pickle_module=RESTRICTED_PICKLE)
    except pickle.UnpicklingError as error:
        reason = str(error).splitlines()[0] if str(error) else "it is no pickle"
    except Exception as error:  # a hostile pickle can raise anything that its opcodes reach
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
    raise EdgefrError(
        f"a checkpoint with nothing but weights in {path}",
        f"that {reason.rstrip('.')}",
        "get the file from its publisher again, or convert it to safetensors where you trust it",
    )
