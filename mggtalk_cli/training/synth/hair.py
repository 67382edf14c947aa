"""Hair of made-up people: styles, hairlines and colours.

Hairlines are heights over the azimuth around the head's axis on the mean head at rest (0 = front,
90 = side, 180 = back).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np

from mggtalk_cli.core.interpolation import smoothstep
from mggtalk_cli.training.synth.facial_hair import BEARDS, azimuth_deg, beard, brows
from mggtalk_cli.training.synth.person import Surface
from mggtalk_cli.training.synth.strands import (
    STEPS,
    Body,
    Growth,
    Roots,
    Strands,
    grow,
    radii,
    roots_on,
    skin_density,
    tinted,
    unit,
)

# Azimuth (degrees) and height (cm, head frame) of the hairline: forehead, temple, sideburn, over
# and behind the ear, nape.
HAIRLINE = np.array(
    [
        *((0, 9.4), (20, 9.2), (36, 8.4), (50, 6.8), (62, 4.4), (72, 1.6), (82, 1.2)),
        *((87, 4.6), (108, 4.4), (117, 1.0), (135, -2.5), (160, -4.6), (180, -5.2)),
    ]
)
# How far a hairline recedes: weight over the azimuth.
RECEDING = np.array([(0, 0.5), (18, 0.9), (30, 1.0), (45, 0.7), (60, 0.2), (70, 0.0), (180, 0.0)])
HAIRLINE_SOFT_CM = 0.5
# Roots of a full head of hair and the radius of a drawn strand, cm: fewer and thicker than real.
HEAD_STRANDS, STRAND_CM = 9000, 0.05

# Linear RGB: black, dark brown, brown, chestnut, dark blond, blond, red, grey, white.
COLORS = np.array(
    [
        *((0.010, 0.008, 0.007), (0.028, 0.017, 0.011), (0.065, 0.037, 0.020)),
        *((0.11, 0.050, 0.025), (0.19, 0.115, 0.058), (0.40, 0.27, 0.14)),
        *((0.26, 0.085, 0.030), (0.25, 0.245, 0.24), (0.55, 0.54, 0.52)),
    ],
    np.float32,
)
COLOR_ODDS = np.array([4, 5, 4, 2, 2, 2, 1, 1.2, 0.6])
ODD_COLOR_SHARE = 0.04  # dyed in a colour that does not grow

Comb = Callable[[np.ndarray, np.random.Generator], np.ndarray]


@dataclass(frozen=True)
class Style:
    """A hairstyle: how it grows, where it is combed, and what it leaves out.

    Attributes:
        growth: of the strands on top; those at the sides are `sides` times as long.
        comb: directions (n, 3) of roots (n, 3), head frame.
        sides: length of the sides relative to the top.
        bald: "" or "crown" (only a wreath is left).
        bun: centre of a knot, head frame, cm, where the hair is tied.
        share: of `HEAD_STRANDS`.
        fringe_cm: length of hair combed over the forehead, 0 = none.
        odds: how often it is drawn relative to others.
    """

    growth: Growth
    comb: Comb
    sides: float = 1.0
    bald: str = ""
    bun: tuple[float, float, float] | None = None
    share: float = 1.0
    fringe_cm: float = 0.0
    odds: float = 1.0


def _towards(x: float, y: float, z: float, spread: float = 0.15) -> Comb:
    def comb(roots: np.ndarray, random: np.random.Generator) -> np.ndarray:
        return np.asarray(np.array([x, y, z]) + spread * random.normal(size=roots.shape))

    return comb


def _parted(at_cm: float) -> Comb:
    def comb(roots: np.ndarray, random: np.random.Generator) -> np.ndarray:
        side = np.tanh((roots[:, 0] - at_cm) / 0.4)
        aim = np.stack([side, np.full_like(side, -0.4), np.full_like(side, -0.35)], -1)
        return np.asarray(aim + 0.12 * random.normal(size=roots.shape))

    return comb


def _forward(roots: np.ndarray, random: np.random.Generator) -> np.ndarray:
    front = smoothstep(roots[:, 2], -10.0, -4.0)[:, None]
    aim = front * np.array([0.1, -0.15, 1.0]) + (1 - front) * np.array([0, -1.0, 0.1])
    return np.asarray(aim + 0.2 * random.normal(size=roots.shape))


_BUN, _TOP_KNOT = (0.0, 4.0, -17.0), (0.0, 16.0, -9.0)
_SHORT = Growth((3.0, 0.25), lift_cm=0.8, rise=0.7, weight=0.12, locks=350, gather=0.6, fringe=True)
_LONG = Growth(
    (26.0, 0.12), lift_cm=2.2, rise=0.8, weight=0.75, locks=160, gather=0.75, frizz=0.05, cling=0.5
)
_FRINGE = Growth(lift_cm=0.7, rise=0.3, weight=0.4, locks=50, gather=0.3, fringe=True, cling=0.3)
STYLES: dict[str, Style] = {
    "buzz": Style(
        Growth((0.5, 0.2), lift_cm=0.3, rise=1.5, weight=0, locks=0, frizz=0.2),
        _towards(0, -0.5, 0.3, 0.4), share=1.2,
    ),
    "crop": Style(_SHORT, _forward, sides=0.4, odds=1.5),
    "quiff": Style(
        replace(_SHORT, length_cm=(6.0, 0.15), lift_cm=2.6, rise=1.6, weight=0.1),
        _towards(0.2, 0.4, -0.7), sides=0.25,
    ),
    "side": Style(replace(_SHORT, length_cm=(6.5, 0.2), lift_cm=1.4), _parted(-3.0), sides=0.5,
                  odds=1.5),
    "slick": Style(
        replace(_SHORT, length_cm=(9.0, 0.15), lift_cm=0.6, rise=0.3, weight=0.2),
        _towards(0, 0.1, -1.0, 0.06), sides=0.8,
    ),
    "messy": Style(
        replace(_SHORT, length_cm=(6.0, 0.3), lift_cm=2.2, rise=1.0, frizz=0.3, locks=120,
                gather=0.8),
        _towards(0, 0, 0.1, 1.0), sides=0.7,
    ),
    "curls": Style(
        Growth((9.0, 0.2), lift_cm=3.0, rise=1.4, weight=0.25, curl_cm=(0.55, 2.6), locks=420,
               gather=0.75, frizz=0.12,
               fringe=True),
        _towards(0, -0.2, 0.1, 0.7), odds=1.3,
    ),
    "afro": Style(
        Growth((6.5, 0.12), lift_cm=4.5, rise=4.0, weight=0.0, curl_cm=(0.3, 1.1), locks=900,
               gather=0.5, frizz=0.3, fringe=True),
        _towards(0, 0.3, 0, 0.5), share=1.6,
    ),
    "bob": Style(replace(_LONG, length_cm=(15.0, 0.05)), _parted(0.5), odds=1.3),
    "fringe": Style(replace(_LONG, length_cm=(19.0, 0.1)), _parted(0.0), fringe_cm=6.0),
    "bob_fringe": Style(replace(_LONG, length_cm=(14.0, 0.05)), _parted(0.0), fringe_cm=6.5),
    "long": Style(_LONG, _parted(0.0), share=1.2, odds=1.5),
    "long_side": Style(replace(_LONG, length_cm=(30.0, 0.12), lift_cm=3.0), _parted(-3.0),
                       share=1.2),
    "waves": Style(
        replace(_LONG, length_cm=(26.0, 0.15), lift_cm=3.2, curl_cm=(0.8, 7.0), locks=130),
        _parted(2.0), share=1.2, odds=1.5,
    ),
    "ringlets": Style(
        replace(_LONG, length_cm=(22.0, 0.15), lift_cm=3.4, curl_cm=(0.7, 3.0), locks=260,
                weight=0.5),
        _parted(0.0), share=1.4,
    ),
    "bun": Style(
        Growth((17.0, 0.05), lift_cm=0.8, locks=0, tied=_BUN),
        _towards(0, 0, -1), bun=_BUN,
    ),
    "top_knot": Style(
        Growth((13.0, 0.05), lift_cm=0.8, locks=0, tied=_TOP_KNOT),
        _towards(0, 0, -1), bun=_TOP_KNOT, odds=0.7,
    ),
    "wreath": Style(replace(_SHORT, length_cm=(2.0, 0.3)), _towards(0, -1, -0.3), bald="crown",
                    share=0.8),
    "bald": Style(_SHORT, _towards(0, 0, 0), share=0.0),
}  # fmt: skip


@dataclass(frozen=True)
class Hair:
    """What grows on one person.

    Attributes:
        style: key of `STYLES`.
        color: (3,) linear RGB of the hair.
        brow_color: (3,) of brows, lashes and beard.
        receding_cm: how far the hairline has receded.
        beard: key of `BEARDS`.
        seed: of the strands.
    """

    style: str
    color: np.ndarray
    brow_color: np.ndarray
    receding_cm: float
    beard: str
    seed: int


def sample_hair(random: np.random.Generator, *, bearded: bool) -> Hair:
    """Return random hair; without `bearded` the face is smooth."""
    odds = np.array([style.odds for style in STYLES.values()])
    style = str(random.choice(list(STYLES), p=odds / odds.sum()))
    row = random.choice(len(COLORS), p=COLOR_ODDS / COLOR_ODDS.sum())
    color = COLORS[row] * np.exp(random.normal(0, 0.25)) * np.exp(random.normal(0, 0.06, 3))
    brow = 0.5 * color + 0.5 * COLORS[1]
    if random.random() < ODD_COLOR_SHARE:
        color = random.dirichlet(np.ones(3)) * random.uniform(0.1, 0.6)
    receding = max(random.normal(0, 1.2), -0.8) if style not in ("bun", "slick") else 0.0
    kind = str(random.choice(list(BEARDS))) if bearded else "none"
    return Hair(
        style, color.astype(np.float32), brow.astype(np.float32), float(receding), kind,
        int(random.integers(2**31)),
    )  # fmt: skip


def scalp_cover(rest: np.ndarray, hair: Hair) -> np.ndarray:
    """Return (...) share 0..1 of points (..., 3) at rest covered by hair roots."""
    angle = azimuth_deg(rest)
    line = np.interp(angle, *HAIRLINE.T)
    line = line + hair.receding_cm * np.interp(angle, *RECEDING.T)
    # An uneven line: short waves along it.
    line = line + 0.25 * np.sin(angle * 0.9 + hair.seed % 7) * np.sin(angle * 0.37)
    cover = smoothstep(rest[..., 1] - line, -HAIRLINE_SOFT_CM, HAIRLINE_SOFT_CM)
    if STYLES[hair.style].bald == "crown":
        cover = cover * (1 - smoothstep(rest[..., 1], 7.0, 8.5)) * smoothstep(angle, 55.0, 70.0)
    return np.asarray(cover * (STYLES[hair.style].share > 0))


def hair_of(hair: Hair, head: Surface, body: Body, down: np.ndarray) -> list[Strands]:
    """Return everything that grows on a posed head.

    Args:
        hair: what grows.
        head: the posed head model.
        body: head and clothes, which hair may not enter.
        down: (3,) direction of weight, head frame.
    """
    random = np.random.default_rng(hair.seed)
    made = [brows(head, hair.brow_color, random)]
    if STYLES[hair.style].share > 0:
        made += _scalp_hair(hair, head, body, down, random)
    if hair.beard != "none":
        made.append(beard(hair.beard, hair.brow_color, head, body, down, random))
    return made


def _scalp_hair(
    hair: Hair, head: Surface, body: Body, down: np.ndarray, random: np.random.Generator
) -> list[Strands]:
    style = STYLES[hair.style]
    density = skin_density(head, scalp_cover(head.rest, hair))
    count = int(HEAD_STRANDS * style.share)
    points, normals, rest = roots_on(head, density, count, random)
    roots = Roots(points, normals, style.comb(points, random))
    strands = np.empty((count, STEPS + 1, 3))
    for chosen, growth, comb in _groups(style, rest, random):
        part = Roots(*(values[chosen] for values in roots))
        part = part._replace(comb=part.comb + np.array(comb))
        strands[chosen] = grow(part, growth, body, down, random)
    made = [Strands(strands, radii(count, STRAND_CM, random), tinted(hair.color, count, random))]
    if style.bun is not None:
        made.append(_knot(np.array(style.bun), hair, random))
    return made


def _groups(
    style: Style, rest: np.ndarray, random: np.random.Generator
) -> list[tuple[np.ndarray, Growth, tuple[float, float, float]]]:
    """Return the strands on top, at the sides and over the forehead, as (n,) bool of all roots.

    With each goes how it grows, and what is added to its comb.
    """
    side = np.zeros(len(rest), bool)
    if style.sides != 1.0:
        side = (rest[:, 1] < 7.5 + 0.3 * random.normal(size=len(rest))) & (azimuth_deg(rest) > 48)
    front = np.zeros(len(rest), bool)
    if style.fringe_cm > 0:
        front = (azimuth_deg(rest) < 40) & (rest[:, 2] > -3.0)
    length, spread = style.growth.length_cm
    short = replace(
        style.growth,
        length_cm=(length * style.sides, spread),
        lift_cm=style.growth.lift_cm * max(style.sides, 0.3),
        rise=0.4,
    )
    over = replace(_FRINGE, length_cm=(style.fringe_cm, 0.08))
    return [
        (~side & ~front, style.growth, (0.0, 0.0, 0.0)),
        (side & ~front, short, (0.0, -1.2, -0.4)),
        (front, over, (0.0, -0.2, 6.0)),
    ]


def _knot(centre: np.ndarray, hair: Hair, random: np.random.Generator) -> Strands:
    """Return a bun: strands wound round a ball about an axis that leans."""
    count, size = 1500, random.uniform(2.6, 3.8)
    axis = unit(random.normal(size=3) * 0.3 + (0, 0.4, -1.0))
    pole = unit(random.normal(size=(count, 3)) * 0.25 + axis)
    first = unit(np.cross(pole, (0.3, 1.0, 0.2)))
    second = np.cross(pole, first)
    angle = random.uniform(0, 2 * np.pi, (count, 1)) + np.linspace(0, 3.5, STEPS + 1)
    height = random.uniform(-0.9, 0.9, (count, 1, 1))
    ring = np.cos(angle)[..., None] * first[:, None] + np.sin(angle)[..., None] * second[:, None]
    ball = np.sqrt(1 - height**2) * ring + 0.8 * height * pole[:, None]
    points = centre + size * random.uniform(0.9, 1.03, (count, 1, 1)) * ball
    return Strands(points, radii(count, STRAND_CM, random), tinted(hair.color, count, random))
