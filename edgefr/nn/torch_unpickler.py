"""Reading PyTorch checkpoints that others pickled, without running what is in them.

`torch.load(weights_only=True)` refuses whole Lightning files because of the harmless objects that they hold beside
the weights (callbacks, hyper-parameters). Here, objects of known training libraries are replaced by inert stand-ins,
and every other name that a pickle wants to call is refused.
"""

from __future__ import annotations

import contextlib
import io
import pickle
import pickletools
import tarfile
import warnings
import zipfile
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import torch

from edgefr.errors import EdgefrError
from edgefr.io.restricted_unpickler import RestrictedUnpickler, check_instructions, refusal_reason

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


ALL_INSTRUCTIONS = frozenset(opcode.name for opcode in pickletools.opcodes)
MOST_INSTRUCTIONS = 10_000_000
LEGACY_PICKLES = 5
"""Magic number, protocol, system, object and keys of the storages; the numbers follow (torch before 1.6)."""


class _SizeChecker(RestrictedUnpickler):
    """Goes through a pickle without making anything, and checks the sizes of the storages that it announces."""

    most_numbers = 0

    @classmethod
    def check(cls, content: bytes, most_numbers: int) -> None:
        """Raise ValueError if a pickle announces a storage of more numbers than that."""
        checker = cls(io.BytesIO(content))
        checker.most_numbers = most_numbers
        checker.load()

    def resolve(self, module: str, name: str) -> Any:
        return Inert

    def persistent_load(self, storage: Any) -> Inert:
        if len(storage) > 4 and isinstance(storage[4], int) and storage[4] > self.most_numbers:
            raise ValueError(f"a tensor of {storage[4]:,} numbers in a file of {self.most_numbers:,} bytes")
        return Inert()


def _check_sizes(path: Path) -> None:
    """Check that reading a file takes no more memory than its own size suggests. A few bytes can ask for gigabytes.

    Raises:
        ValueError: It would, or the pickle is damaged.
    """
    if zipfile.is_zipfile(path):
        with zipfile.ZipFile(path) as archive:
            stored = sum(entry.file_size for entry in archive.infolist())
            for name in archive.namelist():
                if name.rpartition("/")[2] == "data.pkl":
                    content = archive.read(name)
                    check_instructions(io.BytesIO(content), ALL_INSTRUCTIONS, MOST_INSTRUCTIONS)
                    _SizeChecker.check(content, stored)
        return
    with path.open("rb") as file:
        for number in range(LEGACY_PICKLES):
            start = file.tell()
            check_instructions(file, ALL_INSTRUCTIONS, MOST_INSTRUCTIONS)
            if number == LEGACY_PICKLES - 2:
                end = file.tell()
                file.seek(start)
                _SizeChecker.check(file.read(end - start), path.stat().st_size)


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
        try:
            _refuse_programs(path)
            _check_sizes(path)
        except Exception as error:  # a damaged pickle can raise anything
            raise _refusal(path, error) from error
        with contextlib.suppress(Exception):  # damaged, hostile or with other objects: what follows finds out which
            return torch.load(path, map_location="cpu", weights_only=True)
        try:
            return torch.load(path, map_location="cpu", weights_only=False, pickle_module=PICKLE_MODULE)
        except Exception as error:  # a hostile pickle can raise anything that its instructions reach
            raise _refusal(path, error) from error


def _refusal(path: Path, error: Exception) -> EdgefrError:
    return EdgefrError(
        f"a checkpoint with nothing but weights in {path}",
        refusal_reason(error).rstrip("."),
        "get the file from its publisher again, or convert it to safetensors if you trust it",
    )
