"""Routes that look at pictures: verify, detect, identify, embed."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, File, Form, Request, UploadFile

from edgefr.choices import FacePolicy
from edgefr.recognition.verifier import Verifier
from edgefr.server.api.face_documents import (
    DetectionDocument,
    EmbeddingDocument,
    IdentificationDocument,
    VerificationDocument,
    embedded_face,
    face_document,
    identified_face,
    verification_document,
)
from edgefr.server.api.role_route import needs, new_router
from edgefr.server.api.service import ApiService, service_of, token_of
from edgefr.server.api.uploads import MAX_FACES, decode, embed_all

Photo = Annotated[UploadFile, File(description="JPEG, PNG, WebP, BMP, TIFF, HEIC or AVIF")]
Face = Annotated[FacePolicy, Form(description="Which of several faces to compare; only refuses several.")]
PHOTO = "the part photo"
"""The name of an upload in messages. Names of files are personal data, and may hold anything."""


def face_router(service: ApiService) -> APIRouter:
    """The routes; `embed` is one of them only if the operator allows it."""
    router = new_router()
    router.add_api_route("/verify", verify, methods=["POST"], **needs("identify"))
    router.add_api_route("/detect", detect, methods=["POST"], **needs("identify"))
    router.add_api_route("/identify", identify, methods=["POST"], **needs("identify"))
    if service.settings.embeddings:
        router.add_api_route("/embed", embed, methods=["POST"], **needs("admin"))
    return router


async def verify(request: Request, first: Photo, second: Photo, face: Face = "largest") -> VerificationDocument:
    """Decide whether two pictures show the same person."""
    service, role = service_of(request), token_of(request).role
    service.check_attempts(request)
    settings = service.settings

    def job(verifier: Verifier) -> VerificationDocument:
        parts = (first, "the part first"), (second, "the part second")
        one, other = (verifier.find_in(decode(*part), part[1], face) for part in parts)
        result = verifier.decide(one, other, settings.threshold, settings.fmr)
        return verification_document(result, verifier, role)

    found = await service.pool.run(job)
    if not found.same:
        service.count_failure(request)
    service.metrics.count_decision("verify", "same" if found.same else "different")
    return found


async def identify(request: Request, photo: Photo) -> IdentificationDocument:
    """Decide for every prominent face of a picture which enrolled person it is.

    Matches are written to the log of the gallery. A picture without a face is no error.
    """
    service, token = service_of(request), token_of(request)
    service.check_attempts(request)

    def job(verifier: Verifier) -> IdentificationDocument:
        image = decode(photo, PHOTO)
        faces, count = embed_all(verifier, image, PHOTO)
        threshold = service.identifier.threshold
        found = service.identifier.identify_faces(faces, detail=f"token {token.name}") if faces else []
        return IdentificationDocument(
            width=image.shape[1],
            height=image.shape[0],
            faces_found=count,
            threshold=threshold.value,
            fpir=threshold.fpir,
            faces=[identified_face(*pair, verifier, token.role) for pair in zip(faces, found, strict=True)],
        )

    document = await service.pool.run(job)
    for face in document.faces:
        service.metrics.count_decision("identify", face.decision)
        if face.decision != "identified":
            service.count_failure(request)
    return document


async def detect(request: Request, photo: Photo) -> DetectionDocument:
    """Find the faces of a picture."""
    service, role = service_of(request), token_of(request).role

    def job(verifier: Verifier) -> DetectionDocument:
        image = decode(photo, PHOTO)
        faces = verifier.detector.detect(image)
        checked = [
            (face, None if verifier.liveness is None else verifier.liveness.check(image, face))
            for face in faces[:MAX_FACES]
        ]
        return DetectionDocument(
            width=image.shape[1],
            height=image.shape[0],
            faces_found=len(faces),
            faces=[face_document(face, liveness, role) for face, liveness in checked],
        )

    return await service.pool.run(job)


async def embed(request: Request, photo: Photo) -> EmbeddingDocument:
    """Compute the embeddings of the prominent faces of a picture. They are biometric data: protect them."""
    service, role = service_of(request), token_of(request).role

    def job(verifier: Verifier) -> EmbeddingDocument:
        faces, _ = embed_all(verifier, decode(photo, PHOTO), PHOTO)
        return EmbeddingDocument(
            model=verifier.model.name,
            model_sha256=verifier.digest(),
            faces=[embedded_face(face, verifier, role) for face in faces],
        )

    return await service.pool.run(job)
