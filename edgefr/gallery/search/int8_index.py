"""Exact nearest neighbours: int8 codes are scanned, and candidates are compared again in float32.

The result equals a full float32 search because the error of the codes is bounded. Let x = x' + e be a template with its
decoded code x' and error e, and q = q' + f the query. Then q.x differs from q'.x' by q'.e + f.x, which is at most
|q'| |e| + |f|. Each code therefore gives an interval for the similarity. All templates whose interval reaches the
highest `top` lower bounds are compared exactly.

The codes are templates, so they are never written to the disk unless encrypted (`search.index_snapshot`).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import cached_property
from importlib import import_module, util
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from edgefr.types import Floats

Codes = npt.NDArray[np.int8]
Ids = npt.NDArray[np.int64]
Scan = Callable[[Codes, Codes], Floats]
"""Codes (N, K) and one code (K,) -> dot products (N,). float32 holds these integers exactly for K up to 1040."""

LEVELS = 127
ROWS = 32768
"""Templates per block. The codes are read from memory once; the other arrays of a block stay in the cache."""
MAX_BLOCKS_PER_THREAD, THREADS = 4, 2
"""A search of more blocks uses threads. Two saturate the memory bandwidth of a small device."""
NUMPY_ROWS = 256
"""Rows that numpy converts to float32 at a time, so that they stay in the cache."""
ROUNDING = 1e-5
"""An upper bound of the rounding error of float32 arithmetic."""


@dataclass(frozen=True)
class Match:
    """Id of a person and the cosine similarity of the template."""

    id: int
    similarity: float


@dataclass(frozen=True)
class Block:
    """Up to `ROWS` encoded templates: ids (N,), codes (N, K), value of a code step (N,), and |e| (N,) of each."""

    ids: Ids
    codes: Codes
    step: Floats
    error: Floats

    @cached_property
    def max_error(self) -> float:
        return float(self.error.max())

    @classmethod
    def of(cls, ids: Ids, templates: Floats) -> Block:
        """Encode templates (N, K)."""
        codes, step = encode(templates)
        return cls(ids, codes, step, np.linalg.norm(templates - codes * step[:, None], axis=1))

    def select(self, rows: npt.NDArray[np.bool_ | np.intp]) -> Block:
        """A copy with the rows of a mask (N,), or with these rows."""
        return Block(self.ids[rows], self.codes[rows], self.step[rows], self.error[rows])

    @classmethod
    def join(cls, blocks: Sequence[Block]) -> Block:
        """One block of several."""
        parts = zip(*((one.ids, one.codes, one.step, one.error) for one in blocks), strict=True)
        return cls(*map(np.concatenate, parts))


class Candidates(NamedTuple):
    """Possible nearest neighbours: ids (N,) and the bounds (N,) of their similarities."""

    ids: Ids
    lower: Floats
    upper: Floats

    @classmethod
    def empty(cls) -> Candidates:
        return cls(np.empty(0, np.int64), np.empty(0, np.float32), np.empty(0, np.float32))

    @classmethod
    def concatenate(cls, parts: Sequence[Candidates]) -> Candidates:
        return cls(*map(np.concatenate, zip(*parts, strict=True)))

    def min_similarity(self, top: int) -> float:
        """A similarity that `top` candidates reach for certain."""
        return float(np.partition(self.lower, -top)[-top]) if len(self.lower) >= top else -np.inf

    def best(self, top: int) -> Candidates:
        """The candidates that may be among the best `top`."""
        possible = self.upper >= self.min_similarity(top)
        return Candidates(self.ids[possible], self.lower[possible], self.upper[possible])


class Int8Index:
    """An index of templates of unit length."""

    def __init__(self, read_templates: Callable[[Sequence[int]], Floats], scan: Scan | None = None) -> None:
        """Create an index that reads float32 templates (N, K) by id. `scan` is by default the fastest kernel."""
        self._read_templates = read_templates
        self._scan = scan or fastest_scan()
        self._blocks: list[Block] = []

    def add(self, ids: Sequence[int], templates: Floats) -> None:
        """Add templates (N, K) of unit length under N ids that are not in the index."""
        for start in range(0, len(ids), ROWS):
            part = slice(start, start + ROWS)
            block = Block.of(np.array(ids[part], np.int64), templates[part])
            if self._blocks and len(self._blocks[-1].ids) + len(block.ids) <= ROWS:
                block = Block.join([self._blocks.pop(), block])
            self._blocks.append(block)

    def add_blocks(self, blocks: Iterable[Block]) -> None:
        """Add encoded templates whose ids are not in the index. Small blocks are joined."""
        waiting: list[Block] = []
        for block in blocks:
            if sum(len(one.ids) for one in waiting) + len(block.ids) > ROWS:
                self._blocks.append(Block.join(waiting))
                waiting = []
            waiting.append(block)
        if waiting:
            self._blocks.append(Block.join(waiting))

    def remove(self, ids: Sequence[int]) -> None:
        """Remove templates. Ids that are not in the index are ignored.

        Removing many ids at once is faster: every block that contains one of them is copied.
        """
        removed = np.array(ids, np.int64)
        rest = [block if (keep := ~np.isin(block.ids, removed)).all() else block.select(keep) for block in self._blocks]
        self._blocks = [block for block in rest if len(block.ids)]

    def search(self, query: Floats, top: int) -> list[Match]:
        """The `top` most similar people (or all if there are fewer) to a query (K,) of unit length, best first."""
        if not self._blocks:
            return []
        if len(self._blocks) <= MAX_BLOCKS_PER_THREAD:
            found = [self._candidates(self._blocks, query, top)]
        else:
            parts = [self._blocks[start::THREADS] for start in range(THREADS)]
            with ThreadPoolExecutor(THREADS) as threads:
                found = list(threads.map(lambda blocks: self._candidates(blocks, query, top), parts))
        ids = Candidates.concatenate(found).best(top).ids.tolist()
        similarity = self._read_templates(ids) @ query
        best = np.argsort(-similarity, kind="stable")[:top]
        return [Match(ids[row], float(similarity[row])) for row in best]

    def _candidates(self, blocks: Sequence[Block], query: Floats, top: int) -> Candidates:
        code, step = encode(query[None])
        decoded = code[0] * step[0]
        length, query_error = float(np.linalg.norm(decoded)), float(np.linalg.norm(query - decoded)) + ROUNDING
        found = Candidates.empty()
        for block in blocks:
            similarity = self._scan(block.codes, code[0])
            similarity *= block.step * step[0]
            near = np.flatnonzero(similarity >= found.min_similarity(top) - (block.max_error * length + query_error))
            if len(near):
                bound = block.error[near] * length + query_error
                more = Candidates(block.ids[near], similarity[near] - bound, similarity[near] + bound)
                found = Candidates.concatenate([found, more]).best(top)
        return found


def encode(rows: Floats) -> tuple[Codes, Floats]:
    """Quantise rows (N, K) to int8; returns the codes and the step (N,) of each row, which maps its maximum to 127."""
    step = np.abs(rows).max(1) / LEVELS
    step = np.where(step > 0, step, 1).astype(np.float32)
    return np.rint(rows / step[:, None]).astype(np.int8), step


def fastest_scan() -> Scan:
    """The kernel of numkong if it is installed (extra `scale`), which is limited by memory bandwidth; else numpy."""
    return numkong_scan() if util.find_spec("numkong") else numpy_scan


def numkong_scan() -> Scan:
    """Int8 dot products by the vector instructions of the processor."""
    cdist = import_module("numkong").cdist

    def scan(codes: Codes, query: Codes) -> Floats:
        found = np.empty(len(codes), np.float32)
        cdist(query[None], codes, metric="dot", out=found[None])
        return found

    return scan


def numpy_scan(codes: Codes, query: Codes) -> Floats:
    """Int8 dot products by numpy, in float32 because its integer products are slow."""
    found = np.empty(len(codes), np.float32)
    buffer = np.empty((NUMPY_ROWS, codes.shape[1]), np.float32)
    weights = query.astype(np.float32)
    for start in range(0, len(codes), NUMPY_ROWS):
        part = codes[start : start + NUMPY_ROWS]
        buffer[: len(part)] = part
        np.dot(buffer[: len(part)], weights, out=found[start : start + NUMPY_ROWS])
    return found
