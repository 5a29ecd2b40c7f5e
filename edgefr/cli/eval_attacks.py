"""edgefr eval --attack: how often attacks pass, and living faces are refused."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

from edgefr.cli.output import print_json, progress, table

if TYPE_CHECKING:
    from edgefr.choices import FacePolicy
    from edgefr.evaluation.attack_rates import Scores

STRICT_APCER = 0.05
"""APCER of the worst species at which BPCER is told, too (BPCER20 of ISO/IEC 30107-3)."""


def evaluate_attacks(
    nets: list[Path], bona_fide: Path, attacks: Path, detector: Path | None, face: FacePolicy, json: bool
) -> None:
    """Print the error rates of each net, and of their mean if there are several."""
    from edgefr.data.collections import open_faces
    from edgefr.detection.detector_registry import open_detector
    from edgefr.evaluation.attack_evaluation import BONA_FIDE, score_faces, scores_of, species_of
    from edgefr.liveness.liveness_check import LivenessCheck

    living, fakes = open_faces(bona_fide), open_faces(attacks)
    species = species_of(fakes)
    checks = [LivenessCheck([net]) for net in nets]
    finder = open_detector(detector)
    with progress("Scoring", len(living.names) + len(fakes.names)) as advance:
        living_scores, fake_scores = (score_faces(one, checks, finder, face, advance) for one in (living, fakes))
    singly = [[number] for number in range(len(nets))]
    rows = []
    for together in singly if len(nets) == 1 else [*singly, list(range(len(nets)))]:
        real = scores_of(BONA_FIDE, living.names, living_scores, together)
        kinds = [scores_of(kind, names, fake_scores, together) for kind, names in sorted(species.items())]
        rows.append(_row(" + ".join(nets[number].name for number in together), real, kinds))
    if json:
        print_json({"detector": finder.name, "nets": rows})
    else:
        _print(rows, finder.name)


def _row(name: str, bona_fide: Scores, attacks: list[Scores]) -> dict[str, Any]:
    from edgefr.evaluation.attack_rates import attack_rates, threshold_for_apcer
    from edgefr.liveness.liveness_check import DEFAULT_THRESHOLD

    usual = attack_rates(bona_fide, attacks, DEFAULT_THRESHOLD)
    strict = attack_rates(bona_fide, attacks, threshold_for_apcer(attacks, STRICT_APCER))
    pictures = {entry.kind: len(entry.values) for entry in (bona_fide, *attacks)}
    without = {entry.kind: entry.without_face for entry in (bona_fide, *attacks)}
    return {
        "net": name,
        "pictures": pictures,
        "without_face": without,
        "usual": asdict(usual),
        "strict": asdict(strict),
    }


def _print(rows: list[dict[str, Any]], detector: str) -> None:
    for row in rows:
        pictures = ", ".join(f"{count:,} of {kind}" for kind, count in row["pictures"].items())
        print(f"{row['net']}, faces found by {detector}: {pictures}")
        species = list(row["usual"]["apcer"])
        header = ["threshold", *(f"APCER {kind}" for kind in species), "BPCER", "ACER"]
        lines = [
            [
                f"{rates['threshold']:.3f}",
                *(_percent(rates["apcer"][kind]) for kind in species),
                _percent(rates["bpcer"]),
                f"{rates['acer']:.1%}",
            ]
            for rates in (row["usual"], row["strict"])
        ]
        print(table(header, lines))
        for kind, count in row["without_face"].items():
            if count:
                print(f"{count:,} further pictures of {kind} show no face that the detector finds.")
        print()
    print("APCER: attacks that pass. BPCER: living faces that are refused. 95 % intervals over people.")
    print("Figures for simulated attacks say little about real ones.")


def _percent(estimate: dict[str, Any]) -> str:
    low, high = estimate["ci95"]
    return f"{estimate['value']:.1%} [{low:.1%}, {high:.1%}]"
