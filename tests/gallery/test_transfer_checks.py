"""Whatever an export says, an import enrols everybody in it or changes nothing and says why.

The exports are written with the right passphrase, so that only the checks of their contents can refuse them.
"""

from __future__ import annotations

import json
import struct
import zlib
from collections.abc import Callable, Iterator
from dataclasses import asdict, replace
from hashlib import sha256
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from edgefr.errors import EdgefrError
from edgefr.gallery.crypto.encryption import SealContext, encrypt, new_key
from edgefr.gallery.crypto.key_wrapping import NoSecret, Passphrase, wrap_key
from edgefr.gallery.export_chunks import serialise_entry, write_chunk
from edgefr.gallery.file_gallery import FileGallery
from edgefr.gallery.records import Event, FaceSample, Person, fuse_template
from edgefr.gallery.stores.row_codec import RowCodec
from edgefr.gallery.transfer import FORMAT, Export, import_people
from tests.gallery.people import BINDING, DIM, new_gallery, sample, unit

SECRET = Passphrase("correct horse", cost=1 << 14)
Parts = list[bytes]
"""The parts of a person: the record, then the record and the crop of each image."""


def nothing(_count: int) -> None:
    """Ignores the progress."""


def entry(number: int, crop: bool = True) -> tuple[Person, list[FaceSample]]:
    samples = [sample(number, "a.jpg", crop), sample(number + 100, "b.jpg")]
    return Person(0, f"person {number}", 1e9, None, fuse_template(samples), ()), samples


def parts_of(number: int) -> Parts:
    person, samples = entry(number)
    return [person.to_bytes(), *(part for one in samples for part in one.to_bytes())]


def joined(parts: Parts) -> bytes:
    return b"".join(len(part).to_bytes(4, "big") + part for part in parts)


@pytest.fixture(scope="module")
def lock() -> tuple[bytes, SealContext, str]:
    """One lock for all exports, because each takes a while to make."""
    key, context = new_key(), SealContext.new()
    return key, context, wrap_key(key, SECRET, context)


def write_export(path: Path, lock: tuple[bytes, SealContext, str], binding: bytes, chunks: list[bytes]) -> Path:
    """An export as its author could write it, with the right digests around any contents."""
    key, context, wrapped = lock
    plain = [binding, *chunks]
    with path.open("wb") as file:
        file.write(json.dumps({"format": FORMAT, "place": context.identity, "lock": wrapped}).encode() + b"\n")
        for number, chunk in enumerate(plain):
            write_chunk(file, encrypt(key, chunk, context.associated_data("chunk", number)))
        trailer = json.dumps({"people": len(chunks), "sha256": sha256(b"".join(plain)).hexdigest()})
        write_chunk(file, encrypt(key, trailer.encode(), context.associated_data("end")))
    return path


def binding_bytes(**changes: object) -> bytes:
    return json.dumps(asdict(BINDING) | changes).encode()


def with_meta(part: bytes, **changes: object) -> bytes:
    """A record with other fields; a field that becomes ... is left out."""
    line, _, raw = part.partition(b"\n")
    meta = json.loads(line) | changes
    return json.dumps({key: value for key, value in meta.items() if value is not ...}).encode() + b"\n" + raw


def with_vector(part: bytes, vector: Any) -> bytes:
    return part.partition(b"\n")[0] + b"\n" + np.asarray(vector, "<f4").tobytes()


def png(width: int, height: int) -> bytes:
    """A small file whose header claims this size."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    head = chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0))
    return b"\x89PNG\r\n\x1a\n" + head + chunk(b"IDAT", zlib.compress(b"\0")) + chunk(b"IEND", b"")


def record(**changes: object) -> Callable[[Parts], Parts]:
    return lambda parts: [with_meta(parts[0], **changes), *parts[1:]]


def image(**changes: object) -> Callable[[Parts], Parts]:
    return lambda parts: [parts[0], with_meta(parts[1], **changes), *parts[2:]]


def crop(data: bytes) -> Callable[[Parts], Parts]:
    return lambda parts: [*parts[:2], data, *parts[3:]]


def template(vector: Any) -> Callable[[Parts], Parts]:
    return lambda parts: [with_vector(parts[0], vector), *parts[1:]]


def embedding(vector: Any) -> Callable[[Parts], Parts]:
    return lambda parts: [parts[0], with_vector(parts[1], vector), *parts[2:]]


NAN = float("nan")
ODD: dict[str, Callable[[Parts], Parts]] = {
    "three numbers as template": template(unit(1)[:3]),
    "a longer template": template(np.tile(unit(1), 2)),
    "NaN in the template": template([NAN] * DIM),
    "infinity in the template": template([np.inf] + [0] * (DIM - 1)),
    "fifty times the length": template(50 * unit(1)),
    "a template of zeros": template(np.zeros(DIM)),
    "another person's template": template(-unit(55)),
    "three numbers as embedding": embedding(unit(1)[:3]),
    "NaN in an embedding": embedding([NAN] * DIM),
    "half of a number": lambda parts: [parts[0] + b"\0\0", *parts[1:]],
    "no template": lambda parts: [parts[0].partition(b"\n")[0], *parts[1:]],
    "81 megapixels as crop": crop(png(9000, 9000)),
    "a crop of another size": crop(png(64, 64)),
    "a crop without pixels": crop(png(112, 112)),
    "text as crop": crop(b"text"),
    "a number as name": record(name=7),
    "an empty name": record(name=" "),
    "a name with a control character": record(name="a\x1b[31m"),
    "a name that is not normalised": record(name="Jose\u0301"),
    "a long name": record(name="x" * 201),
    "half of a surrogate pair as name": record(name="\ud800"),
    "a text as date": record(enrolled="today"),
    "NaN as date": record(enrolled=NAN),
    "a date after the year 9999": record(expires=1e12),
    "infinity as expiry date": record(expires=float("inf")),
    "an expiry date of 400 digits": record(expires=10**399),
    "true as date": record(enrolled=True),
    "a number as list of images": record(images=3),
    "a text as image": record(images=["1"]),
    "one field less": record(enrolled=...),
    "one field more": record(more=1),
    "NaN as norm": image(norm=NAN),
    "a negative norm": image(norm=-1),
    "a text as uncertainty": image(uncertainty="low"),
    "an uncertainty of -1e300": image(uncertainty=-1e300),
    "a list as source": image(source=[]),
    "a long source": image(source="x" * 100_000),
    "no images": lambda parts: parts[:1],
    "one part missing": lambda parts: parts[:-1],
    "a list as record": lambda parts: [b"[]\n", *parts[1:]],
    "nested lists as record": lambda parts: [b"[" * 60_000 + b"\n", *parts[1:]],
    "nothing": lambda _parts: [],
    "60,000 empty parts": lambda parts: [*parts, *[b""] * 60_000],
    "more images than a person can have": lambda parts: [parts[0], *parts[1:3] * 1001],
    "the same name again": record(name="person 1"),
}


@pytest.fixture
def gallery(tmp_path: Path) -> Iterator[FileGallery]:
    opened, _ = new_gallery(tmp_path, NoSecret())
    with opened:
        opened.enrol("Ada", [sample(9)])
        yield opened


def state(gallery: FileGallery) -> object:
    return gallery.names(), [event.what for event in gallery.events()], gallery.search(unit(9), 3)


@pytest.mark.parametrize("name", ODD)
def test_an_odd_record_is_refused_and_nothing_changes(
    name: str, gallery: FileGallery, tmp_path: Path, lock: tuple[bytes, SealContext, str]
) -> None:
    chunks = [joined(parts_of(1)), joined(ODD[name](parts_of(2)))]
    before = state(gallery)
    export = Export(write_export(tmp_path / "odd", lock, binding_bytes(), chunks), SECRET)
    for attempt in (lambda: export.check(nothing), lambda: import_people(gallery, export, nothing)):
        with pytest.raises(EdgefrError, match=r"expected .* in .*odd, found .*so nothing was imported\. Export"):
            attempt()
    assert state(gallery) == before


@pytest.mark.parametrize(
    "changes",
    [
        {"embedding_dim": 0},
        {"embedding_dim": "8"},
        {"embedding_dim": 10**9},
        {"embedding_dim": True},
        {"model": None},
        {"model": "x" * 5000},
        {"more": 1},
    ],
    ids=str,
)
def test_an_odd_model_is_refused(changes: Any, tmp_path: Path, lock: tuple[bytes, SealContext, str]) -> None:
    path = write_export(tmp_path / "odd", lock, binding_bytes(**changes), [joined(parts_of(1))])
    with pytest.raises(EdgefrError, match="so nothing was imported"):
        Export(path, SECRET)


def test_another_length_of_embeddings_under_the_same_model_is_refused(
    gallery: FileGallery, tmp_path: Path, lock: tuple[bytes, SealContext, str]
) -> None:
    path = write_export(tmp_path / "odd", lock, binding_bytes(embedding_dim=3), [])
    with pytest.raises(EdgefrError, match=r"length of embeddings of .*, 8, found 3"):
        import_people(gallery, Export(path, SECRET), nothing)


VALUES = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(-(2**70), 2**70),
    st.floats(),
    st.text(max_size=5),
    st.lists(st.integers(-1, 3), max_size=3),
)
VECTORS = st.one_of(
    st.lists(st.floats(width=32), max_size=2 * DIM),
    st.integers(0, 5).map(unit),
    st.floats(0.5, 2).map(lambda factor: factor * unit(1)),
)


def fields(part: bytes) -> list[str]:
    """The names of the fields of a record; none if it is a crop or was damaged before."""
    try:
        return sorted(json.loads(part.partition(b"\n")[0]))
    except (ValueError, TypeError):
        return []


@st.composite
def mutations(draw: st.DrawFn) -> Parts:
    """The parts of a person after one or two changes of fields, vectors, lengths or bytes."""
    parts = parts_of(2)
    for _ in range(draw(st.integers(1, 2))):
        at = draw(st.integers(0, len(parts) - 1))
        kind = draw(st.sampled_from(("field", "vector", "bytes", "cut", "drop", "repeat", "header")))
        names = fields(parts[at])
        if kind == "field" and names:
            parts[at] = with_meta(parts[at], **{draw(st.sampled_from(names)): draw(VALUES)})
        elif kind == "vector" and names:
            parts[at] = with_vector(parts[at], draw(VECTORS))
        elif kind == "header" and parts[at].startswith(b"\x89PNG"):
            parts[at] = png(draw(st.integers(0, 2**31)), draw(st.integers(0, 2**31)))
        elif kind == "bytes" and parts[at]:
            place = draw(st.integers(0, len(parts[at]) - 1))
            parts[at] = parts[at][:place] + draw(st.binary(max_size=4)) + parts[at][place + 1 :]
        elif kind == "cut":
            parts[at] = parts[at][: draw(st.integers(0, len(parts[at])))]
        elif kind == "drop" and len(parts) > 1:
            del parts[at]
        elif kind == "repeat":
            parts.insert(at, parts[at])
    return parts


@settings(
    max_examples=120, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow]
)
@given(parts=mutations())
def test_a_changed_export_is_imported_whole_or_refused(
    parts: Parts,
    gallery: FileGallery,
    tmp_path: Path,
    lock: tuple[bytes, SealContext, str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    path = write_export(tmp_path / "changed", lock, binding_bytes(), [joined(parts_of(1)), joined(parts)])
    monkeypatch.setattr("edgefr.gallery.transfer.unwrap_key", lambda *_: lock[0])  # scrypt takes a while each time
    before = state(gallery)
    try:
        count = import_people(gallery, Export(path, SECRET), nothing)
    except EdgefrError:
        assert state(gallery) == before
        return
    people = [person for person in gallery.people() if person.name != "Ada"]
    assert count == len(people)
    for found in gallery.checked_entries([person.name for person in people]):
        assert isinstance(found, tuple)
    for person in people:
        hits = gallery.search(person.template, 3)
        assert any(hit.name == person.name and hit.similarity == pytest.approx(1, abs=2e-3) for hit in hits)
        gallery.remove(person.name)


def test_a_valid_export_with_another_order_of_types_is_imported(
    gallery: FileGallery, tmp_path: Path, lock: tuple[bytes, SealContext, str]
) -> None:
    """Dates may be integers, and a source may hold characters that cannot be printed: they are replaced."""
    parts = image(source="a\x1b[31m\ud800.jpg")(record(enrolled=1_000_000_000)(parts_of(2)))
    path = write_export(tmp_path / "valid", lock, binding_bytes(), [joined(parts_of(1)), joined(parts)])
    assert import_people(gallery, Export(path, SECRET), nothing) == 2
    assert gallery.samples("person 2")[0].source == "a\ufffd[31m\ufffd.jpg"


def let_in(gallery: FileGallery, monkeypatch: pytest.MonkeyPatch, number: int, odd: str) -> None:
    """Write an odd record into a gallery as an older version did, which checked nothing."""
    parts = ODD[odd](parts_of(number))
    person, samples = entry(number)
    texts = {person.name: parts[0], "a.jpg": parts[1]}
    crops = {"a.jpg": parts[2]}
    with monkeypatch.context() as patch:
        context = RowCodec._encrypt

        def raw(self: RowCodec, key: bytes, plaintext: bytes, kind: str, *row: int) -> bytes:
            if kind == "person":
                images = json.loads(plaintext.partition(b"\n")[0])["images"]
                plaintext = texts[person.name] if "images" in odd else with_meta(texts[person.name], images=images)
            elif kind in ("image", "crop") and row == first:
                plaintext = (texts if kind == "image" else crops)["a.jpg"]
            return context(self, key, plaintext, kind, *row)

        first = (gallery._store.header().next_row + 1,)
        patch.setattr(RowCodec, "_encrypt", raw)
        with gallery._changing() as change:
            change.add(person, samples)
            change.log([Event.now("enrolled", person.name)])


@pytest.mark.parametrize(
    ("odd", "found_by_search"),
    [
        ("three numbers as template", False),
        ("NaN in the template", False),
        ("fifty times the length", False),
        ("NaN as date", False),
        ("a number as list of images", False),
        ("another person's template", True),
        ("NaN in an embedding", True),
        ("81 megapixels as crop", True),
        ("a text as uncertainty", True),
    ],
)
def test_a_record_that_an_older_version_let_in_harms_nobody_and_is_removed(
    odd: str, found_by_search: bool, gallery: FileGallery, monkeypatch: pytest.MonkeyPatch
) -> None:
    let_in(gallery, monkeypatch, 2, odd)
    gallery.close()
    with FileGallery.open(gallery.path, NoSecret()) as again:
        assert again.search(unit(9), 1)[0].name == "Ada"
        assert ("person 2" in again.names()) == found_by_search
        invalid = again.invalid_people()
        assert len(invalid) == (not found_by_search)
        invalid += [found for found in again.checked_entries(again.names()) if not isinstance(found, tuple)]
        assert len(invalid) == 1
        again.enrol("Grace", [sample(3)])
        again.remove_invalid(invalid)
    with FileGallery.open(gallery.path, NoSecret()) as again:
        assert (again.names(), again.invalid_people(), again.orphan_images()) == (["Ada", "Grace"], [], 0)
        assert all(isinstance(found, tuple) for found in again.checked_entries(again.names()))
        assert again.events()[-1].what == "removed"
        assert "person 2" not in {event.name for event in again.events()}


@pytest.mark.parametrize("changes", [{"embedding": 2 * unit(1)}, {"embedding": unit(1, 3)}, {"norm": NAN}], ids=str)
def test_enrolment_makes_the_same_checks(changes: Any, gallery: FileGallery) -> None:
    with pytest.raises(EdgefrError, match="nothing was enrolled"):
        gallery.enrol("Grace", [replace(sample(1), **changes)])
    assert gallery.names() == ["Ada"]


@pytest.mark.parametrize("days", [0, -1, NAN, float("inf"), 3e6])
def test_an_expiry_that_is_no_date_is_refused(days: float, gallery: FileGallery) -> None:
    with pytest.raises(EdgefrError, match=r"expected more than 0 and at most 36,525 days until a person expires"):
        gallery.enrol("Grace", [sample(1)], expires_in_s=days * 86_400)
    assert gallery.names() == ["Ada"]


def test_serialised_parts_are_those_of_the_format() -> None:
    """The odd records above would otherwise be refused for another reason."""
    assert serialise_entry(*entry(2)) == joined(parts_of(2))
