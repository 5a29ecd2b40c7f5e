"""A minimal verification with OpenCV and onnxruntime, without checks and edgefr: the baseline for the cold start."""

import os
import sys

os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")  # as edgefr does

import cv2
import numpy as np
import onnxruntime

TEMPLATE = [[38.2946, 51.6963], [73.5318, 51.5014], [56.0252, 71.7366], [41.5493, 92.3655], [70.7299, 92.2041]]


def face(path: str, detector: cv2.FaceDetectorYN) -> np.ndarray:
    photo = cv2.imread(path)
    scale = min(1, 1024 / max(photo.shape))
    small = cv2.resize(photo, None, fx=scale, fy=scale, interpolation=cv2.INTER_AREA)
    detector.setInputSize((small.shape[1], small.shape[0]))
    found = detector.detect(small)[1]
    largest = max(found, key=lambda row: row[2] * row[3])
    landmarks = largest[4:14].reshape(5, 2) / scale
    matrix = cv2.estimateAffinePartial2D(landmarks, np.float32(TEMPLATE), method=cv2.LMEDS)[0]
    return cv2.warpAffine(photo, matrix, (112, 112))[..., ::-1]


first, second, model, yunet = sys.argv[1:]
detector = cv2.FaceDetectorYN.create(yunet, "", (320, 320), 0.7, 0.3)
session = onnxruntime.InferenceSession(model, providers=["CPUExecutionProvider"])
faces = np.stack([face(first, detector), face(second, detector)])
a, b = session.run(["embedding"], {"image": np.ascontiguousarray(faces)})[0]
print(float(a @ b))
