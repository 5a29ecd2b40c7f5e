"""The catalogue of published models: its file is complete and consistent, and models are found in it."""

from __future__ import annotations

import re
from collections import Counter
from pathlib import Path
from urllib.parse import urlsplit

import pytest

from docs.make_models import PAGE, page
from edgefr.catalogue import Entry, by_digest, by_name, catalogue, pack_named
from edgefr.io.files import sha256_of
from edgefr.models import SHIPPED

SUFFIXES = {".onnx", ".xml", ".bin", ".pt", ".pth", ".ckpt", ".safetensors", ".pb"}
FILES = [file for entry in catalogue().models for file in entry.files]


@pytest.mark.parametrize("entry", catalogue().models, ids=lambda entry: entry.name)
def test_an_entry_is_complete(entry: Entry) -> None:
    """`read_toml` has checked the types and that no unknown key is there."""
    assert re.fullmatch(r"[a-z0-9][a-z0-9.-]*", entry.name), "the name is also a file name"
    assert entry.architecture
    assert entry.publisher
    assert entry.source
    assert entry.licence
    assert entry.files
    for file in entry.files:
        assert Path(file.name).name == file.name
        assert Path(file.name).suffix in SUFFIXES
        assert re.fullmatch(r"[0-9a-f]{64}|", file.sha256)
        assert file.bytes is None or file.bytes > 0
        assert not file.url or urlsplit(file.url).scheme == "https"
        assert file.sha256 or not (file.url or file.pack), "what cannot be checked is not downloaded"
        assert not file.pack or pack_named(file.pack) is not None


@pytest.mark.parametrize("entry", [e for e in catalogue().models if e.input], ids=lambda entry: entry.name)
def test_an_input_convention_is_one_of_a_recogniser(entry: Entry) -> None:
    assert entry.kind == "recogniser"
    assert entry.input is not None
    assert entry.embedding_dim in (128, 256, 512)
    assert entry.input.size in (112, 128)
    assert len(entry.input.mean) in (1, 3)
    assert len(entry.input.std) in (1, 3)
    assert min(entry.input.std) > 0


def test_the_models_that_come_with_edgefr_are_listed() -> None:
    assert {entry.name: entry.files[0].name for entry in catalogue().models if entry.publisher == "edgefr"} == SHIPPED


def test_a_pack_is_one_zip_with_a_digest() -> None:
    for pack in catalogue().packs:
        assert pack.url.startswith("https://")
        assert pack.url.endswith(f"/{pack.name}.zip")
        assert re.fullmatch(r"[0-9a-f]{64}", pack.sha256)
        assert pack.bytes > 0


def test_names_and_digests_are_used_once() -> None:
    names = Counter(entry.name for entry in catalogue().models)
    digests = Counter(file.sha256 for file in FILES if file.sha256)
    assert {name for name, count in names.items() if count > 1} == set()
    assert {digest for digest, count in digests.items() if count > 1} == set()


def test_what_insightface_publishes_is_not_for_commercial_use_wherever_it_is_downloaded() -> None:
    entries = [entry for entry in catalogue().models if entry.publisher == "InsightFace"]
    assert len(entries) >= 8
    assert {entry.commercial for entry in entries} == {"no"}


def test_a_model_is_found_by_its_name_and_by_the_name_of_its_file() -> None:
    for name in ("w600k-r50", "w600k_r50", "W600K_R50"):
        found = by_name(name)
        assert found is not None
        assert found.files[0].name == "w600k_r50.onnx"
    assert by_name("glintr100") is not None
    assert by_name("model") is None, "several models have a file of this name"
    assert by_name("no-such-model") is None


def test_a_model_is_found_by_its_digest() -> None:
    for entry in catalogue().models:
        for file in entry.files:
            if file.sha256:
                assert by_digest(file.sha256.upper()) is entry
    assert by_digest("0" * 64) is None
    assert by_digest("") is None


@pytest.mark.shared
def test_the_digests_and_sizes_of_files_at_hand_are_right(shared: Path) -> None:
    folders = ("weights/*/*", "detectors/*")
    paths = [path for pattern in folders for path in shared.glob(pattern) if path.suffix in SUFFIXES]
    assert len(paths) >= 10
    for path in paths:
        entry = by_digest(sha256_of(path))
        assert entry is not None, f"{path.name} is not in the catalogue"
        assert entry.files[0].bytes == path.stat().st_size


def test_the_page_of_models_is_up_to_date() -> None:
    assert PAGE.read_text(encoding="utf-8") == page(), "run `make docs`"
