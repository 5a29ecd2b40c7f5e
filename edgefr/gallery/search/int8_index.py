"""The nearest templates to a query: int8 codes scanned, the few that could win compared again in float32.

The answer is that of comparing all in float32, for the codes' error is bounded. With x = x' + e a template, its decoded
code and the error of it, and q = q' + f the query, q.x differs from q'.x' by q'.e + f.x, at most |q'| |e| + |f|. So a
code gives an interval; whatever could reach the highest `top` lower ends is compared exactly.

The codes are templates in clear, and live in memory only: on the disk there is nothing but what is sealed.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import cached_property
from importlib import import_module, util

import numpy as np
import numpy.typing as npt

from edgefr.types import Floats

Codes = npt.NDArray[np.int8]
Ids = npt.NDArray[np.int64]
Scan = Callable[[Codes, Codes], Floats]
"""Dot products (N,) of codes (N, K) with one (K,); float32 holds their whole numbers exactly for K up to 1040."""

LEVELS = 127
ROWS = 32768
"""Templates of a block: its codes are read once, all else that a search computes of it stays in the cache."""
MANY, THREADS = 4, 2
"""More than so many blocks are shared among threads; two take all the bandwidth that a small device's memory has."""
CONVERTED = 256
"""Rows that numpy turns to float32 at a time, which is how much of them stays in the cache."""
ROUNDING = 1e-5
"""More than float32 arithmetic adds to the bound."""


@dataclass(frozen=True)
class Match:
    """An enrolled person by row number, and the cosine similarity to the template."""

    id: int
    similarity: float


@dataclass(frozen=True)
class Block:
    """Up to ROWS templates: whose (N,), codes (N, K), what a step of each is worth (N,), and each one's |e| (N,)."""

    ids: Ids
    codes: Codes
    step: Floats
    error: Floats

    @cached_property
    def worst(self) -> float:
        """The largest |e|."""
        return float(self.error.max())

    @classmethod
    def of(cls, ids: Ids, templates: Floats) -> Block:
        codes, step = coded(templates)
        return cls(ids, codes, step, np.linalg.norm(templates - codes * step[:, None], axis=1))

    def chosen(self, rows: npt.NDArray[np.bool_]) -> Block:
        """The block of these rows only."""
        return Block(self.ids[rows], self.codes[rows], self.step[rows], self.error[rows])

    def joined(self, other: Block) -> Block:
        """Both as one."""
        return Block(
            np.concatenate([self.ids, other.ids]),
            np.concatenate([self.codes, other.codes]),
            np.concatenate([self.step, other.step]),
            np.concatenate([self.error, other.error]),
        )


@dataclass(frozen=True)
class Candidates:
    """Who could be among the nearest: row numbers (N,) and the ends of the interval that each similarity lies in."""

    ids: Ids
    lower: Floats
    upper: Floats

    @classmethod
    def none(cls) -> Candidates:
        return cls(np.empty(0, np.int64), np.empty(0, np.float32), np.empty(0, np.float32))

    @classmethod
    def joined(cls, parts: Sequence[Candidates]) -> Candidates:
        return cls(
            np.concatenate([part.ids for part in parts]),
            np.concatenate([part.lower for part in parts]),
            np.concatenate([part.upper for part in parts]),
        )

    def floor(self, top: int) -> float:
        """What so many reach for certain."""
        return float(np.partition(self.lower, -top)[-top]) if len(self.lower) >= top else -np.inf

    def best(self, top: int) -> Candidates:
        """Those that could be among so many."""
        reach = self.upper >= self.floor(top)
        return Candidates(self.ids[reach], self.lower[reach], self.upper[reach])


class Int8Index:
    """Templates to search; `exact` gives the float32 templates (N, K) of people by row number."""

    def __init__(self, exact: Callable[[Sequence[int]], Floats], scan: Scan | None = None) -> None:
        self._exact = exact
        self._scan = scan or fastest_scan()
        self._blocks: list[Block] = []

    def add(self, ids: Sequence[int], templates: Floats) -> None:
        """Take in templates (N, K) of unit length of people who are not in yet."""
        for start in range(0, len(ids), ROWS):
            part = slice(start, start + ROWS)
            block = Block.of(np.array(ids[part], np.int64), templates[part])
            if self._blocks and len(self._blocks[-1].ids) + len(block.ids) <= ROWS:
                block = self._blocks.pop().joined(block)
            self._blocks.append(block)

    def remove(self, numbers: Sequence[int]) -> None:
        """Leave people out, whoever of them is in."""
        gone = np.array(numbers, np.int64)
        # All at once, for a block that loses somebody is copied.
        left = [block if (keep := ~np.isin(block.ids, gone)).all() else block.chosen(keep) for block in self._blocks]
        self._blocks = [block for block in left if len(block.ids)]

    def search(self, query: Floats, top: int) -> list[Match]:
        """The `top` people (all where there are fewer) most similar to `query` (K,) of unit length, best first."""
        if not self._blocks:
            return []
        if len(self._blocks) <= MANY:
            found = [self._candidates(self._blocks, query, top)]
        else:
            parts = [self._blocks[start::THREADS] for start in range(THREADS)]
            with ThreadPoolExecutor(THREADS) as threads:
                found = list(threads.map(lambda blocks: self._candidates(blocks, query, top), parts))
        ids = Candidates.joined(found).best(top).ids.tolist()
        similarity = self._exact(ids) @ query
        best = np.argsort(-similarity, kind="stable")[:top]
        return [Match(ids[row], float(similarity[row])) for row in best]

    def _candidates(self, blocks: Sequence[Block], query: Floats, top: int) -> Candidates:
        """Everybody in these blocks whose interval reaches the `top` highest lower ends."""
        code, step = coded(query[None])
        decoded = code[0] * step[0]
        length, miss = float(np.linalg.norm(decoded)), float(np.linalg.norm(query - decoded)) + ROUNDING
        found = Candidates.none()
        for block in blocks:
            middle = self._scan(block.codes, code[0])
            middle *= block.step * step[0]
            near = np.flatnonzero(middle >= found.floor(top) - (block.worst * length + miss))
            if len(near):
                slack = block.error[near] * length + miss
                more = Candidates(block.ids[near], middle[near] - slack, middle[near] + slack)
                found = Candidates.joined([found, more]).best(top)
        return found


def coded(rows: Floats) -> tuple[Codes, Floats]:
    """Rows (N, K) as int8, and what a step of each is worth (N,): each row's largest component becomes 127."""
    step = np.abs(rows).max(1) / LEVELS
    step = np.where(step > 0, step, 1).astype(np.float32)
    return np.rint(rows / step[:, None]).astype(np.int8), step


def fastest_scan() -> Scan:
    """numkong's kernel, nearly as fast as memory is read, where it is installed (the extra `scale`); else numpy's."""
    return numkong_scan() if util.find_spec("numkong") else numpy_scan


def numkong_scan() -> Scan:
    """Dot products of int8 by the processor's own instructions."""
    cdist = import_module("numkong").cdist

    def scan(codes: Codes, query: Codes) -> Floats:
        found = np.empty(len(codes), np.float32)
        cdist(query[None], codes, metric="dot", out=found[None])
        return found

    return scan


def numpy_scan(codes: Codes, query: Codes) -> Floats:
    """Dot products by numpy, which multiplies matrices fast in floats only."""
    found = np.empty(len(codes), np.float32)
    wide = np.empty((CONVERTED, codes.shape[1]), np.float32)
    weights = query.astype(np.float32)
    for start in range(0, len(codes), CONVERTED):
        part = codes[start : start + CONVERTED]
        wide[: len(part)] = part
        np.dot(wide[: len(part)], weights, out=found[start : start + CONVERTED])
    return found
