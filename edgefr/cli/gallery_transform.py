"""edgefr gallery transform-templates."""

from __future__ import annotations

from typing import Annotated

import typer

from edgefr.cli.gallery_options import Access, with_access
from edgefr.cli.options import JsonOption
from edgefr.cli.output import print_json, warn
from edgefr.errors import InvalidArgumentError


@with_access
def transform_templates(
    off: Annotated[bool, typer.Option("--off", help="Store templates in clear again.")] = False,
    *,
    access: Access,
    json: JsonOption = False,
) -> None:
    """Transform all templates in a database by a new secret of the gallery, which revokes the former transform.

    Searches find the same people at the same speed, also during the command, which takes a little more than 40 seconds
    because other clients must learn of the new secret. Run it again after an interruption.
    """
    from edgefr.gallery.database_gallery import DatabaseGallery

    with access.open() as opened:
        if not isinstance(opened, DatabaseGallery) or opened.state().lock == "plain":
            raise InvalidArgumentError(
                "a gallery in a database, with a passphrase or a key file, to transform templates in",
                str(opened.path),
                "a file encrypts its templates; lock a gallery without a secret with `edgefr gallery rotate-key` first",
            )
        opened.transform_templates(not off, lambda text: warn(f"edgefr: {text}"))
        people = len(opened)
    if json:
        print_json({"gallery": str(access.path), "people": people, "transformed": not off})
    else:
        print(f"The templates of {people:,} people in {access.path} are {'in clear' if off else 'transformed'} now.")
