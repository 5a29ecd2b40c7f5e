"""The documents that tell of faces, and how exactly each role is told of similarities."""

from __future__ import annotations

import math
from typing import Any, Literal

from pydantic import BaseModel, Field

from edgefr.detection.base import Face
from edgefr.gallery.identifier import Identification
from edgefr.liveness.liveness_check import Liveness
from edgefr.recognition.verifier import EmbeddedFace, VerificationResult, Verifier
from edgefr.server.api.tokens import ApiRole

Decision = Literal["identified", "unknown", "not-live"]


class LivenessDocument(BaseModel):
    live: bool
    score: float = Field(description="Rounded down to tenths for the role identify.")
    threshold: float


class FaceDocument(BaseModel):
    """Where a face is, in pixels of the upright picture."""

    box: tuple[float, float, float, float] = Field(description="x and y of the top left corner, width, height")
    landmarks: list[tuple[float, float]] = Field(description="eyes, nose and corners of the mouth as x, y")
    score: float = Field(description="confidence of the detector, 0 to 1")
    liveness: LivenessDocument | None = Field(description="null if liveness is not checked")


class ComparedFace(FaceDocument):
    faces_found: int = Field(description="number of faces in the picture; the largest one is compared")
    reliable: bool | None = Field(description="false if the face is of poor quality; null if the model has no limit")


class VerificationDocument(BaseModel):
    same: bool = Field(description="Whether the faces are of one person and, if that is checked, living ones.")
    similarity: float = Field(description="-1 to 1, rounded down to tenths for the role identify")
    threshold: float
    fmr: float | None = Field(description="false match rate at the threshold; null if it is not calibrated")
    faces: list[ComparedFace] = Field(description="of the first and of the second picture")


class Candidate(BaseModel):
    name: str
    similarity: float


class IdentifiedFace(ComparedFace):
    decision: Decision
    name: str | None = Field(description="the enrolled person; null unless identified")
    similarity: float | None = Field(
        description="to the most similar person, if any; rounded down to tenths for the role identify"
    )
    candidates: list[Candidate] = Field(description="the most similar people, for the roles enrol and admin")


class IdentificationDocument(BaseModel):
    width: int
    height: int
    faces_found: int
    threshold: float
    fpir: float | None = Field(description="share of strangers that are taken for somebody, if it is known")
    faces: list[IdentifiedFace] = Field(
        description="the most prominent first, without small and uncertain ones; empty if the picture shows no face"
    )


class DetectionDocument(BaseModel):
    width: int
    height: int
    faces_found: int
    faces: list[FaceDocument] = Field(description="best score first")


class EmbeddedFaceDocument(ComparedFace):
    embedding: list[float] = Field(description="of unit length, so that a dot product is a cosine similarity")
    norm: float
    uncertainty: float | None


class EmbeddingDocument(BaseModel):
    model: str
    model_sha256: str | None
    faces: list[EmbeddedFaceDocument]


def shown(value: float, role: ApiRole) -> float:
    """A similarity or a score as a role is told: who only identifies learns tenths, because small steps tell how to
    change a picture until it matches (hill climbing)."""
    return math.floor(round(10 * value, 6)) / 10 if role == "identify" else value


def liveness_document(found: Liveness | None, role: ApiRole) -> LivenessDocument | None:
    """Of a check, or None if there was none."""
    if found is None:
        return None
    return LivenessDocument(live=found.live, score=shown(found.score, role), threshold=found.threshold)


def face_document(face: Face, liveness: Liveness | None, role: ApiRole) -> FaceDocument:
    """Of a detected face."""
    return FaceDocument(**_place(face), liveness=liveness_document(liveness, role))


def compared_face(face: EmbeddedFace, verifier: Verifier, role: ApiRole) -> ComparedFace:
    """Of a face that was compared."""
    warnings = verifier.quality_warnings([face])
    return ComparedFace(
        **_place(face.face),
        liveness=liveness_document(face.liveness, role),
        faces_found=face.faces_found,
        reliable=None if warnings is None else not warnings,
    )


def verification_document(result: VerificationResult, verifier: Verifier, role: ApiRole) -> VerificationDocument:
    """Of two faces."""
    return VerificationDocument(
        same=result.same,
        similarity=shown(result.similarity, role),
        threshold=result.threshold.value,
        fmr=result.threshold.fmr,
        faces=[compared_face(face, verifier, role) for face in result.faces],
    )


def identified_face(face: EmbeddedFace, found: Identification, verifier: Verifier, role: ApiRole) -> IdentifiedFace:
    """Of a face and the decision about it."""
    decision: Decision = "not-live" if face.may_be_attack else "identified" if found.name is not None else "unknown"
    hits = () if role == "identify" else found.candidates
    return IdentifiedFace(
        **dict(compared_face(face, verifier, role)),
        decision=decision,
        name=found.name,
        similarity=shown(found.similarity, role) if found.candidates else None,
        candidates=[Candidate(name=hit.name, similarity=hit.similarity) for hit in hits],
    )


def embedded_face(face: EmbeddedFace, verifier: Verifier, role: ApiRole) -> EmbeddedFaceDocument:
    """Of a face with its embedding."""
    return EmbeddedFaceDocument(
        **dict(compared_face(face, verifier, role)),
        embedding=face.embedding.tolist(),
        norm=face.norm,
        uncertainty=face.uncertainty,
    )


def _place(face: Face) -> dict[str, Any]:
    return {"box": face.box, "landmarks": [tuple(point) for point in face.landmarks.tolist()], "score": face.score}
