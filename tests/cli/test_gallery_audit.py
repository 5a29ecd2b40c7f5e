"""What `gallery import` and `gallery audit` say about records that are not valid."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path

import pytest

from edgefr.gallery.crypto.encryption import SealContext, new_key
from edgefr.gallery.crypto.key_wrapping import NoSecret, Passphrase, wrap_key
from edgefr.gallery.file_gallery import FileGallery
from tests.gallery.people import BINDING, sample
from tests.gallery.test_transfer_checks import ODD, joined, let_in, parts_of, write_export

TEXT = "correct horse"


def test_an_odd_export_creates_no_gallery_and_no_key(edgefr, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CARRY", TEXT)
    key, context = new_key(), SealContext.new()
    lock = key, context, wrap_key(key, Passphrase(TEXT, cost=1 << 14), context)
    odd = ODD["NaN in the template"](parts_of(2))
    path = write_export(
        tmp_path / "odd", lock, json.dumps(asdict(BINDING)).encode(), [joined(parts_of(1)), joined(odd)]
    )
    place = ("--gallery", tmp_path / "new.gallery", "--key-file", tmp_path / "new.key")
    told = edgefr("gallery", "import", path, "--file-passphrase-env", "CARRY", *place).sentence
    assert "expected a vector of length 1 as the template of person 2" in told
    assert list(tmp_path.iterdir()) == [path]


def test_audit_lists_records_that_are_not_valid_and_removes_them_on_request(
    edgefr, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "people.gallery"
    with FileGallery.create(path, NoSecret(), BINDING) as gallery:
        gallery.enrol("Ada", [sample(9)])
        let_in(gallery, monkeypatch, 2, "fifty times the length")
        let_in(gallery, monkeypatch, 3, "NaN in an embedding")
    audit = ("gallery", "audit", "--gallery", path)
    found = edgefr(*audit, "--json")
    assert (found.code, len(found.json["invalid"]), found.json["repaired"]) == (1, 2, False)
    assert "edgefr: not valid: expected a vector of length 1 as the template of person 2, found 50\n" in found.err
    assert "`edgefr gallery audit --repair`" in found.err
    repaired = edgefr(*audit, "--repair", "--json")
    assert (repaired.code, len(repaired.json["invalid"]), repaired.json["repaired"]) == (0, 2, True)
    clean = edgefr(*audit, "--json")
    assert (clean.code, clean.json["invalid"], clean.json["people"], clean.err.count("not valid")) == (0, [], 1, 0)


@pytest.mark.parametrize(("lines", "printed"), [(20, 3), (3, 3), (2, 2), (0, 0)])
def test_audit_prints_the_newest_events(edgefr, tmp_path: Path, lines: int, printed: int) -> None:
    path, names = tmp_path / "people.gallery", ["Ada", "Eve", "Grace"]
    with FileGallery.create(path, NoSecret(), BINDING) as gallery:
        for number, name in enumerate(names):
            gallery.enrol(name, [sample(number)])
    told = edgefr("gallery", "audit", "--gallery", path, "--lines", lines, "--no-outliers").out.splitlines()[1:]
    assert [line.split()[3] for line in told] == names[len(names) - printed :]
