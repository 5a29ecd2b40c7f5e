"""Templates in databases that are transformed by a secret: the same answers, nothing in clear, and a new secret."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from edgefr.errors import InvalidArgumentError
from edgefr.gallery import database_gallery
from edgefr.gallery.address import LITE, POSTGRES, STORES, Address
from edgefr.gallery.crypto.encryption import DamagedError
from edgefr.gallery.crypto.key_wrapping import KeyFile, NoSecret
from edgefr.gallery.crypto.template_transform import NO_TRANSFORM, TemplateTransform, orthogonal_matrix
from edgefr.gallery.database_gallery import DatabaseGallery
from edgefr.gallery.database_people import DatabasePeople
from edgefr.gallery.factory import create_gallery, open_gallery
from edgefr.gallery.pin import Pin, ReplacedGalleryError
from tests.gallery.people import BINDING, sample, unit
from tests.gallery.stores.memory_store import GALLERIES, MEMORY, MEMORY_STORE
from tests.stores import place_in

SEED = bytes(range(32))


@pytest.fixture(params=[MEMORY, LITE, POSTGRES])
def at(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Address:
    monkeypatch.setattr(database_gallery, "TRANSFORM_WAIT_S", 0.0)
    if request.param == MEMORY:
        monkeypatch.setitem(STORES, MEMORY, MEMORY_STORE)
        return Address(MEMORY, str(tmp_path / "a.db"), "staff")
    found = place_in(request.param, request, tmp_path, monkeypatch)
    assert isinstance(found, Address)
    return found


@pytest.fixture
def key(tmp_path: Path) -> KeyFile:
    return KeyFile.create(tmp_path / "key")


@pytest.fixture
def sent(monkeypatch: pytest.MonkeyPatch) -> list[np.ndarray]:
    """All templates that reach a database."""
    seen: list[np.ndarray] = []
    put = DatabasePeople._put

    def watched(people: DatabasePeople, rows, templates) -> None:
        put_people = people._store.put_people

        def kept(rows, templates) -> None:
            seen.extend(templates)
            put_people(rows, templates)

        with monkeypatch.context() as patched:
            patched.setattr(people._store, "put_people", kept)
            put(people, rows, templates)

    monkeypatch.setattr(DatabasePeople, "_put", watched)
    return seen


def created(at: Address, key: KeyFile, transform: bool) -> DatabaseGallery:
    gallery = create_gallery(at, key, BINDING, lambda _text: None, transform=transform)
    assert isinstance(gallery, DatabaseGallery)
    for number in range(6):
        gallery.enrol(f"person {number}", [sample(number)])
    return gallery


@pytest.fixture
def gallery(at: Address, key: KeyFile) -> Iterator[DatabaseGallery]:
    with created(at, key, transform=True) as opened:
        yield opened


def check_answers(gallery: DatabaseGallery, people: int = 6) -> None:
    """Every person is found with the exact similarity, and the order of all is that of a search in clear."""
    templates = np.stack([unit(number) for number in range(people)])
    for number in range(people):
        hits = gallery.search(unit(number), people)
        order = np.argsort(-(templates @ unit(number)))
        assert [hit.name for hit in hits] == [f"person {one}" for one in order]
        assert hits[0].similarity == pytest.approx(1, abs=1e-6)
        (nearest,) = gallery.search(unit(number), 1)  # by the templates in the database alone
        assert nearest == hits[0]


def test_a_matrix_is_orthogonal_and_the_same_for_a_seed() -> None:
    """The figures must not change: templates in databases depend on them."""
    matrix = orthogonal_matrix(SEED, 64)
    np.testing.assert_allclose(matrix @ matrix.T, np.eye(64), atol=1e-12)
    np.testing.assert_allclose(orthogonal_matrix(SEED, 3), PINNED, atol=1e-9)
    assert abs(float(np.mean(matrix * orthogonal_matrix(SEED[::-1], 64)))) < 0.01


PINNED = [
    [0.42622962229126204, -0.7709364554557783, 0.47327084289097],
    [0.8982816398024508, 0.29890135525984335, -0.3220994806230663],
    [-0.10685693555061448, -0.5624188487889699, -0.8199186751450547],
]


def test_products_stay_the_same() -> None:
    rows = np.stack([unit(number, 512) for number in range(50)])
    transformed = TemplateTransform(SEED).apply(rows)
    assert transformed.dtype == np.float32
    np.testing.assert_allclose(transformed @ transformed.T, rows @ rows.T, atol=1e-6)
    assert np.abs(np.sum(transformed * rows, axis=1)).max() < 0.25  # unlike what they were made from
    assert NO_TRANSFORM.apply(rows) is rows


def test_the_database_gets_transformed_templates_and_finds_the_same_people(
    at: Address, key: KeyFile, sent: list[np.ndarray]
) -> None:
    with created(at, key, transform=True) as gallery:
        check_answers(gallery)
    assert len(sent) == 6
    for number, template in enumerate(sent):
        assert abs(float(template @ unit(number))) < 0.99
    with open_gallery(at, key) as again:
        check_answers(again)
        again.rotate(key)
        check_answers(again)
    with open_gallery(at, key) as again:
        assert again.has_transform
        check_answers(again)


def test_a_gallery_gets_a_transform_another_and_none(at: Address, key: KeyFile, sent: list[np.ndarray]) -> None:
    notices: list[str] = []
    with created(at, key, transform=False) as gallery:
        for on in (True, True, False):
            gallery.transform_templates(on, notices.append)
            check_answers(gallery)
            assert gallery.has_transform is on
        assert [event.what for event in gallery.events()][-1] == "transformed"
    first, second, none = (np.stack(sent[start : start + 6]) for start in (6, 12, 18))
    assert np.abs(first - second).max() > 0.1  # another secret
    clear = np.stack([unit(number) for number in range(6)])
    np.testing.assert_allclose((none @ clear.T).max(1), 1, atol=1e-6)
    assert (first @ clear.T).max() < 0.999
    with open_gallery(at, key) as again:
        check_answers(again)


def test_searches_and_enrolments_of_other_clients_go_on_during_a_change(
    at: Address, key: KeyFile, monkeypatch: pytest.MonkeyPatch
) -> None:
    if at.kind == LITE:
        pytest.skip("one process at a time")
    monkeypatch.setattr(database_gallery, "HEADER_CACHE_S", 0.0)  # as after the wait
    with created(at, key, transform=False) as gallery, open_gallery(at, key) as other:
        assert isinstance(other, DatabaseGallery)
        gallery._start_transform(True)
        check_answers(other)
        other.enrol("person 6", [sample(6)])
        check_answers(other, 7)
        gallery.transform_templates(True, lambda _text: None)
        check_answers(other, 7)
        check_answers(gallery, 7)


def test_an_interrupted_change_is_finished_by_the_next(
    at: Address, key: KeyFile, monkeypatch: pytest.MonkeyPatch
) -> None:
    with created(at, key, transform=False) as gallery:
        with monkeypatch.context() as killed:
            killed.setattr(DatabasePeople, "transform_all", lambda _people: 1 / 0)
            with pytest.raises(ZeroDivisionError):
                gallery.transform_templates(True, lambda _text: None)
        check_answers(gallery)
    with open_gallery(at, key) as again:
        assert isinstance(again, DatabaseGallery)
        check_answers(again)
        again.transform_templates(False, lambda _text: None)
        assert again._people.transforms.former is None
        assert not again.has_transform
        check_answers(again)


@pytest.mark.parametrize("at", [MEMORY], indirect=True)
def test_an_older_header_is_refused(gallery: DatabaseGallery, at: Address, key: KeyFile, tmp_path: Path) -> None:
    """The operator of the database could restore one, so that templates would be stored in clear again."""
    store = GALLERIES[str(at)]
    pin = Pin(at, tmp_path / "pins")
    open_gallery(at, key, pin).close()
    (before,) = [blob for blob in store.blobs.values() if blob.kind == "header"]
    with open_gallery(at, key, pin) as opened:
        assert isinstance(opened, DatabaseGallery)
        opened.transform_templates(True, lambda _text: None)
        present = store.blobs[before.id]
        store.blobs[before.id] = before
        with pytest.raises(DamagedError, match="older than before"):
            opened.enrol("Ada", [sample(9)])
        with pytest.raises(ReplacedGalleryError, match="an older copy"):
            open_gallery(at, key, pin)
        outer = json.loads(present.extra)
        for extra in ({**outer, "transforms": ""}, {**outer, "transforms": json.loads(before.extra)["transforms"]}):
            store.blobs[before.id] = replace(present, extra=json.dumps(extra).encode())
            with pytest.raises(DamagedError):
                open_gallery(at, key)
        store.blobs[before.id] = present


def test_a_transform_that_would_protect_nothing_is_refused(at: Address, tmp_path: Path, key: KeyFile) -> None:
    for place, secret in ((at, NoSecret()), (tmp_path / "people.gallery", key)):
        with pytest.raises(InvalidArgumentError, match=r"to transform templates in.*Leave out --transform-templates"):
            create_gallery(place, secret, BINDING, lambda _text: None, transform=True)


@pytest.mark.parametrize("at", [MEMORY], indirect=True)
def test_the_notice_says_that_templates_are_transformed(at: Address, key: KeyFile) -> None:
    notices: list[str] = []
    create_gallery(at, key, BINDING, notices.append, transform=True).close()
    assert "in clear" not in notices[0]
    assert "transformed by a secret of the gallery" in notices[0]
