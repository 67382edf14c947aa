"""What a trained mouth network is, what it learned from and how well it does, as Markdown."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path

from mggtalk_cli import __version__
from mggtalk_cli.core.output import atomic_path
from mggtalk_cli.motion.network import CURVES, ENCODER_BLOCKS, MOUTH_RATE, mouth_network_bytes
from mggtalk_cli.motion.whisper import ENCODER_SHA256
from mggtalk_cli.training.audio import AudioTraining
from mggtalk_cli.training.examples import by_speaker
from mggtalk_cli.training.scores import SpeakerScore, medians

COLUMNS = {
    "speaker": "speaker",
    "frames": "frames",
    "r": "opening r",
    "width_r": "width r",
    "closed_found": "closed found",
    "amplitude": "amplitude",
    "width_amplitude": "width ampl.",
    "lag": "lag",
    "lag_r": "r at lag",
}


def write_network(training: AudioTraining, path: Path, *, overwrite: bool = False) -> Path:
    """Write the network, and its card beside it; return the card's path.

    Raises:
        InputError: see `atomic_path`.
    """
    card = path.with_suffix(".md")
    content = mouth_network_bytes(training.network)
    text = model_card(training, name=path.name, sha256=hashlib.sha256(content).hexdigest())
    with atomic_path(path, overwrite=overwrite) as part:
        part.write_bytes(content)
    with atomic_path(card, overwrite=overwrite) as part:
        part.write_text(text, encoding="utf-8")
    return card


def model_card(training: AudioTraining, *, name: str, sha256: str) -> str:
    """Return the card of a network stored as `name`."""
    network = training.network
    parameters = sum(p.numel() for p in network.parameters())
    recipe = ", ".join(f"{key} {value}" for key, value in asdict(training.recipe).items())
    scale = ", ".join(
        f"{curve} {value:.3f}" for curve, value in zip(CURVES, network.scale.tolist(), strict=True)
    )
    parts = [
        f"# {name}: mouth curves from speech",
        f"{parameters} parameters (and a whitening of {network.size.components} components); "
        f"input: block {ENCODER_BLOCKS} of the Whisper tiny.en encoder (SHA-256 "
        f"{ENCODER_SHA256[:16]}..., frozen); output: {', '.join(CURVES)} at {MOUTH_RATE} Hz. "
        f"SHA-256 {sha256}. Made by `mggtalk train audio`, mggtalk {__version__}.",
        "## Learned from",
        _data(training),
        f"Sound that was not in step with the picture, corrected: {_late(training)}.",
        *_refused(training),
        "## Recipe",
        f"{recipe}. Avatar units per output unit: {scale}.",
        "## Speakers it never heard",
        score_table(training.held_out),
        "Opening in units of the speaker's standard deviation, 0 at the 8th percentile. Closed "
        "found: of the in-speech frames at or below 0, the share among the fifth of the in-speech "
        "frames with the least predicted opening; chance .20. Amplitude: standard deviation of the "
        "prediction over that of the speaker's own curve. Lag: frames by which the prediction is "
        "late where r is best (-3..3).",
        "## Limits",
        "Correlations of .4 to .85 per speaker are usual. Few speakers were heard: width and "
        "voices far from them (children, singing, other languages) are less sure. It tells what a "
        "mouth does, not who speaks.",
    ]
    return "\n\n".join(parts) + "\n"


def _data(training: AudioTraining) -> str:
    rows = ["| speaker | clips | seconds | licence | origin |", "|---|---|---|---|---|"]
    for speaker, group in by_speaker(training.learned).items():
        seconds = sum(len(r.mouth.opening) for r in group) / MOUTH_RATE
        licences = "; ".join(sorted({r.clip.licence for r in group} - {""})) or "-"
        origins = "; ".join(sorted({r.clip.origin for r in group} - {""})) or "-"
        rows.append(f"| {speaker} | {len(group)} | {seconds:.0f} | {licences} | {origins} |")
    return "\n".join(rows)


def _late(training: AudioTraining) -> str:
    """Return by how many frames the sound of the training clips is late, speaker by speaker."""
    found = []
    for speaker, group in by_speaker(training.learned).items():
        late = [training.offsets.get(str(r.clip.path), 0.0) for r in group]
        moved = [offset for offset in late if offset]
        if moved:
            frames = f"{min(moved):+.0f}..{max(moved):+.0f} frames"
            found.append(f"{speaker} {frames} late in {len(moved)} of {len(late)} clips")
    return "; ".join(found) or "none"


def _refused(training: AudioTraining) -> list[str]:
    if not training.refused:
        return []
    return ["Left out: " + "; ".join(f"{r.clip.path.name} ({r.reason})" for r in training.refused)]


def score_table(scores: Sequence[SpeakerScore]) -> str:
    """Return a Markdown table, one speaker a row, medians last."""
    if not scores:
        return "None."
    lines = ["| " + " | ".join(COLUMNS.values()) + " |", "|---" * len(COLUMNS) + "|"]
    rows = [asdict(score) for score in scores]
    rows.append({"speaker": "median", **medians(scores)})
    lines += ["| " + " | ".join(_text(row[key]) for key in COLUMNS) + " |" for row in rows]
    return "\n".join(lines)


def _text(value: object) -> str:
    if isinstance(value, float):
        return "-" if value != value else f"{value:.2f}" if value != int(value) else f"{value:.0f}"
    return str(value)
