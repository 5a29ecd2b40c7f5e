"""Finds pictures that occur more than once: the same pixels, or nearly the same."""

from __future__ import annotations

import hashlib

import cv2
import numpy as np
import numpy.typing as npt

from edgefr.types import Image, Ints

Bits = npt.NDArray[np.uint8]
SIDE = 16
NEAR = 20
"""Bits of 256 that may differ. Of 800 faces of LFW, recompressed, resized or made brighter, none differed from the
original by more than 24 bits, 99 % by at most 18. Of all 7,701 faces of its pairs, the nearest two of different people
differ by 26, apart from one picture that LFW holds under two names (9)."""
BAND = 4
NEIGHBOURS = 8


def pixel_hash(image: Image) -> int:
    """A hash of 64 bits of all pixels. In 1 of 10 sets of two billion pictures, two hashes agree by chance."""
    shape = np.array(image.shape, np.int64).tobytes()
    return int.from_bytes(hashlib.blake2b(image.tobytes() + shape, digest_size=8).digest(), "little")


def difference_hash(image: Image) -> Bits:
    """A hash of 256 bits, (32,) uint8: whether each of 16x16 means is brighter than its left neighbour (dHash)."""
    grey = cv2.cvtColor(image, cv2.COLOR_RGB2GRAY)
    small = cv2.resize(grey, (SIDE + 1, SIDE), interpolation=cv2.INTER_AREA)
    return np.packbits(small[:, 1:] > small[:, :-1])


def equal_groups(hashes: npt.NDArray[np.uint64]) -> list[Ints]:
    """Indices of equal hashes among (N,), a group for every hash that occurs more than once, in order."""
    order = np.argsort(hashes, kind="stable")
    starts = np.flatnonzero(np.diff(hashes[order])) + 1
    return sorted((group for group in np.split(order, starts) if len(group) > 1), key=lambda group: int(group[0]))


def near_pairs(hashes: Bits) -> Ints:
    """Find the pairs (P, 2) of hashes (N, 32) that differ in at most `NEAR` bits, each pair once, in order.

    Comparing all with all would take years for millions of pictures. Instead, the hashes are sorted eight times,
    each time by another four of their bytes first, and each hash is compared with the next few: hashes that differ
    in few bits have a band in which they are equal. A pair that differs in every band, or that is in a long run of
    similar hashes, can be missed.
    """
    pairs = [np.zeros((0, 2), np.int64)]
    for shift in range(0, hashes.shape[1], BAND):
        rows = np.ascontiguousarray(np.roll(hashes, -shift, axis=1))
        order = np.argsort(rows.view(f"S{rows.shape[1]}").ravel(), kind="stable")
        for step in range(1, NEIGHBOURS + 1):
            first, second = order[:-step], order[step:]
            near = np.flatnonzero(_different_bits(hashes[first], hashes[second]) <= NEAR)
            pairs.append(np.sort(np.stack([first[near], second[near]], axis=1), axis=1))
    return np.unique(np.concatenate(pairs), axis=0)


def _different_bits(first: Bits, second: Bits) -> Ints:
    bits: Ints = np.unpackbits(first ^ second, axis=1).sum(axis=1, dtype=np.int64)
    return bits
