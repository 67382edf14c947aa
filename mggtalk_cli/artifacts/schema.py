"""What the artifacts hold: every kind, array, shape, unit and meta key, in one table.

Shapes are symbolic ("h w 3"): a letter is a size that is the same everywhere in one artifact, a
number is fixed, and `k` (audio samples) may differ from frame to frame. A kind with `frame` arrays
is a sequence; the last of them is required and closes its frame, so that a reader on a pipe can
hand out a frame the moment it is complete.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

FORMAT_VERSION = 1

# The member that names kind and version, and its JSON key that lists the header arrays, by which a
# reader on a pipe knows that it has them all.
META = "meta"
HEADER_KEY = "header"

# Arrays with this prefix are free: any real dtype and shape; the rig of a head lives there.
FREE_PREFIX = "rig_"

# Sizes that may differ from frame to frame and may be zero.
LOOSE_SIZES = frozenset({"k"})


@dataclass(frozen=True)
class ArraySpec:
    """One array: numpy dtype name, symbolic shape, unit or frame, meaning."""

    dtype: str
    shape: str
    unit: str
    doc: str
    optional: bool = False

    @property
    def sizes(self) -> tuple[str, ...]:
        """The symbolic sizes, one per axis."""
        return tuple(self.shape.split())


@dataclass(frozen=True)
class MetaSpec:
    """One meta key: `form` names its check in `validation.META_FORMS`."""

    form: str
    doc: str
    optional: bool = False
    nullable: bool = False


@dataclass(frozen=True)
class KindSpec:
    """One kind of artifact: what it is, which command makes it, and what it holds."""

    doc: str
    command: str
    meta: Mapping[str, MetaSpec]
    header: Mapping[str, ArraySpec]
    frame: Mapping[str, ArraySpec] = field(default_factory=dict)
    min_frames: int = 0

    @property
    def closing(self) -> str | None:
        """Name of the array that completes a frame; None where there are no frames."""
        return list(self.frame)[-1] if self.frame else None


_CAMERA = MetaSpec("camera", "viewmat (16 numbers, row by row), focal_px, width, height")
_FPS = MetaSpec("positive", "frames per second")
_FRAME_COUNT = MetaSpec(
    "count", "number of frames, null while unknown", optional=True, nullable=True
)
_AUDIO_META = MetaSpec("audio", "rate in Hz and channels; null without sound", nullable=True)
_CREATED_BY = MetaSpec("text", "program and version that wrote it", optional=True)
_SOURCE = MetaSpec("source", "name and sha256 of the photo", optional=True)
_SIZE = MetaSpec("count", "working size in px: the longer side of a frame", optional=True)
_CROP_BOX = MetaSpec("box", "x0, y0, x1, y1 of the crop in photo px", optional=True, nullable=True)
_SHEETS = MetaSpec("names", "names of the grids of points, in the order of grid_shape")

_IMAGES = {
    "image": ArraySpec("uint8", "h w 3", "RGB", "the portrait"),
    "plate": ArraySpec("uint8", "h w 3", "RGB", "background, filled behind the person"),
    "matte": ArraySpec("uint8", "h w", "0..255", "coverage of the person"),
}
_SHEET_ARRAYS = {
    "grid_shape": ArraySpec("int32", "s 2", "rows, columns", "sizes of the sheets' grids"),
    "valid": ArraySpec("bool", "n", "", "whether a grid place holds a point"),
    "links": ArraySpec(
        "uint8",
        "n",
        "bits",
        "bit 0: joined to the right neighbour in its grid, 1: to the lower",
    ),
    "color": ArraySpec("float32", "m 3", "RGB", "pre-compensated colour, may leave 0..1"),
    "opacity": ArraySpec("float32", "m", "0..1", "opacity of each point"),
    "head_weight": ArraySpec("float32", "m", "0..1", "1 moves with the head, 0 stays"),
}
_AUDIO = ArraySpec("int16", "k c", "PCM", "sound of this frame or block", optional=True)
_BETA = ArraySpec("float32", "52", "mostly 0..1", "ARKit coefficients shown", optional=True)
_PHOTO_LANDMARKS = {
    "photo_landmarks": ArraySpec("float32", "468 2", "px", "the face in the photo", optional=True)
}

KINDS: dict[str, KindSpec] = {
    "head": KindSpec(
        doc="a person as sheets of 3D points in the head frame",
        command="mggtalk build-head",
        meta={
            "camera": _CAMERA,
            "sheets": _SHEETS,
            "size": _SIZE,
            "crop_box": _CROP_BOX,
            "created_by": _CREATED_BY,
            "source": _SOURCE,
        },
        header={
            **_IMAGES,
            **_SHEET_ARRAYS,
            "positions": ArraySpec("float32", "m 3", "cm, head frame", "points at the source pose"),
            "normals": ArraySpec("float32", "m 3", "head frame", "unit surface normals"),
        },
    ),
    "points": KindSpec(
        doc="posed points, frame by frame",
        command="mggtalk deform",
        meta={
            "camera": _CAMERA,
            "sheets": _SHEETS,
            "fps": _FPS,
            "frame_count": _FRAME_COUNT,
            "audio": _AUDIO_META,
            "size": _SIZE,
            "crop_box": _CROP_BOX,
            "created_by": _CREATED_BY,
            "source": _SOURCE,
        },
        header={**_IMAGES, **_PHOTO_LANDMARKS, **_SHEET_ARRAYS},
        frame={
            "audio": _AUDIO,
            "beta": _BETA,
            "face": ArraySpec("float32", "468 3", "cm, world", "posed landmarks", optional=True),
            "gate": ArraySpec("float32", "m", "0..1", "factor on the opacity in this frame"),
            "points": ArraySpec("float32", "m 3", "cm, world", "deformed, posed points"),
        },
        min_frames=1,
    ),
    "frames": KindSpec(
        doc="rendered head frames with transparency",
        command="mggtalk render",
        meta={
            "camera": _CAMERA,
            "fps": _FPS,
            "frame_count": _FRAME_COUNT,
            "audio": _AUDIO_META,
            "size": _SIZE,
            "crop_box": _CROP_BOX,
            "created_by": _CREATED_BY,
            "source": _SOURCE,
        },
        header={**_IMAGES, **_PHOTO_LANDMARKS},
        frame={
            "audio": _AUDIO,
            "beta": _BETA,
            "landmarks": ArraySpec("float32", "468 2", "px", "where the face is", optional=True),
            "view": ArraySpec("float32", "4 4", "cm", "world -> OpenCV camera of this frame"),
            "rgba": ArraySpec("uint8", "h w 4", "RGBA", "rendered head, colour not premultiplied"),
        },
        min_frames=1,
    ),
    "motion": KindSpec(
        doc="expression, head pose and gaze over time, with the sound in blocks",
        command="mggtalk drive",
        meta={
            "fps": _FPS,
            "source": MetaSpec("text", "what it was read from: video, audio or csv"),
            "parts": MetaSpec(
                "texts", "the same for mouth, head, blink or gaze of another source", optional=True
            ),
            "audio": _AUDIO_META,
            "camera": MetaSpec(
                "intrinsics", "focal_px, width, height of the clip", optional=True, nullable=True
            ),
            "created_by": _CREATED_BY,
        },
        header={
            "beta": ArraySpec("float32", "t 52", "mostly 0..1", "ARKit coefficients"),
            "rotation": ArraySpec("float32", "t 4", "quaternion wxyz", "head -> y-up camera frame"),
            "translation": ArraySpec("float32", "t 3", "cm", "head origin, y-up camera frame"),
            "gaze": ArraySpec("float32", "t 2", "degrees", "to image right, up"),
            "confidence": ArraySpec("float32", "t", "0..1", "trust in the frame"),
            "residual": ArraySpec(
                "float16", "t 468 3", "cm, head frame", "landmark motion beyond beta", optional=True
            ),
            "reference_beta": ArraySpec("float32", "52", "mostly 0..1", "the driver's first beta"),
            "reference_rotation": ArraySpec(
                "float32", "4", "quaternion wxyz", "its first rotation"
            ),
            "reference_translation": ArraySpec("float32", "3", "cm", "its first position"),
            "reference_gaze": ArraySpec("float32", "2", "degrees", "its first gaze"),
            "reference_landmarks": ArraySpec(
                "float32", "468 3", "cm, head frame", "the driver's face", optional=True
            ),
        },
        frame={"audio": ArraySpec("int16", "k c", "PCM", "blocks of one second of sound")},
    ),
}


def member_name(name: str, index: int | None = None) -> str:
    """Return the archive member of a header array, or of frame `index` of a frame array.

    >>> member_name("points", 7)
    'points/000007.npy'
    """
    return f"{name}.npy" if index is None else f"{name}/{index:06d}.npy"


def split_member_name(member: str) -> tuple[str, int | None]:
    """Return array name and frame index (None for header arrays) of an archive member."""
    stem = member.removesuffix(".npy")
    name, slash, digits = stem.rpartition("/")
    if slash and digits.isascii() and digits.isdigit() and len(digits) < 10:
        return name, int(digits)
    return stem, None
