"""Send templates to pgvector in binary. As text they would take longer than everything else about a person."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from edgefr.types import Floats

if TYPE_CHECKING:
    from psycopg import Connection


@dataclass(frozen=True)
class Vector:
    """A template (K,) as a parameter of a query."""

    template: Floats

    def __bytes__(self) -> bytes:
        """The format of pgvector's `vector_recv`: dimension (uint16), two zero bytes, float4 numbers, big-endian."""
        return len(self.template).to_bytes(2, "big") + bytes(2) + self.template.astype(">f4").tobytes()


def register_vector(connection: Connection) -> None:
    """Let the queries of a connection take `Vector` parameters."""
    from psycopg.adapt import Dumper
    from psycopg.pq import Format

    class VectorDumper(Dumper):
        format = Format.BINARY  # no type is sent: the server infers it from the place of the parameter

        def dump(self, obj: Vector) -> bytes:
            return bytes(obj)

    connection.adapters.register_dumper(Vector, VectorDumper)
