"""Embed the largest face of every photograph in a folder with insightface, for `bench.photograph_rate`.

`bare_insightface.py FOLDER DETECTOR RECOGNISER`: one view of 320 pixels, and the same files that edgefr uses."""

import sys
from pathlib import Path

import cv2
from insightface.model_zoo import get_model
from insightface.utils.face_align import norm_crop

folder, detector_file, recogniser_file = sys.argv[1:]
detector = get_model(detector_file, providers=["CPUExecutionProvider"])
detector.prepare(-1, input_size=(320, 320))
recogniser = get_model(recogniser_file, providers=["CPUExecutionProvider"])
found = 0
for path in sorted(Path(folder).iterdir()):
    photo = cv2.imread(str(path))
    boxes, landmarks = detector.detect(photo)
    if len(boxes):
        sizes = (boxes[:, 2] - boxes[:, 0]) * (boxes[:, 3] - boxes[:, 1])
        recogniser.get_feat(norm_crop(photo, landmarks[sizes.argmax()]))
        found += 1
print(found)
