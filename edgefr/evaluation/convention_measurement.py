"""Measures which input convention a published recogniser was trained with: the one that separates people best.

Every convention embeds the same faces: clean ones as references, and degraded copies of other pictures of the same
people as probes. The loss of a probe is the cross-entropy of naming its person among all references. Degraded probes
matter: on clean faces a good net hides a wrong convention. For MobileFaceNet, (x - 127.5) / 127.5 instead of ImageNet's
normalisation differs by 4.2 standard errors on 1,200 people of LFW with clean probes, and by 21.8 with degraded ones
(`python -m bench adopting`).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial

import numpy as np

from edgefr.data.collections import person_of
from edgefr.errors import EdgefrError, InvalidArgumentError
from edgefr.evaluation.protocols import CLEAN, CropReader
from edgefr.types import Bools, Doubles, Faces, Floats, Ints

PROBES = "20x20 pixels"
"""The degradation of the probes, a key of `degradations.PROTOCOLS`."""

ROUNDS = (150, 300, 600, 1200, 2400)
"""Numbers of probes to compare the conventions on. What is clearly worse is left out of the next round."""

MIN_PROBES = 100

CLEAR = 3.5
"""Standard errors between the mean losses of two conventions from which one is clearly worse. Sixteen conventions are
compared in five rounds, so that by chance this happens in less than 2 % of all measurements."""

ALIKE = 0.998
"""Mean cosine of the embeddings of two conventions from which it does not matter which one is used. Those with 127,
127.5 and 128 differ by less than 0.0005."""

FACES_TO_GROUP = 16

HIGHEST_LOSS = 0.9
"""The loss of a recogniser, as a share of the loss of a net that names people by chance. On CelebA, which is hard,
MobileFaceNet has 0.64 to 0.73 of it, with pixels 127 times too large 0.95 to 0.96, and untrained 1.00
(`python -m bench adopting`)."""

TEMPERATURES = np.geomspace(0.03, 0.3, 7)
"""Each net has its own best one."""


@dataclass(frozen=True)
class ProbeSet:
    """Faces to measure on.

    Attributes:
        references: (N, 112, 112, 3) clean faces.
        probes: (N, 112, 112, 3) degraded copies of them, in the same order.
        people: (N,) number of the person on each.
    """

    references: Faces
    probes: Faces
    people: Ints

    def first(self, count: int) -> ProbeSet:
        """The first faces of the set."""
        return ProbeSet(self.references[:count], self.probes[:count], self.people[:count])


@dataclass(frozen=True)
class Measured:
    """A candidate in the last round that it took part in.

    Attributes:
        index: Its place among the candidates.
        name: Its name.
        probes: Number of probes.
        loss: Mean loss in nats; lower is better.
        identified: Share of the probes whose nearest reference is the right person.
        behind: Difference of its loss to the best one's, and the 95 % interval of this over people.
        alike: Names of other candidates that give almost the same embeddings, which are not measured.
    """

    index: int
    name: str
    probes: int
    loss: float
    identified: float
    behind: tuple[float, float, float]
    alike: tuple[str, ...]


class UnclearConventionError(EdgefrError):
    """No convention is clearly best. `table` holds what was measured, the best first."""

    def __init__(self, expected: str, found: str, fix: str, table: tuple[Measured, ...] = ()) -> None:
        super().__init__(expected, found, fix)
        self.table = table


def read_probe_set(names: Sequence[str], read_crops: CropReader, seed: int = 0) -> ProbeSet:
    """Read the faces to measure on: two pictures of every person, person by person in random order.

    Args:
        names: Pictures of people who have several.
        read_crops: Reads their faces.
        seed: Decides which people come first.

    Raises:
        InvalidArgumentError: Too few people have two pictures with a face.
        EdgefrError: A picture cannot be read.
    """
    by_person: dict[str, list[str]] = {}
    for name in names:
        by_person.setdefault(person_of(name), []).append(name)
    people = sorted(person for person, pictures in by_person.items() if len(pictures) >= 2)
    order = np.random.default_rng(seed).permutation(len(people))
    references, probes, labels = [], [], []
    for label in order:
        pictures = by_person[people[label]]
        read = [read_crops(name, [CLEAN, PROBES]) for name in (pictures[0], pictures[-1])]
        crops = [[crop.face for crop in pair if crop is not None] for pair in read]
        if all(len(pair) == 2 for pair in crops):
            references += [pair[0] for pair in crops]
            probes += [pair[1] for pair in crops]
            labels += [int(label)] * 2
        if len(probes) >= ROUNDS[-1]:
            break
    if len(probes) < MIN_PROBES:
        raise InvalidArgumentError(
            f"at least {MIN_PROBES // 2} people with two pictures that show a face",
            str(len(probes) // 2),
            "give pictures of more people with --faces, one folder for each person",
        )
    return ProbeSet(np.stack(references), np.stack(probes), np.array(labels, np.int64))


def measure_conventions(
    embed: Callable[[int, Faces], Floats],
    names: Sequence[str],
    faces: ProbeSet,
    log: Callable[[str], None] = lambda text: None,
) -> tuple[Measured, ...]:
    """Find the candidate that separates people best.

    Args:
        embed: Gives the embeddings (N, K) of faces (N, 112, 112, 3) with the candidate of an index.
        names: Names of the candidates, preferred ones first.
        faces: The faces.
        log: Called with a text for each round.

    Returns:
        What was measured, the best first. All others are clearly worse.

    Raises:
        UnclearConventionError: No candidate is clearly best, or the best one does not recognise faces.
    """
    groups = _group(embed, len(names), faces.references[:FACES_TO_GROUP])
    left, done = list(groups), dict[int, Measured]()
    sizes = [size for size in ROUNDS if size < len(faces.probes)] + [min(len(faces.probes), ROUNDS[-1])]
    embeddings: dict[int, tuple[Floats, Floats]] = {}
    for size in sizes:
        part = faces.first(size)
        log(f"{len(left)} conventions on {size} faces ...")
        for index in left:
            embeddings[index] = _extended(embeddings.get(index), partial(embed, index), part)
        for index, measured in _compare(left, embeddings, part.people).items():
            alike = tuple(names[other] for other in groups[index])
            done[index] = Measured(index, names[index], size, *measured, alike)
        left = [index for index in left if not _is_clearly_worse(done[index])]
        if len(left) == 1:
            break
    table = tuple(sorted(done.values(), key=lambda entry: (entry.index not in left, entry.loss)))
    _check(table, len(left))
    return table


def _group(embed: Callable[[int, Faces], Floats], count: int, faces: Faces) -> dict[int, tuple[int, ...]]:
    """The first candidate of each group of almost equal embeddings -> the others."""
    groups: dict[int, tuple[int, ...]] = {}
    leaders: dict[int, Floats] = {}
    for index in range(count):
        embedding = _unit(embed(index, faces))
        like = (leader for leader, other in leaders.items() if float((embedding * other).sum(1).mean()) >= ALIKE)
        leader = next(like, None)
        if leader is None:
            groups[index], leaders[index] = (), embedding
        else:
            groups[leader] += (index,)
    return groups


def _extended(
    known: tuple[Floats, Floats] | None, embed: Callable[[Faces], Floats], part: ProbeSet
) -> tuple[Floats, Floats]:
    """Embeddings of references and probes; those of earlier rounds are kept."""
    start = 0 if known is None else len(known[0])
    new = tuple(_unit(embed(faces[start:])) for faces in (part.references, part.probes))
    if known is None:
        return new[0], new[1]
    return np.concatenate([known[0], new[0]]), np.concatenate([known[1], new[1]])


def _unit(embedding: Floats) -> Floats:
    """Unit length; an embedding that is not finite says nothing and becomes zero."""
    finite = np.where(np.isfinite(embedding), embedding, 0)
    length = np.linalg.norm(finite, axis=1, keepdims=True)
    return np.asarray(finite / np.maximum(length, 1e-12), np.float32)


def _compare(
    left: Sequence[int], embeddings: dict[int, tuple[Floats, Floats]], people: Ints
) -> dict[int, tuple[float, float, tuple[float, float, float]]]:
    """Candidate -> loss, share identified, and how far the loss is behind the best one's."""
    losses = {index: probe_losses(*embeddings[index], people) for index in left}
    best = min(left, key=lambda index: float(losses[index][0].mean()))
    _, person = np.unique(people, return_inverse=True)
    count = np.bincount(person)
    found = {}
    for index in left:
        loss, identified = losses[index]
        difference = np.bincount(person, loss - losses[best][0]) / count  # of each person
        mean, error = float(difference.mean()), float(difference.std() / np.sqrt(len(difference)))
        behind = (mean, mean - 1.96 * error, mean + 1.96 * error)
        found[index] = (float(loss.mean()), float(identified.mean()), behind)
    return found


def probe_losses(references: Floats, probes: Floats, people: Ints) -> tuple[Doubles, Bools]:
    """The loss of each probe (N,) at the net's best temperature, and whether its nearest reference is right (N,)."""
    similarity = (probes @ references.T).astype(np.float64)
    same = people[:, None] == people[None]
    np.fill_diagonal(similarity, -np.inf)  # a probe must not be found by the picture it was made from
    np.fill_diagonal(same, False)
    tried = [_cross_entropy(similarity / temperature, same) for temperature in TEMPERATURES]
    return min(tried, key=lambda loss: float(loss.mean())), same[np.arange(len(same)), similarity.argmax(1)]


def _cross_entropy(logits: Doubles, same: Bools) -> Doubles:
    highest = logits.max(1, keepdims=True)
    weight = np.exp(logits - highest)
    right = (weight * same).sum(1) / np.maximum(same.sum(1), 1)
    wrong = (weight * ~same).sum(1)
    return np.asarray(-np.log(np.maximum(right / (right + wrong), 1e-30)))


def _is_clearly_worse(entry: Measured) -> bool:
    mean, low, _ = entry.behind
    return mean > 0 and mean > CLEAR * (mean - low) / 1.96


def _check(table: tuple[Measured, ...], left: int) -> None:
    """Raise an error unless one candidate is left, and recognises faces."""
    best = table[0]
    if best.loss > HIGHEST_LOSS * np.log(best.probes):
        raise UnclearConventionError(
            "a net that recognises faces",
            f"none of the usual input conventions with which it names people: the best one identifies "
            f"{best.identified:.1%} of {best.probes} degraded faces",
            "give a face recogniser, or name its convention with --colour, --mean and --std",
            table,
        )
    if left > 1:
        raise UnclearConventionError(
            "one input convention that is clearly best",
            f"{left} that cannot be told apart on {best.probes} faces",
            "give pictures of more people with --faces, or name the convention with --colour, --mean and --std",
            table,
        )
