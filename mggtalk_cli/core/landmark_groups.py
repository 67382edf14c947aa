"""Names for the 468 + 10 face landmarks: lips, lids, brows, oval, mirror partners, triangles.

Right and left are the subject's: RIGHT is at the left of a frontal photo. Every left group is the
element-wise mirror of its right group. The mesh is MediaPipe's canonical face (Apache-2.0, see
face/data/NOTICE), whose vertex order is the landmark order and which is exactly symmetric.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np

with np.load(Path(__file__).parent / "data" / "landmark_mesh.npz", allow_pickle=False) as _mesh:
    # (898, 3) int32 vertex indices, counter-clockwise seen from outside the face.
    TRIANGLES: np.ndarray = _mesh["triangles"].astype(np.int32)
    # (468,) int32: landmark i of a mirrored face is landmark MIRROR[i] of the face.
    MIRROR: np.ndarray = _mesh["mirror"].astype(np.int32)
    # (468, 3) float32 canonical face, head frame, cm.
    CANONICAL: np.ndarray = _mesh["vertices"].astype(np.float32)
    # (468, 2) float32 texture coordinates of the canonical face, 0..1, v up.
    CANONICAL_UV: np.ndarray = _mesh["uv"].astype(np.float32)


def _mirrored(group: tuple[int, ...]) -> tuple[int, ...]:
    return tuple(int(MIRROR[i]) for i in group)


# Inner lip line, both from the subject's right corner (78) to the left one (308).
UPPER_LIP_INNER = (78, 191, 80, 81, 82, 13, 312, 311, 310, 415, 308)
LOWER_LIP_INNER = (78, 95, 88, 178, 87, 14, 317, 402, 318, 324, 308)
# Outer lip line, both from the subject's right corner (61) to the left one (291).
UPPER_LIP_OUTER = (61, 185, 40, 39, 37, 0, 267, 269, 270, 409, 291)
LOWER_LIP_OUTER = (61, 146, 91, 181, 84, 17, 314, 405, 321, 375, 291)
# Closed rings: clockwise on the screen of a frontal photo, first point not repeated.
LIPS_OUTER = UPPER_LIP_OUTER + LOWER_LIP_OUTER[-2:0:-1]
LIPS_INNER = UPPER_LIP_INNER + LOWER_LIP_INNER[-2:0:-1]
# Every landmark of the red lips: outer ring, two rings between, inner ring.
LIPS = tuple(
    sorted(
        {
            *LIPS_OUTER,
            *LIPS_INNER,
            *(76, 184, 74, 73, 72, 11, 302, 303, 304, 408, 306),
            *(77, 90, 180, 85, 16, 315, 404, 320, 307),
            *(62, 183, 42, 41, 38, 12, 268, 271, 272, 407, 292),
            *(96, 89, 179, 86, 15, 316, 403, 319, 325),
        }
    )
)

# Lid edges, all from the outer to the inner eye corner.
EYE_RIGHT_UPPER = (33, 246, 161, 160, 159, 158, 157, 173, 133)
EYE_RIGHT_LOWER = (33, 7, 163, 144, 145, 153, 154, 155, 133)
EYE_LEFT_UPPER = _mirrored(EYE_RIGHT_UPPER)
EYE_LEFT_LOWER = _mirrored(EYE_RIGHT_LOWER)
EYES = tuple(sorted({*EYE_RIGHT_UPPER, *EYE_RIGHT_LOWER, *EYE_LEFT_UPPER, *EYE_LEFT_LOWER}))

# Iris of the 478-point layout; the first of each five is the centre.
IRIS_RIGHT = (468, 469, 470, 471, 472)
IRIS_LEFT = (473, 474, 475, 476, 477)

# Brows, upper edge then lower edge, each from the outer end to the inner end.
BROW_RIGHT = (70, 63, 105, 66, 107, 46, 53, 52, 65, 55)
BROW_LEFT = _mirrored(BROW_RIGHT)
BROWS = BROW_RIGHT + BROW_LEFT

# Outline of the face mesh: from the top of the forehead (10) clockwise on the screen.
FACE_OVAL = (
    *(10, 338, 297, 332, 284, 251, 389, 356, 454, 323, 361, 288, 397, 365, 379, 378, 400, 377),
    *(152, 148, 176, 149, 150, 136, 172, 58, 132, 93, 234, 127, 162, 21, 54, 103, 67, 109),
)

# Ridge from between the eyes to the tip, then base and wings (right, left).
NOSE = (168, 6, 197, 195, 5, 4, 1, 19, 94, 2, 98, 327, 97, 326, 129, 358, 64, 294, 48, 278)

# Points that follow the skull: nose bridge, eye corners, temples, cheek bones, mid forehead.
_RIGID_RIGHT = (33, 133, 127, 234, 93, 116, 117, 143, 35, 111, 162, 21, 54, 103, 193, 122, 174)
RIGID = (6, 168, 197, 195, 5, 4, 8, 9, 151, *_RIGID_RIGHT, *_mirrored(_RIGID_RIGHT))
