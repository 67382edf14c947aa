"""How a stage is trained: the defaults of every stage, and recipe files (TOML) that change them.

A recipe file holds any of the fields of `Recipe`; `[losses]` weighs the terms of the loss:

    steps = 2000
    rate = 3e-4
    [losses]
    ssim = 0.5
"""

from __future__ import annotations

import difflib
import math
import sys
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields, replace
from pathlib import Path
from typing import Any

from mggtalk_cli.errors import InputError

MAX_BYTES = 1 << 20  # of a recipe file; real ones have a few lines
PRECISIONS = ("32", "bf16-mixed")
PRESETS = ("tiny", "base")


@dataclass(frozen=True)
class Recipe:
    """How to train; `stage_recipe` gives the defaults of a stage.

    Attributes:
        steps: of the optimiser.
        batch: examples in a batch, those of all processes together.
        accumulate: batches whose gradients a step adds up.
        rate: peak learning rate of AdamW.
        warmup: steps until the peak is reached; a cosine takes it down to 0 from there.
        weight_decay: of AdamW, on matrices and kernels only.
        clip: largest length of the gradient.
        ema: decay of the moving average of the weights, which is what is kept.
        precision: "32", or "bf16-mixed".
        seed: of everything random.
        validate_every: steps between looks at the held-out examples.
        save_every: steps between saved states.
        preset: size of new networks, "tiny" or "base".
        dense: compare the dense render beside the coarse one; else the densifier learns nothing,
            and a step takes two thirds of the time.
        only_ship: learn only from examples whose licence lets the weights be given away.
        held_out: share of the identities that is measured on and never learned from.
        gan_start: step at which the adversary joins; 0 = never.
        gan_rate: learning rate of the adversary.
        frozen: networks that are left as they are from `gan_start` on.
        perceptual: file with AlexNet's weights for the perceptual term; "" = without that term.
        expert: checkpoint of `train sync`, or SyncNet's published weights, for the sync term; "" =
            without that term.
        losses: weight of every term of the loss.
    """

    steps: int = 2000
    batch: int = 4
    accumulate: int = 1
    rate: float = 3e-4
    warmup: int = 50
    weight_decay: float = 0.01
    clip: float = 1.0
    ema: float = 0.995
    precision: str = "32"
    seed: int = 0
    validate_every: int = 200
    save_every: int = 100
    preset: str = "tiny"
    dense: bool = True
    only_ship: bool = False
    held_out: float = 0.2
    gan_start: int = 0
    gan_rate: float = 1e-4
    frozen: tuple[str, ...] = ()
    perceptual: str = ""
    expert: str = ""
    losses: Mapping[str, float] = field(default_factory=dict)

    def __post_init__(self) -> None:
        """Check every value.

        Raises:
            InputError: one is of the wrong type or out of range.
        """
        for each in fields(self):
            object.__setattr__(self, each.name, _checked(each.name, getattr(self, each.name)))

    @property
    def examples_per_step(self) -> int:
        """Examples one step of the optimiser learns from."""
        return self.batch * self.accumulate

    def opposed(self, step: int) -> bool:
        """Return whether the adversary takes part in a step."""
        return 0 < self.gan_start <= step

    def as_dict(self) -> dict[str, Any]:
        """Return plain values, as JSON can hold them."""
        return asdict(self) | {"losses": dict(self.losses), "frozen": list(self.frozen)}


# What a picture is compared by: METHOD of the paper, L1 + .2 (1 - SSIM) + .01 perceptual.
_PICTURE = {"l1": 1.0, "ssim": 0.2, "perceptual": 0.01}

# Depth where it is known, the share of a clip's flow that depth leaves elsewhere. Flow is noisy: of
# its own it would have every pixel where its noise says.
_REFINED = {"depth": 0.2, "normal": 0.02, "parallax": 1.0, "offset": 0.05, "smooth": 2.0}

# Every stage that can be trained: what it changes in `Recipe`. The terms named under `losses` are
# all that its task may return and a recipe file may weigh.
DEFAULTS: dict[str, dict[str, Any]] = {
    "refiner": {"rate": 1e-3, "steps": 400, "losses": _REFINED},
    "deform": {
        "rate": 1e-3,
        "losses": {**_PICTURE, "flow": 1.0, "offset": 0.01, "temporal": 0.1},
    },
    "decoder": {
        "losses": {
            **_PICTURE,
            **{"mask": 0.1, "offset": 0.01, "scale": 0.01, "temporal": 0.1, "sync": 0.03},
        },
    },
    "inpaint": {"losses": {**_PICTURE, "temporal": 0.1, "gan": 0.02}},
    "mouth": {
        "rate": 1e-3,
        "losses": {**_PICTURE, "temporal": 0.1, "gan": 0.02, "sync": 0.03},
    },
    "joint": {
        "rate": 1e-4,
        "frozen": ("refiner", "deform", "encoder", "decoder", "sym_decoder", "densifier"),
        "losses": {
            **_PICTURE,
            **_REFINED,
            **{"flow": 1.0, "mask": 0.1, "offset": 0.01, "scale": 0.01},
            **{"temporal": 0.1, "gan": 0.02, "sync": 0.03},
        },
    },
    "sync": {"rate": 1e-4, "batch": 8, "losses": {"sync": 1.0}},
}

# Name -> least and largest value.
_RANGES: dict[str, tuple[float, float]] = {
    **dict.fromkeys(("steps", "batch", "accumulate", "validate_every", "save_every"), (1, 10**8)),
    **dict.fromkeys(("warmup", "gan_start"), (0, 10**8)),
    "seed": (0, 2**63 - 1),
    **dict.fromkeys(("rate", "gan_rate"), (1e-9, 1.0)),
    "weight_decay": (0.0, 1.0),
    "clip": (1e-9, 1e9),
    "ema": (0.0, 0.999999),
    "held_out": (0.0, 0.9),
}
_CHOICES = {"precision": PRECISIONS, "preset": PRESETS}
_WEIGHT = (0.0, 1e6)


def stage_recipe(stage: str, file: Path | None = None, **changes: Any) -> Recipe:
    """Return the recipe of a stage.

    Args:
        stage: a key of `DEFAULTS`.
        file: recipe file (TOML) that changes some of it.
        changes: fields that override both; None = not given.

    Raises:
        InputError: an unknown stage or key, a wrong value, or a file that cannot be read.
    """
    if stage not in DEFAULTS:
        raise InputError(f"no stage is called {stage!r}: use one of {', '.join(DEFAULTS)}")
    recipe = Recipe(**DEFAULTS[stage])
    if file is not None:
        recipe = _changed(recipe, _read(file), str(file))
    return replace(recipe, **{key: value for key, value in changes.items() if value is not None})


def _read(file: Path) -> dict[str, Any]:
    if sys.version_info >= (3, 11):
        import tomllib
    else:
        try:
            import tomli as tomllib
        except ImportError:
            raise InputError(
                "recipe files need tomli on Python 3.10: pip install 'mggtalk-cli[train]'"
            ) from None
    try:
        with file.open("rb") as opened:
            content = opened.read(MAX_BYTES + 1)
        if len(content) > MAX_BYTES:
            raise InputError(f"recipe {file} is larger than {MAX_BYTES >> 20} MiB: give a recipe")
        return tomllib.loads(content.decode("utf-8"))
    except OSError as error:
        raise InputError(f"recipe {file}: {error.strerror or error}; check --recipe") from None
    except (ValueError, RecursionError) as error:  # bytes that are no UTF-8 or no TOML
        raise InputError(f"recipe {file} is not TOML: {error}") from None


def _changed(recipe: Recipe, values: Mapping[str, Any], source: str) -> Recipe:
    """Return the recipe with a file's values, whose keys must be known."""
    values = dict(values)
    losses = values.pop("losses", {})
    if not isinstance(losses, Mapping):
        raise InputError(f"{source}: losses = {losses!r} is not a table: write [losses]")
    _refuse_unknown(values, [f.name for f in fields(recipe) if f.name != "losses"], source)
    _refuse_unknown(losses, list(recipe.losses), f"{source} [losses]")
    try:
        return replace(recipe, **values, losses={**recipe.losses, **losses})
    except InputError as error:
        raise InputError(f"{source}: {error}") from None


def _refuse_unknown(given: Mapping[str, Any], known: list[str], source: str) -> None:
    for key in given:
        if key not in known:
            near = difflib.get_close_matches(key, known, 1)
            hint = f"did you mean {near[0]}?" if near else f"known are {', '.join(known)}"
            raise InputError(f"{source}: unknown key {key!r}; {hint}")


def _checked(name: str, value: Any) -> Any:
    if name == "losses":
        if not isinstance(value, Mapping):
            raise InputError(f"losses = {value!r} is not a table of weights")
        return {key: _number(f"losses.{key}", each, _WEIGHT, 0.0) for key, each in value.items()}
    if name == "frozen":
        if not isinstance(value, list | tuple) or not all(isinstance(v, str) for v in value):
            raise InputError(f"frozen = {value!r} is not a list of network names")
        return tuple(value)
    if name in _RANGES:
        return _number(name, value, _RANGES[name], getattr(Recipe, name))
    wanted = type(getattr(Recipe, name))
    if not isinstance(value, wanted):
        kind = "a text in quotes" if wanted is str else "true or false"
        raise InputError(f"{name} = {value!r} is not {kind}")
    if name in _CHOICES and value not in _CHOICES[name]:
        raise InputError(f"{name} = {value!r}: use one of {', '.join(_CHOICES[name])}")
    return value


def _number(name: str, value: Any, allowed: tuple[float, float], default: float) -> Any:
    """Return the value as the type of the default; a bool is no number, a whole float no int."""
    whole = isinstance(default, int)
    kind = int if whole else int | float
    if isinstance(value, bool) or not isinstance(value, kind):
        raise InputError(f"{name} = {value!r} is not a {'whole ' if whole else ''}number")
    least, most = allowed
    if not (math.isfinite(value) and least <= value <= most):
        raise InputError(f"{name} = {value!r} is not within {least:g}..{most:g}")
    return value if whole else float(value)
