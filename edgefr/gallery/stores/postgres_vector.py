"""Templates as pgvector takes them in binary: as text they take longer than all else that is done for a person."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from edgefr.types import Floats

if TYPE_CHECKING:
    from psycopg import Connection


@dataclass(frozen=True)
class Vector:
    """A template (K,) as a query's parameter."""

    template: Floats

    def __bytes__(self) -> bytes:
        """pgvector's `vector_recv`: the number of dimensions, two bytes that are 0, and float4 each, big-endian."""
        return len(self.template).to_bytes(2, "big") + bytes(2) + self.template.astype(">f4").tobytes()


def take_vectors(connection: Connection) -> None:
    """Let `Vector` be a parameter of this connection's queries."""
    from psycopg.adapt import Dumper
    from psycopg.pq import Format

    class VectorDumper(Dumper):
        format = Format.BINARY  # without a type: the server knows it from where the parameter stands

        def dump(self, obj: Vector) -> bytes:
            return bytes(obj)

    connection.adapters.register_dumper(Vector, VectorDumper)
