"""Made-up heads with known truth: a second source of examples, and a test bed.

    seed -> scene (person, hair, clothes, light, cameras) -> drawn views -> example folders

`person` poses the face model, `strands` and `hair` grow hair on it, `clothes` dresses it, `skin`
paints it, `light` and `draw` show it, `scene` puts these together, `write` writes examples and
`compare` says how true depth belongs to the head that is fitted to the photo.
"""

from mggtalk_cli.training.synth.compare import comparable_depth, similarity
from mggtalk_cli.training.synth.scene import Scene, Studio, background, developed, sample_scene
from mggtalk_cli.training.synth.write import Made, SynthOptions, synthesize, write_report

__all__ = [
    "Made",
    "Scene",
    "Studio",
    "SynthOptions",
    "background",
    "comparable_depth",
    "developed",
    "sample_scene",
    "similarity",
    "synthesize",
    "write_report",
]
