"""Keyed orthogonal transforms of templates, for databases that compare them.

A template x is stored as Qx with a secret orthogonal matrix Q, and queries are transformed in the same way. Products
stay the same, (Qx).(Qy) = x.y, so the database finds the same people. Without Q, its templates match neither those of
another gallery nor a face.

Q is drawn uniformly from all rotations and reflections (Haar measure), because a matrix with structure, such as signs
with a permutation or a Hadamard matrix, can be found from fewer known templates. It is the orthogonal factor of a
matrix of normal numbers, which come from AES-256 in counter mode, with a positive diagonal in the other factor
(Mezzadri 2007, "How to generate random matrices from the classical compact groups").

The transform is linear: K known pairs of a template and its transform in general position reveal Q, and fewer reveal
it in the directions that they span (`bench.template_transform`).
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache

import numpy as np
import numpy.typing as npt
from cryptography.hazmat.primitives.ciphers import Cipher
from cryptography.hazmat.primitives.ciphers.algorithms import AES
from cryptography.hazmat.primitives.ciphers.modes import CTR
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDFExpand

from edgefr.gallery.crypto.encryption import KEY_BYTES, new_key
from edgefr.types import Floats

FEW = 8
"""Fewer rows are multiplied without BLAS, whose waiting threads would take time from a database on this machine."""


@dataclass(frozen=True)
class TemplateTransform:
    """The transform of a seed of 32 bytes. An empty seed changes nothing."""

    seed: bytes = b""

    @classmethod
    def new(cls) -> TemplateTransform:
        """A random transform."""
        return cls(new_key())

    def apply(self, rows: Floats) -> Floats:
        """Transform templates (N, K) of float32."""
        if not self.seed:
            return rows
        matrix = orthogonal_matrix(self.seed, rows.shape[1])
        product = np.einsum("kj,nj->nk", matrix, rows) if len(rows) < FEW else rows @ matrix.T
        transformed: Floats = product.astype(np.float32)
        return transformed


NO_TRANSFORM = TemplateTransform()


@cache
def orthogonal_matrix(seed: bytes, dim: int) -> npt.NDArray[np.float64]:
    """The orthogonal matrix (K, K) of a seed."""
    key = HKDFExpand(SHA256(), KEY_BYTES, f"edgefr template transform {dim}".encode()).derive(seed)
    stream = Cipher(AES(key), CTR(bytes(16))).encryptor().update(bytes(16 * dim * dim))
    uniform = ((np.frombuffer(stream, "<u8") >> np.uint64(11)) + 0.5) / 2.0**53  # within (0, 1)
    radius, angle = uniform.reshape(2, dim, dim)
    normal = np.sqrt(-2 * np.log(radius)) * np.cos(2 * np.pi * angle)  # Box and Muller 1958
    factor, triangle = np.linalg.qr(normal)
    matrix: npt.NDArray[np.float64] = factor * np.sign(np.diag(triangle))
    return matrix
