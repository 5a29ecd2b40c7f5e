"""Routes for enrolled people and their images."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, File, Form, Path, Query, Request, Response, UploadFile

from edgefr.gallery.records import LONGEST_NAME, check_name
from edgefr.server.api.person_documents import (
    ID_PATTERN,
    EnrolmentDocument,
    PeopleDocument,
    PersonChange,
    PersonDocument,
    PersonWithImages,
    enrolment_document,
    number_of_id,
    person_document,
    person_with_images,
)
from edgefr.server.api.problems import ProblemError
from edgefr.server.api.role_route import needs, new_router
from edgefr.server.api.service import ApiService, service_of, token_of
from edgefr.server.api.upload_enrolment import Order, enrol_uploads, person_of, require_free

MAX_PHOTOS = 10
MAX_PAGE = 200
DAY_S = 86_400.0

PersonId = Annotated[str, Path(pattern=ID_PATTERN, description="id of a person")]
ImageId = Annotated[str, Path(pattern=ID_PATTERN, description="id of an image")]
Photos = Annotated[list[UploadFile], File(min_length=1, max_length=MAX_PHOTOS, description="photographs of the person")]
Force = Annotated[bool, Form(description="Enrol faces that may be somebody else's. Needs the role admin.")]


def person_router() -> APIRouter:
    """The routes."""
    router = new_router()
    person, images = "/people/{person_id}", "/people/{person_id}/images"
    router.add_api_route("/people", list_people, methods=["GET"], **needs("enrol"))
    router.add_api_route("/people", enrol_person, methods=["POST"], status_code=201, **needs("enrol"))
    router.add_api_route(person, get_person, methods=["GET"], **needs("enrol"))
    router.add_api_route(person, change_person, methods=["PATCH"], **needs("admin"))
    router.add_api_route(person, remove_person, methods=["DELETE"], status_code=204, **needs("admin"))
    router.add_api_route(images, add_images, methods=["POST"], **needs("enrol"))
    router.add_api_route(f"{images}/{{image_id}}", remove_image, methods=["DELETE"], status_code=204, **needs("admin"))
    return router


def list_people(
    request: Request,
    after: Annotated[str, Query(pattern=ID_PATTERN, description="`next` of the page before")] = "0",
    limit: Annotated[int, Query(ge=1, le=MAX_PAGE)] = 50,
    name: Annotated[str | None, Query(max_length=LONGEST_NAME, description="only the person of this name")] = None,
) -> PeopleDocument:
    """List the enrolled people."""
    gallery = service_of(request).gallery
    if name is not None:
        found = [gallery.person(name)] if name in gallery else []
        return PeopleDocument(people=[person_document(person) for person in found], next=None)
    page = gallery.people_after(number_of_id(after), limit + 1)
    return PeopleDocument(
        people=[person_document(person) for person in page[:limit]],
        next=str(page[limit - 1].id) if len(page) > limit else None,
    )


def get_person(request: Request, person_id: PersonId) -> PersonWithImages:
    """A person with all images."""
    service = service_of(request)
    with service.changing:
        person = person_of(service, number_of_id(person_id))
        samples = service.gallery.samples(person.name)
    if len(samples) != len(person.images):
        raise ProblemError("unavailable", "Another program has changed the person just now. Try again.")
    return person_with_images(person, samples)


async def enrol_person(
    request: Request,
    response: Response,
    name: Annotated[str, Form(min_length=1, max_length=LONGEST_NAME)],
    photo: Photos,
    expires_in_days: Annotated[float | None, Form(gt=0, le=36_525, description="default: never")] = None,
    force: Force = False,
) -> EnrolmentDocument:
    """Enrol a new person. Photographs that are not good enough are left out."""
    expires_in_s = None if expires_in_days is None else DAY_S * expires_in_days
    order = Order(photo, check_name(name), 0, _checked(request, force), expires_in_s)
    document = await _enrol(service_of(request), order)
    response.headers["location"] = f"/v1/people/{document.person.id}"
    return document


async def add_images(request: Request, person_id: PersonId, photo: Photos, force: Force = False) -> EnrolmentDocument:
    """Add images to a person who is enrolled."""
    order = Order(photo, None, number_of_id(person_id), _checked(request, force))
    return await _enrol(service_of(request), order)


def change_person(request: Request, person_id: PersonId, change: PersonChange) -> PersonDocument:
    """Give a person another name, or another date of removal."""
    service = service_of(request)
    gallery, number = service.gallery, number_of_id(person_id)
    with service.changing:
        person = person_of(service, number)
        name = person.name if change.name is None else check_name(change.name)
        if name != person.name:
            require_free(service, name)
        if change.expires_in_days is not None:
            gallery.enrol(person.name, (), DAY_S * change.expires_in_days)
        if name != person.name:
            gallery.rename(person.name, name)
        return person_document(person_of(service, number))


def remove_person(request: Request, person_id: PersonId) -> Response:
    """Remove a person with all images, permanently."""
    service = service_of(request)
    with service.changing:
        service.gallery.remove(person_of(service, number_of_id(person_id)).name)
    return Response(status_code=204)


def remove_image(request: Request, person_id: PersonId, image_id: ImageId) -> Response:
    """Remove an image of a person, permanently. The only one cannot be removed."""
    service, number = service_of(request), number_of_id(image_id)
    with service.changing:
        person = person_of(service, number_of_id(person_id))
        if number not in person.images:
            raise ProblemError("not-found", "The person has no image with this id.")
        service.gallery.remove_image(person.name, f"#{person.images.index(number) + 1}")
    return Response(status_code=204)


def _checked(request: Request, force: bool) -> bool:
    if force and token_of(request).role != "admin":
        raise ProblemError("not-allowed", "To force an enrolment needs a token of the role admin.")
    return force


async def _enrol(service: ApiService, order: Order) -> EnrolmentDocument:
    return enrolment_document(*await service.pool.run(lambda verifier: enrol_uploads(service, verifier, order)))
