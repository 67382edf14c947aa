"""Estimates the mean landmark offset of the face model from clips that may be used for it.

    python -m mggtalk_cli.face.rebuild_landmark_offset DATA_DIR OFFSET.npy

DATA_DIR holds MANIFEST.tsv; only rows with ship = yes are read. The face model is fitted to a few
frames of every clip; what is left per landmark, in the head frame, is averaged over frames, then
persons, then both sides of the face, and added to the offset of the shipped model. Run it with a
model whose offset is zero (`rebuild_head_model` without OFFSET), then rebuild with the result.
"""

from __future__ import annotations

import csv
import sys
from collections import defaultdict
from pathlib import Path

import av
import numpy as np

from mggtalk_cli.core.landmark_groups import MIRROR
from mggtalk_cli.face.detect import detect_faces
from mggtalk_cli.face.fit import PHOTO_EXPRESSION_RIDGE
from mggtalk_cli.face.landmarks import find_landmarks
from mggtalk_cli.face.least_squares import Fitter, initial_pose, unproject, view_of
from mggtalk_cli.face.model import load_face_model

_FRAMES_PER_CLIP = 6
_CLIPS_PER_PERSON = 6
_ROUNDS = 3  # fit, add what is left, fit again
_FIT_ROUNDS = 8
_PRIMING = 5  # landmark passes per frame; the first ones are off by up to a pixel
# The landmark network's depth is only half believed.
_DEPTH_TRUST = 0.5


def shippable_clips(data_dir: Path) -> dict[str, list[Path]]:
    """Return the clips with ship = yes per person."""
    persons: dict[str, list[Path]] = defaultdict(list)
    with (data_dir / "MANIFEST.tsv").open() as text:
        for row in csv.DictReader(text, delimiter="\t"):
            usable = row["ship"] == "yes" and row["kind"] in {"talk", "drive", "portrait"}
            if usable and len(persons[row["identity"]]) < _CLIPS_PER_PERSON:
                persons[row["identity"]].append(data_dir / row["file"])
    return {person: files for person, files in persons.items() if files}


def observe(clip: Path) -> list[tuple[np.ndarray, tuple[int, int]]]:
    """Return landmarks (478, 3) px and the image size for a few frames of one clip."""
    with av.open(str(clip)) as container:
        frames = [frame.to_ndarray(format="rgb24") for frame in container.decode(video=0)]
    chosen = np.linspace(0, len(frames) - 1, _FRAMES_PER_CLIP).astype(int)
    seen = []
    for image in (frames[i] for i in sorted(set(chosen.tolist()))):
        faces = detect_faces(image)
        if not len(faces):
            continue
        points = faces.keypoints[0]
        for _ in range(_PRIMING):
            points = find_landmarks(image, points).points
        seen.append((points, (image.shape[1], image.shape[0])))
    return seen


def estimate_offset(persons: list[list[tuple[np.ndarray, tuple[int, int]]]]) -> np.ndarray:
    """Return the (468, 3) cm offset to add to the landmarks of the shipped model."""
    model = load_face_model()
    offset = np.zeros(model.landmark_rest.shape)
    for _ in range(_ROUNDS):
        fitter = Fitter(
            model, identity=None, expression_ridge=PHOTO_EXPRESSION_RIDGE, static=offset
        )
        means = [np.mean([_residual(fitter, *seen) for seen in person], 0) for person in persons]
        mean = np.mean(means, 0)
        offset += (mean + mean[MIRROR] * (-1, 1, 1)) / 2
    return offset


def _residual(fitter: Fitter, points: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """Return (468, 3) cm, head frame: detected minus fitted landmarks of one frame."""
    view = view_of(points, size)
    start = initial_pose(view, fitter.rest)
    fit = fitter.solve(view, *start, np.zeros(fitter.size), _FIT_ROUNDS)
    rotation, translation, _, shape = fit
    return unproject(view, shape, rotation, translation, depth_trust=_DEPTH_TRUST) - shape


def main(arguments: list[str]) -> None:
    """Write OFFSET.npy; see the module docstring."""
    persons = [
        [seen for clip in clips for seen in observe(clip)]
        for clips in shippable_clips(Path(arguments[0])).values()
    ]
    np.save(arguments[1], estimate_offset([person for person in persons if person]))


if __name__ == "__main__":
    main(sys.argv[1:])
