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
    test_a_renamed_person_is_found_by_the_new_name_only,
    test_a_search_is_as_an_exact_one,
    test_a_second_gallery_of_the_same_name_is_refused,
    test_an_image_that_is_enrolled_already_is_not_enrolled_again,
    test_an_import_that_fails_on_its_way_leaves_nobody,
    test_many_searches_at_once_find_what_each_finds_alone,
    test_people_are_carried_to_a_store_and_back,
    test_what_is_enrolled_is_read_again_by_who_has_the_secret,
    test_where_there_is_no_gallery_none_is_opened,
    test_who_is_removed_is_gone_and_the_others_stay,
    test_whose_time_is_over_is_removed,
)

__all__ = [
    "gallery",
    "key",
    "test_a_renamed_person_is_found_by_the_new_name_only",
    "test_a_search_is_as_an_exact_one",
    "test_a_second_gallery_of_the_same_name_is_refused",
    "test_an_image_that_is_enrolled_already_is_not_enrolled_again",
    "test_an_import_that_fails_on_its_way_leaves_nobody",
    "test_many_searches_at_once_find_what_each_finds_alone",
    "test_people_are_carried_to_a_store_and_back",
    "test_what_is_enrolled_is_read_again_by_who_has_the_secret",
    "test_where_there_is_no_gallery_none_is_opened",
    "test_who_is_removed_is_gone_and_the_others_stay",
    "test_whose_time_is_over_is_removed",
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
