"""The documents that tell of enrolled people."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime, timezone
from typing import Any

from pydantic import BaseModel, Field

from edgefr.gallery.enrolment import Enrolment
from edgefr.gallery.records import LONGEST_NAME, MAX_ID, FaceSample, Person

ID_PATTERN = "^[0-9]{1,19}$"
"""Ids are texts: numbers of 63 bits lose digits in JavaScript."""


class PersonDocument(BaseModel):
    id: str = Field(description="stays the same for ever, also under another name")
    name: str
    enrolled: datetime
    expires: datetime | None = Field(description="when the person is removed; null for never")
    images: int = Field(description="number of enrolled images")


class PeopleDocument(BaseModel):
    people: list[PersonDocument] = Field(description="in the order of ids")
    next: str | None = Field(description="`after` of the next page; null after the last one")


class ImageDocument(BaseModel):
    id: str
    source: str = Field(description="name of the file that it was enrolled from")
    sharpness: float
    norm: float
    uncertainty: float | None
    has_crop: bool = Field(description="whether the aligned face is kept")


class PersonWithImages(PersonDocument):
    image_list: list[ImageDocument]


class RefusedPhoto(BaseModel):
    photo: str = Field(description="`photo 1` is the first one of the request")
    reason: str


class EnrolmentDocument(BaseModel):
    person: PersonDocument
    added: int = Field(description="number of images that were added")
    known: int = Field(description="number of images that were enrolled before")
    refused: list[RefusedPhoto]
    warnings: list[str] = Field(description="what should be checked, such as people who look the same")


class PersonChange(BaseModel):
    name: str | None = Field(None, min_length=1, max_length=LONGEST_NAME, description="a new name")
    expires_in_days: float | None = Field(None, gt=0, le=36_525, description="days from now until the removal")


def person_document(person: Person) -> PersonDocument:
    """Of a person."""
    return PersonDocument(**_fields(person))


def person_with_images(person: Person, samples: Sequence[FaceSample]) -> PersonWithImages:
    """Of a person with all images."""
    images = [
        ImageDocument(
            id=str(number),
            source=sample.source,
            sharpness=sample.sharpness,
            norm=sample.norm,
            uncertainty=sample.uncertainty,
            has_crop=sample.crop is not None,
        )
        for number, sample in zip(person.images, samples, strict=True)
    ]
    return PersonWithImages(**_fields(person), image_list=images)


def enrolment_document(person: Person, done: Enrolment) -> EnrolmentDocument:
    """Of the result of an enrolment."""
    return EnrolmentDocument(
        person=person_document(person),
        added=done.images,
        known=done.known,
        refused=[RefusedPhoto(photo=entry.path, reason=entry.reason) for entry in done.refused],
        warnings=done.warnings(),
    )


def number_of_id(text: str) -> int:
    """The number of an id of ID_PATTERN; one that no person has if it is too large."""
    number = int(text)
    return number if number <= MAX_ID else 0


def time_document(at: float) -> datetime:
    """A time in seconds since 1970 for a document."""
    return datetime.fromtimestamp(at, timezone.utc)


def _fields(person: Person) -> dict[str, Any]:
    return {
        "id": str(person.id),
        "name": person.name,
        "enrolled": time_document(person.enrolled),
        "expires": None if person.expires is None else time_document(person.expires),
        "images": len(person.images),
    }
