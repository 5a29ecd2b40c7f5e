"""edgefr door check"""

from __future__ import annotations

from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from edgefr.cli.options import JsonOption
from edgefr.cli.output import print_json, table
from edgefr.errors import InvalidArgumentError

if TYPE_CHECKING:
    from edgefr.door.rules import Rule
    from edgefr.door.rules_file import DoorSettings

HEADER = ["rule", "who", "when", "similarity", "live", "frames", "cooldown", "two people", "opens"]


def check(
    rules: Annotated[Path, typer.Argument(help="TOML file with the rules of the door.", show_default=False)],
    at: Annotated[
        str | None,
        typer.Option(
            metavar="TIME",
            help="Time in the zone of the door, as 'Mon 08:30' or 2027-03-28T02:30. Default with --person: now.",
        ),
    ] = None,
    person: Annotated[
        str | None, typer.Option(help="Name of an enrolled person. Default with --at: somebody every rule is for.")
    ] = None,
    json: JsonOption = False,
) -> None:
    """Check the rules of a door, and print them as a table.

    With --at or --person, print what each rule says to a living, clearly identified person, and exit 1 if the door
    stays closed. Neither gallery nor model is opened, so names and false match rates are not compared with them.
    """
    from edgefr.door.rules_file import read_door

    settings = read_door(rules)
    answers = None
    local = _local_time(at, settings) if at is not None or person is not None else None
    if local is not None:
        answers = {rule.name: _answer(rule, person, local) for rule in settings.rules}
    if json:
        print_json(_document(settings, person, local, answers))
    else:
        print(table(HEADER, [_row(rule) for rule in settings.rules]))
        if local is not None and answers is not None:
            print(
                f"\nAt {local:%a %Y-%m-%d %H:%M} ({settings.file.zone}) for {person or 'anybody whom a rule is for'}:"
            )
            for rule in settings.rules:
                reason = answers[rule.name]
                print(f"  {rule.name}: {reason or 'opens: ' + ', '.join(rule.actions)}")
    if answers is not None and all(answers.values()):
        raise typer.Exit(1)


def _local_time(text: str | None, settings: DoorSettings) -> datetime:
    from edgefr.door.schedule import next_time

    now = datetime.now(settings.zone)
    if text is None:
        return now
    try:
        if " " in text:
            day, _, clock = text.partition(" ")
            return next_time(day, clock, now)
        return datetime.fromisoformat(text).replace(tzinfo=settings.zone)
    except ValueError as error:
        raise InvalidArgumentError(
            "--at as 'Mon 08:30' or 2027-03-28T02:30", f"{text!r}", "write such a time, in the zone of the door"
        ) from error


def _answer(rule: Rule, person: str | None, local: datetime) -> str | None:
    """Why a rule does not open for a person who is beyond doubt; None if it opens."""
    from edgefr.door.decision import judge_rule
    from edgefr.door.moments import Face, Memory, Moment
    from edgefr.door.rules import Reason
    from edgefr.gallery.records import check_name

    name = None if person is None else check_name(person)
    if name is not None and not rule.is_for(name):
        return Reason.NOT_LISTED.value
    face = Face(1, "identified", name, 1.0, 0.0, -1.0, rule.frames, 0.0, True)
    reason = judge_rule(rule, face, Memory(), Moment(0.0, local, [face]))
    if reason is None and rule.two_people_within_s is not None:
        reason = Reason.ALONE
    return reason and reason.value


def _row(rule: Rule) -> list[str]:
    demanded = "gallery's" if rule.similarity is None else f"{rule.similarity:g}"
    return [
        rule.name,
        _who(rule),
        "; ".join(_when(rule)),
        demanded if rule.fmr is None else f"FMR {rule.fmr:g}",
        "yes" if rule.live else "no",
        f"{rule.frames}",
        f"{rule.cooldown_s:g} s",
        "no" if rule.two_people_within_s is None else f"within {rule.two_people_within_s:g} s",
        ", ".join(rule.actions),
    ]


def _who(rule: Rule) -> str:
    return "everyone" if rule.people is None else ", ".join(sorted(rule.people))


def _when(rule: Rule) -> list[str]:
    from edgefr.door.schedule import period_text

    return [period_text(period) for period in rule.periods]


def _document(
    settings: DoorSettings, person: str | None, local: datetime | None, answers: dict[str, str | None] | None
) -> dict[str, Any]:
    rules = []
    for rule in settings.rules:
        shown = {**vars(rule), "people": None if rule.people is None else sorted(rule.people)}
        rules.append({**shown, "periods": _when(rule)})
    question = None if local is None else {"at": local.isoformat(), "person": person, "refused": answers}
    return {"zone": settings.file.zone, "rules": rules, "question": question}
