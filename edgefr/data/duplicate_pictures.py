"""Pictures that come more than once: the same pixels, or nearly."""

from __future__ import annotations

import hashlib

import cv2
import numpy as np
import numpy.typing as npt

from edgefr.types import Image

Bits = npt.NDArray[np.uint8]
Integers = npt.NDArray[np.int64]

SIDE = 16
NEAR = 20
"""Bits of 256 that may differ. Of 800 faces of LFW, recompressed, resized, or made brighter, none differed from
itself by more than 24 bits, 99 % by at most 18; of all 7,701 faces of its pairs the nearest two of different
people differ by 26, but for one picture that LFW holds under two names (9)."""
BAND = 4
NEIGHBOURS = 8


def pixel_hash(image: Image) -> int:
    """64 bits that agree when all pixels do: by chance in 1 of 10 sets of two billion pictures."""
    shape = np.array(image.shape, np.int64).tobytes()
    return int.from_bytes(hashlib.blake2b(image.tobytes() + shape, digest_size=8).digest(), "little")


def difference_hash(image: Image) -> Bits:
    """256 bits, as (32,) uint8: whether each of 16x16 means is darker than its right neighbour (Krawetz's dHash)."""
    grey = cv2.cvtColor(image, cv2.COLOR_RGB2GRAY)
    small = cv2.resize(grey, (SIDE + 1, SIDE), interpolation=cv2.INTER_AREA)
    return np.packbits(small[:, 1:] > small[:, :-1])


def equal_groups(hashes: npt.NDArray[np.uint64]) -> list[Integers]:
    """Places of every hash in (N,) that occurs more than once, in order."""
    order = np.argsort(hashes, kind="stable")
    starts = np.flatnonzero(np.diff(hashes[order])) + 1
    return sorted((group for group in np.split(order, starts) if len(group) > 1), key=lambda group: int(group[0]))


def near_pairs(hashes: Bits) -> Integers:
    """Pairs (P, 2) of places in (N, 32) whose hashes differ in at most `NEAR` bits, each pair once, in order.

    All against all would take years for millions. Instead the hashes are sorted eight times, by another four of
    their bytes first, and each is compared with the next few: what differs in few bits has a band in which it
    does not differ at all. A pair that differs in each band, or stands in a long row of likenesses, can be missed.
    """
    pairs = [np.zeros((0, 2), np.int64)]
    for shift in range(0, hashes.shape[1], BAND):
        rows = np.ascontiguousarray(np.roll(hashes, -shift, axis=1))
        order = np.argsort(rows.view(f"S{rows.shape[1]}").ravel(), kind="stable")
        for step in range(1, NEIGHBOURS + 1):
            first, second = order[:-step], order[step:]
            near = np.flatnonzero(_differing(hashes[first], hashes[second]) <= NEAR)
            pairs.append(np.sort(np.stack([first[near], second[near]], axis=1), axis=1))
    return np.unique(np.concatenate(pairs), axis=0)


def _differing(first: Bits, second: Bits) -> Integers:
    differing: Integers = np.unpackbits(first ^ second, axis=1).sum(axis=1, dtype=np.int64)
    return differing
