"""Which nodes must keep FP32, when a conversion is not close enough: as few as the search can find."""

from __future__ import annotations

from collections.abc import Callable, Sequence


def smallest(nodes: Sequence[str], good: Callable[[frozenset[str]], bool]) -> tuple[str, ...]:
    """A set of nodes with `good(set)` from which none can be left out; () where nothing needs to be kept.

    QuickXplain (Junker, AAAI 2004) by halves: about k log(n / k) questions for k of n nodes, each of which converts
    and compares. It takes for granted that keeping more is never worse, and that keeping all is good.
    """
    if good(frozenset()):
        return ()

    def needed(kept: frozenset[str], grew: bool, rest: Sequence[str]) -> tuple[str, ...]:
        if grew and good(kept):
            return ()
        if len(rest) == 1:
            return tuple(rest)
        half = len(rest) // 2
        late = needed(kept | frozenset(rest[:half]), True, rest[half:])
        early = needed(kept | frozenset(late), bool(late), rest[:half])
        return early + late

    return needed(frozenset(), False, nodes)
