"""edgefr gallery pin."""

from __future__ import annotations

from dataclasses import asdict
from typing import Annotated

import typer

from edgefr.cli.gallery_options import Access, with_access
from edgefr.cli.options import JsonOption
from edgefr.cli.output import print_json


@with_access
def pin(
    accept: Annotated[
        bool, typer.Option("--accept", help="Remember the gallery as it is now, for example after you restored a copy.")
    ] = False,
    *,
    access: Access,
    json: JsonOption = False,
) -> None:
    """Show identity and generation of the gallery, and compare them with what is remembered outside its file.

    Every command that opens a gallery makes this comparison, and refuses another gallery, an older copy and one that
    has lost its secret. The exit code is 0 if the gallery is the one that is remembered, or if none is, and 1 if not.
    """
    own = access.pin_of(access.key_file, enforced=False)
    with access.open(own) as opened:
        found = opened.state()
        if accept:
            own.accept(found)
        elif own.found is not None:  # before expired people were removed
            found = own.found
    problem = None if accept or own.problem is None else str(own.problem)
    pinned = own.read()
    if json:
        keys = {"path": own.path and str(own.path), "pinned": pinned and asdict(pinned), "problem": problem}
        print_json({"gallery": str(access.path), **asdict(found), **keys})
    else:
        where = f"{own.path} remembers generation {pinned.generation}" if pinned else "nothing is remembered about it"
        print(f"{access.path} is the gallery {found.identity} of generation {found.generation}; {where}.")
        print("" if problem is None else f"{problem}\n", end="")
    raise typer.Exit(int(problem is not None))
