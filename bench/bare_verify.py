"""A minimal verification with OpenCV and onnxruntime, without checks and edgefr: the baseline for the cold start.

`bare_verify.py PHOTO PHOTO RECOGNISER DETECTOR`; the detector is YuNet or spot."""

import os
import sys

os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")  # as edgefr does

import cv2
import numpy as np
import onnxruntime

TEMPLATE = [[38.2946, 51.6963], [73.5318, 51.5014], [56.0252, 71.7366], [41.5493, 92.3655], [70.7299, 92.2041]]


def session(path: str) -> onnxruntime.InferenceSession:
    return onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])


def rows_of_yunet(picture: np.ndarray) -> np.ndarray:
    detector.setInputSize((picture.shape[1], picture.shape[0]))
    return detector.detect(picture)[1]


def rows_of_spot(picture: np.ndarray) -> np.ndarray:
    below, right = (-length % 32 for length in picture.shape[:2])
    whole = cv2.copyMakeBorder(picture[..., ::-1], 0, below, 0, right, cv2.BORDER_CONSTANT)
    rows = detector.run(None, {"image": whole[None]})[0]
    return rows[rows[:, 14] >= 0.45]


def face(path: str) -> np.ndarray:
    photo = cv2.imread(path)
    scale = min(1, 1024 / max(photo.shape))
    small = cv2.resize(photo, None, fx=scale, fy=scale, interpolation=cv2.INTER_AREA)
    largest = max(rows(small), key=lambda row: row[2] * row[3] * row[14])
    landmarks = largest[4:14].reshape(5, 2) / scale
    matrix = cv2.estimateAffinePartial2D(landmarks, np.float32(TEMPLATE), method=cv2.LMEDS)[0]
    return cv2.warpAffine(photo, matrix, (112, 112))[..., ::-1]


first, second, model, path = sys.argv[1:]
if "yunet" in path:
    rows, detector = rows_of_yunet, cv2.FaceDetectorYN.create(path, "", (320, 320), 0.7, 0.3)
else:
    rows, detector = rows_of_spot, session(path)
recogniser = session(model)
faces = np.stack([face(first), face(second)])
a, b = recogniser.run(["embedding"], {"image": np.ascontiguousarray(faces)})[0]
print(float(a @ b))
