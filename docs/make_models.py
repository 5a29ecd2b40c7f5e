"""Write docs/models.md from the catalogue. `make docs` runs it; a test compares."""

from __future__ import annotations

from pathlib import Path

from edgefr.catalogue import Entry, PublishedFile, catalogue
from edgefr.cli.models import KINDS, accuracy_text

PAGE = Path(__file__).with_name("models.md")

INTRODUCTION = """# Published models

Made from `edgefr/assets/catalogue.toml` by `make docs`. It holds what publishers state; what was not found is not
stated here either. `edgefr models --json` also has addresses, SHA-256 and inputs.

```sh
edgefr models                                  # what there is, and what is present
edgefr models get sface --accept-license       # download, check and store
edgefr models add ~/Downloads/buffalo_l.zip    # store what you have: a model, or a pack of models
edgefr verify ada1.jpg ada2.jpg --model sface --detector yunet
```

A model that is present can be named wherever edgefr expects the file of a model: `--model`, `--detector`, backbones and
teachers of recipes. Models are stored in `~/.local/share/edgefr/models` (`$XDG_DATA_HOME`).

- **Commercial use** is what the licence of the *weights* says. The terms of the training data may matter, too.
- **Accuracy** is as published: on LFW, or the true match rate on IJB-C at a false match rate of 1e-4, or the average
  precision on the hard part of WIDER FACE. `edgefr eval` measures your own.
- **Third party**: size and SHA-256 were found in another project than the publisher's.
- **By hand**: the publisher uses a drive or states no digest. `edgefr models get NAME` names the page and the file to
  make. edgefr downloads nothing that it cannot check.
- **Without a network**: download on another machine and use `edgefr models add FILE`. `$EDGEFR_MODELS_URL` names a
  mirror: the address of a folder with the files, under the names of their publishers (packs, too) or those of a folder
  of models. Proxies are read from `$HTTPS_PROXY` and `$NO_PROXY`.
"""


def page() -> str:
    """The whole page as text."""
    parts = [INTRODUCTION]
    for kind, heading in KINDS.items():
        usable = [entry for entry in catalogue().models if entry.kind == kind and entry.usable]
        parts += [f"## {heading}\n", _table(usable)] if usable else []
    others = [entry for entry in catalogue().models if not entry.usable]
    parts += ["## Recognised, but not used by edgefr\n", _table(others)]
    return "\n".join(parts)


def _table(entries: list[Entry]) -> str:
    header = "| name | architecture | trained on | accuracy | MB | licence | commercial use | publisher | download |"
    rows = [header, "|---" * header.count(" | ") + "|---|"]
    for entry in entries:
        cells = [
            f"`{entry.name}`",
            entry.architecture,
            entry.trained_on or "not stated",
            accuracy_text(entry),
            "" if entry.megabytes is None else f"{entry.megabytes:.1f}",
            entry.licence,
            entry.commercial,
            f"[{entry.publisher}]({entry.source})" if entry.source.startswith("https://") else entry.publisher,
            _download(entry),
        ]
        rows.append("| " + " | ".join(cells) + " |")
    return "\n".join(rows) + "\n"


def _download(entry: Entry) -> str:
    if entry.publisher == "edgefr":
        return "part of edgefr"
    if not all(file.sha256 and (file.url or file.pack) for file in entry.files):
        return "by hand"
    return ", ".join(dict.fromkeys(_place(file) for file in entry.files))


def _place(file: PublishedFile) -> str:
    place = "file" if file.url else f"from {file.pack}.zip"
    return place + (", third party" if file.digest_from == "third party" else "")


if __name__ == "__main__":
    PAGE.write_text(page(), encoding="utf-8")
