"""Reading PyTorch checkpoints that others pickled, without running what is in them.

`torch.load(weights_only=True)` refuses whole Lightning files because of the harmless objects that they hold beside
the weights (callbacks, hyper-parameters). Here, objects of known training libraries are replaced by inert stand-ins,
and every other name that a pickle wants to call is refused.
"""

from __future__ import annotations

import contextlib
import pickle
import tarfile
import warnings
import zipfile
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import torch

from edgefr.errors import EdgefrError
from edgefr.io.restricted_unpickler import RestrictedUnpickler, refusal_reason

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
    *(("builtins", name) for name in ("set", "frozenset", "list", "dict", "complex")),
    ("collections", "Counter"),
    ("collections", "defaultdict"),
    ("typing", "Any"),
    ("_codecs", "encode"),
}
"""What Lightning keeps beside weights: callbacks, hyper-parameters, milestones of schedulers, numpy scalars."""


class Inert:
    """Stands for an object that is not weights. It accepts whatever a pickle does to it and keeps nothing."""

    def __new__(cls, *_args: object) -> Inert:
        return super().__new__(cls)

    def __init__(self, *_args: object) -> None:
        """Ignores the arguments of the real constructor."""

    def __setstate__(self, _state: object) -> None:
        """Ignores the state of the real object."""

    def __setitem__(self, _key: object, _value: object) -> None:
        """Ignores the items of a dict."""

    def append(self, _item: object) -> None:
        """Ignores the items of a list."""

    add = extend = append


class TorchUnpickler(RestrictedUnpickler):
    """Resolves what tensors are made of, and inert stand-ins for what is known to lie beside them."""

    def resolve(self, module: str, name: str) -> Any:
        if (module, name) in REBUILD or (module == "torch" and name.endswith("Storage")):
            return pickle.Unpickler.find_class(self, module, name)
        if module == "torch" and isinstance(getattr(torch, name, None), torch.dtype):
            return getattr(torch, name)
        if module.partition(".")[0] in INERT_PACKAGES or (module, name) in INERT_NAMES:
            return Inert
        return None


def _load(file: Any, **arguments: Any) -> Any:
    return TorchUnpickler(file, **arguments).load()


PICKLE_MODULE = SimpleNamespace(__name__="pickle", Unpickler=TorchUnpickler, load=_load)
"""What `torch.load` takes as its `pickle_module`."""


def _refuse_programs(path: Path) -> None:
    """Refuse the formats that `torch.load` reads without the unpickler it was given."""
    if zipfile.is_zipfile(path):
        with zipfile.ZipFile(path) as archive:
            if any(name.rpartition("/")[2] == "constants.pkl" for name in archive.namelist()):
                raise pickle.UnpicklingError("a TorchScript program")
    elif tarfile.is_tarfile(path):
        raise pickle.UnpicklingError("a tar archive of torch before 0.1.10")


def load_torch_file(path: Path) -> Any:
    """Read a file of `torch.save` without running code from it.

    Args:
        path: A checkpoint of any version of torch since 0.1.10.

    Returns:
        The content of the file on the CPU. Objects other than tensors and plain containers can be `Inert`.

    Raises:
        EdgefrError: The file is damaged, is not a torch file, or would run code.
    """
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # about pickle protocols; they are meant for the publisher of the file
        with contextlib.suppress(Exception):  # damaged, hostile or with other objects: what follows finds out which
            return torch.load(path, map_location="cpu", weights_only=True)
        try:
            _refuse_programs(path)
            return torch.load(path, map_location="cpu", weights_only=False, pickle_module=PICKLE_MODULE)
        except Exception as error:  # a hostile pickle can raise anything that its instructions reach
            raise EdgefrError(
                f"a checkpoint with nothing but weights in {path}",
                refusal_reason(error).rstrip("."),
                "get the file from its publisher again, or convert it to safetensors if you trust it",
            ) from error
