"""Pins: a gallery that was replaced is refused, and no crash or second writer gives a false alarm."""

from __future__ import annotations

import json
import shutil
from contextlib import suppress
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgefr.errors import EdgefrError, InvalidArgumentError, UnavailableError
from edgefr.gallery.crypto.key_wrapping import KeyFile, NoSecret, Passphrase, Secret
from edgefr.gallery.factory import create_gallery, open_gallery
from edgefr.gallery.file_gallery import FileGallery
from edgefr.gallery.pin import Expectation, GalleryState, Pin, ReplacedGalleryError
from tests.gallery.people import BINDING, sample

IDENTITY = "0123456789abcdef" * 2


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "people.gallery"


@pytest.fixture
def key(tmp_path: Path) -> KeyFile:
    return KeyFile.create(tmp_path / "key")


def pin(path: Path, **options) -> Pin:
    return Pin(path, path.with_name("pins"), **options)


def made(path: Path, secret: Secret, *names: str) -> FileGallery:
    gallery = FileGallery.create(path, secret, BINDING, pin(path))
    for number, name in enumerate(names):
        gallery.enrol(name, [sample(number)])
    return gallery


def test_an_older_copy_is_refused_until_it_is_accepted(path: Path, key: KeyFile) -> None:
    made(path, key, "Ada", "Grace").close()
    shutil.copy(path, path.with_name("copy"))
    with FileGallery.open(path, key, pin(path)) as gallery:
        gallery.remove("Ada")
    shutil.copy(path.with_name("copy"), path)
    for _ in range(2):  # a refused opening changes nothing
        with pytest.raises(ReplacedGalleryError, match=r"generation 3 or later .*copy, of generation 2.*--accept"):
            FileGallery.open(path, key, pin(path))
    own = pin(path, enforced=False)
    with FileGallery.open(path, key, own) as gallery:
        own.accept(gallery.state())
    with FileGallery.open(path, key, pin(path)) as gallery:
        assert gallery.names() == ["Ada", "Grace"]


def test_an_older_copy_with_expired_people_is_refused_before_they_are_removed(path: Path, key: KeyFile) -> None:
    """Their removal is a change, which would make the copy look as new as the gallery."""
    with made(path, key, "Ada") as gallery:
        gallery.enrol("Grace", [sample(2)], expires_in_s=1e-3)
        shutil.copytree(path.parent, path.parent / "copy")
        gallery.remove("Ada")
    shutil.copy(path.parent / "copy" / path.name, path)
    shutil.copy(path.parent / "copy" / f"{path.name}-wal", path.with_name(f"{path.name}-wal"))
    with pytest.raises(ReplacedGalleryError, match="older copy"):
        FileGallery.open(path, key, pin(path))


def test_another_gallery_under_the_same_key_is_refused(path: Path, key: KeyFile) -> None:
    made(path, key, "Ada").close()
    other = path.with_name("other.gallery")
    made(other, key, "Mallory").close()  # in the same file of pins
    shutil.copy(other, path)
    with pytest.raises(ReplacedGalleryError, match="another gallery"):
        FileGallery.open(path, key, pin(path))
    with FileGallery.open(other, key, pin(other)) as gallery:
        assert gallery.names() == ["Mallory"]


def test_a_gallery_without_a_secret_in_place_of_a_locked_one_is_refused(path: Path) -> None:
    """Also with the same identity, which whoever can read the file knows."""
    made(path, Passphrase("correct horse", cost=1 << 14), "Ada").close()
    with FileGallery.open(path, Passphrase("correct horse")) as gallery:
        gallery.rotate(NoSecret())
    with pytest.raises(ReplacedGalleryError, match=r"locked with a passphrase .*, found one without a secret"):
        open_gallery(path, lambda _kind: NoSecret(), pin(path))


def test_a_new_lock_is_remembered(path: Path, key: KeyFile) -> None:
    with made(path, key, "Ada") as gallery:
        gallery.rotate(NoSecret())
    with FileGallery.open(path, NoSecret(), pin(path)) as gallery:
        assert gallery.names() == ["Ada"]


def test_a_gallery_that_is_created_again_is_remembered(path: Path, key: KeyFile) -> None:
    made(path, key, "Ada").close()
    path.unlink()
    notices: list[str] = []
    create_gallery(path, key, BINDING, notices.append, pin(path, on_notice=notices.append)).close()
    assert len(notices) == 1
    assert "which is gone; a new one is created" in notices[0]
    FileGallery.open(path, key, pin(path)).close()
    with pytest.raises(InvalidArgumentError, match="There is a gallery at"):
        create_gallery(path, key, BINDING, notices.append, pin(path))
    assert pin(path).read() is not None


def test_several_writers_and_crashes_give_no_false_alarm(path: Path, key: KeyFile) -> None:
    """The pin is behind the gallery after a crash, and another writer may be further."""
    one = made(path, key, "Ada", "Grace")
    other = FileGallery.open(path, key, pin(path))
    for number in range(4):
        one.enrol("Ada", [sample(10 + number)])
        other.rename("Grace", "Emmy")
        other.rename("Emmy", "Grace")
        remembered, state = pin(path).read(), one.state()
        assert remembered is not None
        assert remembered.generation <= state.generation
        FileGallery.open(path, key, pin(path)).close()
    one._store.close()  # as if killed: the pin is not written
    other._store.close()
    FileGallery.open(path, key, pin(path)).close()


def test_a_change_that_takes_something_away_is_remembered_at_once(path: Path, key: KeyFile) -> None:
    gallery = made(path, key, "Ada", "Grace")
    gallery.remove("Ada")
    assert pin(path).read() == gallery.state()
    gallery.enrol("Emmy", [sample(5)])
    gallery.close()
    assert pin(path).read() == GalleryState(gallery._store._context.identity, "key file", 4)


def test_a_pin_that_cannot_be_written_is_reported_and_fails_no_change(path: Path, key: KeyFile) -> None:
    made(path, key, "Ada", "Grace").close()
    notices: list[str] = []
    with FileGallery.open(path, key, pin(path, on_notice=notices.append)) as gallery:
        path.with_name("pins").write_text("nonsense")
        gallery.remove("Ada")
        assert gallery.names() == ["Grace"]
    assert notices[0].startswith("the change is saved, but the pin of ")
    with pytest.raises(UnavailableError, match=r"pins of galleries in .*Restore or delete that file"):
        FileGallery.open(path, key, pin(path))


def test_a_folder_that_cannot_be_written_prevents_only_a_required_pin(path: Path, key: KeyFile) -> None:
    made(path, key, "Ada").close()
    nowhere = Path("/proc/pins")
    with FileGallery.open(path, key, Pin(path, nowhere)) as gallery:
        assert gallery.names() == ["Ada"]
    with pytest.raises(UnavailableError, match="/proc/pins cannot be written"):
        FileGallery.open(path, key, Pin(path, nowhere, required=True))


def test_an_expected_identity_and_generation_are_required(path: Path, key: KeyFile) -> None:
    with made(path, key, "Ada", "Grace") as gallery:
        state = gallery.state()
    for expected, fits in (
        (state.identity, True),
        (f"{state.identity}:{state.generation}", True),
        (f"{state.identity}:{state.generation + 1}", False),
        (IDENTITY, False),
    ):
        own = Pin(path, None, Expectation.parse(expected))
        if fits:
            FileGallery.open(path, key, own).close()
        else:
            with pytest.raises(ReplacedGalleryError, match="or correct --expect"):
                FileGallery.open(path, key, own)


@given(st.text(max_size=80) | st.builds("{}:{}".format, st.just(IDENTITY), st.text(max_size=8)))
def test_any_text_is_an_expectation_or_refused(text: str) -> None:
    try:
        found = Expectation.parse(text)
    except InvalidArgumentError:
        return
    assert text in (found.identity, f"{found.identity}:{text.partition(':')[2]}")


VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=9),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=9), inner, max_size=3),
    max_leaves=9,
)
ENTRIES = st.fixed_dictionaries({"identity": VALUES, "lock": VALUES, "generation": VALUES})


@given(
    st.binary(max_size=40)
    | VALUES.map(lambda value: json.dumps(value).encode())
    | ENTRIES.map(lambda entry: json.dumps({"format": "edgefr gallery pins 1", "galleries": {"/x": entry}}).encode())
)
def test_any_file_of_pins_is_read_or_refused(tmp_path_factory: pytest.TempPathFactory, content: bytes) -> None:
    file = tmp_path_factory.getbasetemp() / "any pins"
    file.write_bytes(content)
    own = Pin(Path("/x"), file)
    with suppress(EdgefrError):
        own.check(GalleryState(IDENTITY, "plain", 1))
