"""A store is added with one class and one entry of `STORES`. It then works like the others."""

from __future__ import annotations

from pathlib import Path

import pytest

from edgefr.errors import InvalidArgumentError
from edgefr.gallery.address import STORES, Address, parse_address
from edgefr.gallery.crypto.key_wrapping import NoSecret
from edgefr.gallery.factory import create_gallery, open_gallery
from tests.gallery.people import BINDING, sample, unit
from tests.gallery.stores.memory_store import MEMORY, MEMORY_STORE
from tests.gallery.stores.test_store_contract import (
    gallery,
    key,
    test_a_failed_import_leaves_nobody,
    test_a_missing_gallery_is_not_opened,
    test_a_removed_person_is_gone_and_the_others_stay,
    test_a_renamed_person_is_found_by_the_new_name_only,
    test_a_search_equals_an_exact_search,
    test_a_second_gallery_of_the_same_name_is_refused,
    test_an_enrolled_image_is_not_enrolled_again,
    test_enrolled_people_are_read_again_with_the_secret,
    test_expired_people_are_not_found_and_removed_after_the_grace_period,
    test_many_searches_at_once_find_what_each_finds_alone,
    test_people_are_exported_to_a_store_and_back,
)

__all__ = [
    "gallery",
    "key",
    "test_a_failed_import_leaves_nobody",
    "test_a_missing_gallery_is_not_opened",
    "test_a_removed_person_is_gone_and_the_others_stay",
    "test_a_renamed_person_is_found_by_the_new_name_only",
    "test_a_search_equals_an_exact_search",
    "test_a_second_gallery_of_the_same_name_is_refused",
    "test_an_enrolled_image_is_not_enrolled_again",
    "test_enrolled_people_are_read_again_with_the_secret",
    "test_expired_people_are_not_found_and_removed_after_the_grace_period",
    "test_many_searches_at_once_find_what_each_finds_alone",
    "test_people_are_exported_to_a_store_and_back",
]


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Address:
    """An address in the memory store, for the cases of the contract suite that are imported above."""
    monkeypatch.setitem(STORES, MEMORY, MEMORY_STORE)
    found = parse_address(f"{MEMORY}:{tmp_path}/people.db/people")
    assert isinstance(found, Address)
    return found


def test_an_address_of_a_new_store_opens_its_gallery(place: Address) -> None:
    with create_gallery(place, NoSecret(), BINDING, lambda _text: None) as gallery:
        gallery.enrol("Ada", [sample(1)])
    with open_gallery(str(place), NoSecret()) as gallery:
        assert gallery.path == place
        assert gallery.search(unit(1), 1)[0].name == "Ada"


def test_a_malformed_address_lists_the_new_store(place: Address) -> None:
    with pytest.raises(InvalidArgumentError, match=r"or memory:FILE\.db/NAME, found"):
        parse_address("memory:people/people")
    with pytest.raises(InvalidArgumentError, match="milvus://HOST:19530/NAME, milvus-lite:"):
        parse_address("memory:people/people")
