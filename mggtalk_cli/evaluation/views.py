"""Seen from aside: is the head whole, is it turned as asked, and is it still the same person?

Every photo at three yaw angles. The opaque share of the head's silhouette and its holes; the pose
and the landmarks found in the view against those of the fitted face, turned; with an embedder, how
much the view looks like the photo. Beside it stands the photo on a flat card that is turned
likewise: it keeps the person's looks and has no shape. The sheet also shows an open mouth and a
blink, to be looked at.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

import cv2
import numpy as np
import torch

from mggtalk_cli import drawing, face, inpaint, pipeline, tensors
from mggtalk_cli.core.camera import Camera
from mggtalk_cli.core.expression import ARKIT_INDEX, FaceState
from mggtalk_cli.core.image import read_photo
from mggtalk_cli.core.rotation import matrix_from_angles, rotation_log
from mggtalk_cli.evaluation import metrics
from mggtalk_cli.evaluation.labels import film_sheet
from mggtalk_cli.evaluation.report import OURS, Metric
from mggtalk_cli.evaluation.runs import Measured, Protocol, Source

if TYPE_CHECKING:
    from mggtalk_cli.evaluation.networks import Networks

YAWS_DEG = (-30.0, 0.0, 30.0)
SIDES = {-30.0: "left", 0.0: "front", 30.0: "right"}
OPAQUE = 0.95

# The silhouette's own soft edge is no hole: this share of the longer side is left out (4 px of
# 512). Fewer neighbouring pixels than this are no hole either.
EDGE, HOLE_PX = 4 / 512, 4

JAW_OPEN, CELL_PX = 0.5, 256
LANDMARK_PX = 256  # landmark distances are given at this longer side
LANDMARKS = 468

CARD = "card"


@dataclass(frozen=True)
class View:
    """One photo at one angle, drawn.

    Attributes:
        yaw_deg: asked for; positive shows the nose turned to image right.
        image: (H, W, 3) uint8.
        points: (468, 3) px of the picture: where the landmarks have to be.
        opaque: opaque share of the head's silhouette, 0..1.
        holes: in it.
    """

    yaw_deg: float
    image: np.ndarray
    points: np.ndarray
    opaque: float = math.nan
    holes: float = math.nan


@dataclass(frozen=True)
class PhotoViews:
    """One photo: itself as it is framed, its views by method, and the sheet."""

    photo: np.ndarray
    views: Mapping[str, tuple[View, ...]]
    sheet: np.ndarray


def photo_views(
    path: Path,
    options: pipeline.BuildOptions | None = None,
    variants: pipeline.Variants = pipeline.ANALYTIC,
) -> PhotoViews:
    """Return the views of one photo's head, and of the photo as a card.

    Raises:
        InputError: unreadable, or no face.
    """
    head = pipeline.build_head(read_photo(path), options, variants=variants)
    camera, rest = tensors.camera_of(head), tensors.source_state(head)
    landmarks = head.arrays["rig_controls"][:LANDMARKS]
    plate, photo = head.arrays["plate"], head.arrays["image"]
    own, cards = [], []
    for yaw in YAWS_DEG:
        matrix = drawing.view_matrix(camera, pipeline.RenderOptions(yaw_deg=yaw), 0)
        points = replace(camera, viewmat=matrix).project(landmarks)
        rgba, head_alpha = _draw(head, rest, yaw, variants)
        found = silhouette(head_alpha, rgba[..., 3].astype(np.float32) / 255)
        own.append(View(yaw, inpaint.composite(rgba, plate), points, *found))
        cards.append(View(yaw, turned_card(photo, camera, matrix, landmarks), points))
    cells = [view.image for view in own]
    for state in (with_coefficients(rest, jawOpen=JAW_OPEN), blinking(rest)):
        cells.append(inpaint.composite(_draw(head, state, 0.0, variants)[0], plate))
    rows = {"ours": cells, "a flat card": [view.image for view in cards]}
    sheet = film_sheet(rows, CELL_PX)
    return PhotoViews(photo, {OURS: tuple(own), CARD: tuple(cards)}, sheet)


def turned_card(
    photo: np.ndarray, camera: Camera, view: np.ndarray, landmarks: np.ndarray
) -> np.ndarray:
    """Return the photo (H, W, 3) uint8 on a card at the face's depth, seen from another side.

    Args:
        photo: (H, W, 3) uint8.
        camera: the photo's.
        view: (4, 4) world to camera of the view.
        landmarks: (n, 3) head frame, cm; the card stands at their mean depth.
    """
    depth = float(camera.to_camera(landmarks)[:, 2].mean())
    height, width = photo.shape[:2]
    corners = np.array([[0, 0], [width, 0], [width, height], [0, height]], np.float64)
    card = camera.unproject(corners, np.full(4, depth))
    seen = replace(camera, viewmat=view).project(card)[:, :2]
    # OpenCV puts pixel centres at integers.
    source, target = (np.float32(place) - np.float32(0.5) for place in (corners, seen))
    matrix = cv2.getPerspectiveTransform(source, target)
    return np.asarray(cv2.warpPerspective(photo, matrix, (width, height), flags=cv2.INTER_CUBIC))


# ---------------------------------------------------------------- numbers


def silhouette(head_alpha: np.ndarray, alpha: np.ndarray) -> tuple[float, int]:
    """Return the opaque share of a head's silhouette, and the number of holes in it.

    Args:
        head_alpha: (H, W) coverage by what moves with the head; its filled outline at one half is
            the silhouette.
        alpha: (H, W) coverage by everything, so that the cut through the neck is no hole.
    """
    solid = (head_alpha > 0.5).astype(np.uint8)
    outlines, _ = cv2.findContours(solid, cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_NONE)
    if not outlines:
        return 0.0, 0
    filled = np.zeros_like(solid)
    cv2.drawContours(filled, [max(outlines, key=cv2.contourArea)], -1, 1, cv2.FILLED)
    margin = max(1, round(EDGE * max(solid.shape)))
    # A head that reaches the picture's border has no edge there.
    padded = cv2.copyMakeBorder(filled, *(margin,) * 4, cv2.BORDER_REPLICATE)
    kernel = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (2 * margin + 1,) * 2)
    inner = cv2.erode(padded, kernel)[margin:-margin, margin:-margin] > 0
    if not inner.any():
        return 0.0, 0
    thin = (inner & (alpha <= OPAQUE)).astype(np.uint8)
    _, _, stats, _ = cv2.connectedComponentsWithStats(thin, connectivity=8)
    holes = int((stats[1:, cv2.CC_STAT_AREA] >= HOLE_PX).sum())
    return float(1 - thin[inner].mean()), holes


def found_face(image: np.ndarray) -> tuple[np.ndarray, np.ndarray] | None:
    """Return landmarks (468, 3) px and rotation (3, 3) of the face in a picture, None without."""
    faces = face.detect_faces(image)
    if not len(faces):
        return None
    points = face.find_landmarks(image, faces.keypoints[0]).points
    points = face.find_landmarks(image, points).points
    height, width = image.shape[:2]
    fit = face.fit_face(points, image_size=(width, height))
    return points[:LANDMARKS], fit.state.rotation


def angle_between_deg(first: np.ndarray, second: np.ndarray) -> float:
    """Return by how many degrees two rotations (3, 3) differ."""
    return float(np.degrees(np.linalg.norm(rotation_log(first @ second.T))))


def landmark_distance(found: np.ndarray, wanted: np.ndarray, side: int) -> float:
    """Return the mean distance of landmarks (n, >= 2) px of a picture, in px at 256 a side.

    >>> landmark_distance(np.zeros((3, 2)), np.full((3, 2), [6.0, 8.0]), 512)
    5.0
    """
    apart = np.linalg.norm(found[:, :2] - wanted[:, :2], axis=1)
    return float(apart.mean() * LANDMARK_PX / side)


def view_scores(views: tuple[View, ...], photo: np.ndarray, networks: Networks) -> dict[str, float]:
    """Return the numbers of one method on one photo; a view without a face has none."""
    values: dict[str, float] = {}
    faces = {view.yaw_deg: found_face(view.image) for view in views}
    front = faces.get(0.0)
    for view in views:
        side, seen = SIDES[view.yaw_deg], faces[view.yaw_deg]
        values[f"opaque_{side}"], values[f"holes_{side}"] = view.opaque, view.holes
        if seen is None:
            continue
        values[f"landmarks_{side}"] = landmark_distance(seen[0], view.points, max(photo.shape[:2]))
        if front is not None and view.yaw_deg:
            wanted = matrix_from_angles(view.yaw_deg, 0.0, 0.0) @ front[1]
            values[f"pose_error_{side}"] = angle_between_deg(seen[1], wanted)
    if networks.identity is not None:
        values |= _likeness(views, photo, networks.identity)
    for name in ("landmarks", "pose_error", "csim"):
        pair = [values.get(f"{name}_{side}", math.nan) for side in ("left", "right")]
        values[name] = float(np.mean(pair))
    values["opaque"] = float(np.mean([view.opaque for view in views]))
    values["holes"] = float(np.sum([view.holes for view in views]))
    values["found"] = float(np.mean([seen is not None for seen in faces.values()]))
    return values


def _likeness(
    views: tuple[View, ...], photo: np.ndarray, identity: Callable[[np.ndarray], np.ndarray | None]
) -> dict[str, float]:
    """Return the cosine of every view's identity with the photo's, and of the two sides'."""
    own = identity(photo.astype(np.float32) / 255)
    seen = {SIDES[v.yaw_deg]: identity(v.image.astype(np.float32) / 255) for v in views}
    values = {f"csim_{side}": metrics.csim(vector, own) for side, vector in seen.items()}
    return {**values, "csim_between": metrics.csim(seen["left"], seen["right"])}


def view_metrics() -> dict[str, Metric]:
    """Return how the numbers are to be read; the first ones are over all angles."""
    across = f"longer side {LANDMARK_PX} px"
    found = {
        "opaque": Metric(
            "opaque share of the head's silhouette, mean over the angles", digits=4, key=True
        ),
        "holes": Metric(
            "holes in the silhouette, sum over the angles", "lower", digits=1, key=True
        ),
        "found": Metric("share of the views in which a face is found", digits=2, key=True),
        "pose_error": Metric(
            "angle between the head pose found in the view and that found in front, turned as "
            "asked; mean of -30 and 30 degrees",
            *("lower", "deg", 2),
            key=True,
        ),
        "landmarks": Metric(
            f"distance of the landmarks found in the view to the fitted face's, turned; {across}; "
            "mean of -30 and 30 degrees",
            *("lower", "px", 2),
            key=True,
        ),
        "csim": Metric(
            "cosine of the identities of view and photo; mean of -30 and 30 degrees", key=True
        ),
        "csim_between": Metric(
            "cosine of the identities of the views at -30 and 30 degrees", key=True
        ),
    }
    for yaw, side in SIDES.items():
        at = f"at {yaw:+g} degrees"
        found[f"opaque_{side}"] = Metric(f"opaque share of the silhouette {at}", digits=4)
        found[f"holes_{side}"] = Metric(f"holes {at}", "lower", digits=1)
        found[f"landmarks_{side}"] = Metric(f"landmark distance {at}", "lower", "px", 2)
        found[f"csim_{side}"] = Metric(f"cosine of the identities of view and photo {at}")
        if yaw:
            found[f"pose_error_{side}"] = Metric(f"pose error {at}", "lower", "deg", 2)
    return found


def views_protocol(
    build: pipeline.BuildOptions,
    networks: Networks,
    variants: pipeline.Variants = pipeline.ANALYTIC,
) -> Protocol:
    """Return the protocol; its sources are photos of one person."""
    known = view_metrics()
    left_out = {}
    if networks.identity is None:
        reason = networks.left_out.get("csim", "no identity embedder")
        left_out = {name: reason for name in known if name.startswith("csim")}
        known = {name: metric for name, metric in known.items() if name not in left_out}

    def measure(source: Source) -> Measured:
        found = photo_views(source.files[0], build, variants)
        values = {
            method: {k: v for k, v in scores.items() if k in known}
            for method, views in found.views.items()
            for scores in [view_scores(views, found.photo, networks)]
        }
        return Measured(values, sheet=found.sheet)

    return Protocol(
        name="views",
        settings={
            "yaw_deg": list(YAWS_DEG),
            "size": build.size,
            "crop": build.crop,
            "variants": variants.settings,
            "identity": networks.identity_name if networks.identity is not None else "",
            "weights": dict(networks.hashes),
        },
        main="landmarks",
        ours=OURS,
        others=(CARD,),
        metrics=known,
        measure=measure,
        left_out=left_out,
    )


# ---------------------------------------------------------------- drawing


def with_coefficients(state: FaceState, **values: float) -> FaceState:
    """Return the state with some coefficients set, by their ARKit names."""
    beta = state.beta.copy()
    for name, value in values.items():
        beta[ARKIT_INDEX[name]] = value
    return replace(state, beta=beta)


def blinking(state: FaceState) -> FaceState:
    """Return the state with both eyes closed."""
    return with_coefficients(state, eyeBlinkLeft=1.0, eyeBlinkRight=1.0)


def _draw(
    head: pipeline.Artifact, state: FaceState, yaw_deg: float, variants: pipeline.Variants
) -> tuple[np.ndarray, np.ndarray]:
    """Return (H, W, 4) uint8 RGBA, and (H, W) coverage by what moves with the head alone."""
    camera = tensors.camera_of(head)
    posed = variants.deformer(tensors.head_rig(head), tensors.source_state(head))(state)
    view = drawing.view_matrix(camera, pipeline.RenderOptions(yaw_deg=yaw_deg), 0)
    gaussians = variants.gaussians_of(head)(drawing.point_frame(posed, state))
    rgba = drawing.to_rgba(*drawing.rasterize(gaussians, camera, view))
    moving = torch.from_numpy(head.arrays["head_weight"]) > 0.5
    only_head = gaussians._replace(opacities=gaussians.opacities * moving)
    _, alpha = drawing.rasterize(only_head, camera, view)
    return rgba, alpha[..., 0].numpy()
