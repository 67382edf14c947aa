"""Photo or frame -> faces, landmarks, person mask, head pose and expression."""

from mggtalk_cli.face.detect import Faces, detect_faces
from mggtalk_cli.face.fit import FaceFit, fit_face
from mggtalk_cli.face.landmarks import Landmarks, find_landmarks
from mggtalk_cli.face.matte import person_mask
from mggtalk_cli.face.model import FaceModel, load_face_model
from mggtalk_cli.face.person import PersonFit, fit_faces
from mggtalk_cli.face.rigid_flow import RigidMotion, rigid_motion
from mggtalk_cli.face.tracker import FaceTracker, TrackedFace

__all__ = [
    "FaceFit",
    "FaceModel",
    "FaceTracker",
    "Faces",
    "Landmarks",
    "PersonFit",
    "RigidMotion",
    "TrackedFace",
    "detect_faces",
    "find_landmarks",
    "fit_face",
    "fit_faces",
    "load_face_model",
    "person_mask",
    "rigid_motion",
]
