"""edgefr tokens: list, add, remove"""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from edgefr.cli.options import JsonOption
from edgefr.cli.output import print_json, table, warn
from edgefr.errors import InvalidArgumentError

if TYPE_CHECKING:
    from edgefr.server.api.tokens import Token

TOKENS_VARIABLE = "EDGEFR_TOKENS"
DEFAULT_NAME = "api.tokens"
"""In the user's data folder."""

TokensOption = Annotated[
    Path | None,
    typer.Option(
        "--tokens",
        help="File with the hashes of tokens, as `edgefr tokens add` makes it. Default: $EDGEFR_TOKENS, then a file in "
        "your data folder.",
    ),
]
NameArgument = Annotated[str, typer.Argument(help="What the token is for, such as the name of a door.")]


def list_tokens(context: typer.Context, tokens: TokensOption = None, json: JsonOption = False) -> None:
    """Manage the tokens of `edgefr serve`.

    Without a command: a table of all tokens in the file. A server reads the file when it starts.
    """
    if context.invoked_subcommand is not None:
        return
    found = _read(tokens_path(tokens))
    if json:
        print_json({"tokens": [{"name": token.name, "role": token.role} for token in found]})
    else:
        print(table(["name", "role"], [[token.name, token.role] for token in found]))


def add(
    name: NameArgument,
    role: Annotated[
        Literal["monitor", "identify", "enrol", "admin"],
        typer.Option(
            help="identify: compare and identify faces. enrol: also list and enrol people. admin: everything. monitor: "
            "only read the metrics."
        ),
    ],
    tokens: TokensOption = None,
    json: JsonOption = False,
) -> None:
    """Make a token and print it.

    It is printed once: the file has only its hash. A server that runs must be started again.
    """
    from edgefr.server.api.tokens import Token, new_secret, write_tokens

    path, secret = tokens_path(tokens), new_secret()
    found, token = _read(path), Token.of(name, role, secret)
    if any(other.name == name for other in found):
        raise InvalidArgumentError(
            "",
            f"There is a token {name} in {path} already",
            "choose another name, or remove it with `edgefr tokens remove`",
        )
    write_tokens(path, [*found, token])
    if json:
        print_json({"name": name, "role": role, "token": secret})
    else:
        print(secret)
        warn(f"edgefr: this token is shown only now; {path} has its hash")


def remove(name: NameArgument, tokens: TokensOption = None) -> None:
    """Remove a token. A server that runs must be started again."""
    from edgefr.server.api.tokens import write_tokens

    path = tokens_path(tokens)
    found = _read(path)
    kept = [token for token in found if token.name != name]
    if len(kept) == len(found):
        raise InvalidArgumentError("", f"There is no token {name} in {path}", "see `edgefr tokens`")
    write_tokens(path, kept)


def tokens_path(tokens: Path | None) -> Path:
    """The file of the tokens: --tokens, else $EDGEFR_TOKENS, else one in the user's data folder."""
    if (named := named_tokens(tokens)) is not None:
        return named
    from edgefr.io.user_folders import require_user_folder

    fix = f"name the file with --tokens or ${TOKENS_VARIABLE}"
    return require_user_folder("data", "the tokens of the API", fix) / DEFAULT_NAME


def named_tokens(tokens: Path | None) -> Path | None:
    """The file that --tokens or $EDGEFR_TOKENS names; None if neither does."""
    return Path(named) if (named := tokens or os.environ.get(TOKENS_VARIABLE)) else None


def _read(path: Path) -> list[Token]:
    from edgefr.server.api.tokens import read_tokens

    return read_tokens(path) if path.exists() else []
