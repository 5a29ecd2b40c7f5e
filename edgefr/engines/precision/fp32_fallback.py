"""Searches the smallest set of nodes that must stay in FP32 for a conversion to be close enough."""

from __future__ import annotations

from collections.abc import Callable, Sequence


def minimal_fp32_nodes(nodes: Sequence[str], is_enough: Callable[[frozenset[str]], bool]) -> tuple[str, ...]:
    """Find a minimal set of nodes by QuickXplain (Junker, AAAI 2004): about k log(n / k) tests for k of n nodes.

    `is_enough` checks whether the conversion is close enough if these nodes stay in FP32. More nodes must never be
    worse, and all nodes must be enough. None of the returned nodes can be left out.
    """
    if is_enough(frozenset()):
        return ()

    def needed(kept: frozenset[str], grew: bool, rest: Sequence[str]) -> tuple[str, ...]:
        if grew and is_enough(kept):
            return ()
        if len(rest) == 1:
            return tuple(rest)
        half = len(rest) // 2
        late = needed(kept | frozenset(rest[:half]), True, rest[half:])
        early = needed(kept | frozenset(late), bool(late), rest[:half])
        return early + late

    return needed(frozenset(), False, nodes)
