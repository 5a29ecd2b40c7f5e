"""Reading pickles that others wrote, without running what is in them.

A pickle is a program that can import and call anything. `RestrictedUnpickler` gives it the names of an allow-list and
nothing else. `check_instructions` bounds the program before it runs, because even harmless instructions can fill the
memory.
"""

from __future__ import annotations

import pickle
import pickletools
from abc import ABC, abstractmethod
from collections.abc import Collection
from typing import IO, Any


class RestrictedUnpickler(pickle.Unpickler, ABC):
    """An unpickler whose subclasses list what a pickle may name."""

    @abstractmethod
    def resolve(self, module: str, name: str) -> Any:
        """What a name of the pickle stands for.

        Args:
            module: Name of the module. Python 2's `__builtin__` arrives as `builtins`.
            name: Name inside the module. It can have dots, which must not be followed.

        Returns:
            An object that is safe to call with any arguments, or None if the name is not allowed.
        """

    def find_class(self, module: str, name: str) -> Any:
        """See `resolve`; a name that is not allowed raises UnpicklingError."""
        found = self.resolve("builtins" if module == "__builtin__" else module, name)
        if found is None:
            raise pickle.UnpicklingError(f"a call of {f'{module}.{name}'!a}")
        return found


def check_instructions(file: IO[bytes], allowed: Collection[str], most: int) -> None:
    """Check a pickle's instructions without running any of them.

    Lengths are checked against the data that follows them, and memo indices against the number of instructions, so
    that an unpickler allocates no more than the size of the file for them.

    Args:
        file: A file that is positioned at the pickle, up to which it is read and not beyond.
        allowed: Names of the instructions that may occur, as in `pickletools.opcodes`.
        most: Most instructions that may occur.

    Raises:
        ValueError: The data is not a pickle, or it breaks one of these rules.
    """
    for step, (opcode, argument, _) in enumerate(pickletools.genops(file)):
        if step >= most:
            raise ValueError(f"more than {most:,} instructions")
        if opcode.name not in allowed:
            raise ValueError(f"the instruction {opcode.name}, which no such file needs")
        if opcode.name.endswith("PUT") and isinstance(argument, int) and not 0 <= argument <= step:
            raise ValueError(f"the memo index {argument} after {step} instructions")


def refusal_reason(error: Exception) -> str:
    """The first line of an error of an unpickler, at most 200 characters; its type if it has no text."""
    return (str(error).splitlines() or [type(error).__name__])[0][:200]
