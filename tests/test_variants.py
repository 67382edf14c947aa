"""Learned stages in the pipeline: chosen by name, applied where they belong, exact untrained."""

from __future__ import annotations

import hashlib
import re
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from stage_networks import write_networks

from mggtalk_cli import pipeline, tensors, variants
from mggtalk_cli.artifacts import Artifact
from mggtalk_cli.artifacts.memory import in_memory
from mggtalk_cli.core.expression import ARKIT_INDEX
from mggtalk_cli.core.image import read_photo
from mggtalk_cli.core.rotation import matrix_from_angles
from mggtalk_cli.driver import Moment
from mggtalk_cli.errors import ArtifactError, InputError, WeightsError
from mggtalk_cli.evaluation import ablation
from mggtalk_cli.evaluation.ablation import Setup, ablation_protocol, learned_switches
from mggtalk_cli.evaluation.networks import Networks
from mggtalk_cli.evaluation.reenact import ReenactOptions, reenact_protocol
from mggtalk_cli.evaluation.replay import Recording
from mggtalk_cli.variants import ANALYTIC, STAGES, Variants, choose_variants


@pytest.fixture(scope="module")
def untrained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A checkpoint with the untrained networks of every stage."""
    return write_networks(tmp_path_factory.mktemp("networks") / "joint.safetensors")


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A checkpoint of the same with weights that change something."""
    return write_networks(tmp_path_factory.mktemp("networks") / "all.safetensors", trained=True)


@pytest.fixture(scope="module")
def plain_head(portrait_path: Path) -> Artifact:
    """The head of the example photo at 256 px, without any refiner."""
    options = pipeline.BuildOptions(size=256)
    return pipeline.build_head(read_photo(portrait_path), options, variants=ANALYTIC)


def by(file: Path, *stages: str) -> Variants:
    """Return the networks of a file for some stages, or all; the others are analytic."""
    wanted = stages or STAGES
    return choose_variants([f"{s}={file if s in wanted else 'analytic'}" for s in STAGES])


def talking(head: Artifact) -> pipeline.Drive:
    """Two frames: the photo's state, and a turned head with an open mouth."""
    source = tensors.source_state(head)
    beta = source.beta.copy()
    beta[ARKIT_INDEX["jawOpen"]] += 0.5
    turn = matrix_from_angles(8, 3, 0).astype(np.float32)
    other = replace(source, beta=beta, rotation=turn @ source.rotation)
    moments = [Moment(state, 1.0) for state in (source, other)]
    return pipeline.Drive("video", 25.0, 2, source, iter(moments), None, None)


def film(head: Artifact, chosen: Variants, **options: Any) -> list[np.ndarray]:
    made = pipeline.animate(head, talking(head), variants=chosen, **options)
    return [frame.image for frame in made.frames]


@pytest.fixture(scope="module")
def analytic_film(plain_head: Artifact) -> list[np.ndarray]:
    return film(plain_head, ANALYTIC)


# ---------------------------------------------------------------- choosing


def test_nothing_chosen_is_what_ships() -> None:
    for nothing in (None, ()):
        assert choose_variants(nothing).learned == tuple(variants.SHIPPED) == ("refiner",)
    assert choose_variants([f"{stage}=analytic" for stage in STAGES]) == ANALYTIC
    assert set(ANALYTIC.settings.values()) == {"analytic"}


def test_a_joint_file_is_read_once(untrained: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asked = []
    read = variants.read_checkpoint

    def counted(path: Path, *, sha256: str | None = None) -> Any:
        asked.append(path)
        return read(path, sha256=sha256)

    monkeypatch.setattr(variants, "read_checkpoint", counted)
    chosen = by(untrained)
    assert asked == [untrained]
    assert chosen.learned == tuple(STAGES)
    assert set(chosen.patches or {}) == {"mouth", "eyes"}
    digest = hashlib.sha256(untrained.read_bytes()).hexdigest()
    assert chosen.settings == dict.fromkeys(STAGES, f"joint.safetensors {digest}")
    fewer = chosen.without("mouth", "deform")
    assert fewer.learned == ("refiner", "decoder", "inpaint")
    assert fewer.settings["mouth"] == "analytic"


@pytest.mark.parametrize(
    ("texts", "error", "words"),
    [
        (["decodr=x"], InputError, "no stage is called 'decodr': did you mean decoder?"),
        (["zzz=x"], InputError, "use one of refiner, deform, decoder, inpaint, mouth"),
        (["decoder"], InputError, "STAGE=analytic"),
        (["decoder="], InputError, "STAGE=analytic"),
        (["deform=analytic", "deform=learned"], InputError, "deform is there twice"),
        (["mouth=learned"], WeightsError, "no weights ship for mouth.*`mggtalk train mouth`"),
        (["mouth=/no/such.safetensors"], WeightsError, "no/such.safetensors"),
    ],
)
def test_wrong_choices(texts: list[str], error: type[Exception], words: str) -> None:
    with pytest.raises(error, match=words) as raised:
        choose_variants(texts)
    assert "\n" not in str(raised.value)


def test_a_stage_that_is_not_run(untrained: Path) -> None:
    with pytest.raises(InputError, match="refiner is not run here but by `mggtalk build-head`"):
        choose_variants([f"refiner={untrained}"], stages=("deform",))


def test_a_file_of_another_stage(tmp_path: Path) -> None:
    file = write_networks(tmp_path / "deform.safetensors", "deform")
    for stage, name in (("decoder", "encoder"), ("mouth", "mouth"), ("refiner", "refiner")):
        with pytest.raises(WeightsError, match=rf"deform.safetensors holds no {name} but deform"):
            choose_variants([f"{stage}={file}"])


def test_one_patch_network_is_enough(tmp_path: Path) -> None:
    file = write_networks(tmp_path / "eyes.safetensors", "eyes")
    assert list(choose_variants([f"mouth={file}"]).patches or {}) == ["eyes"]


# ---------------------------------------------------------------- weights that ship


@pytest.fixture
def shipped(untrained: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """A program that ships weights of decoder and mouth; their SHA-256."""
    digest = hashlib.sha256(untrained.read_bytes()).hexdigest()
    monkeypatch.setattr(variants, "PACKAGE", untrained.parent)
    entry = (untrained.name, digest)
    monkeypatch.setattr(variants, "SHIPPED", {"decoder": entry, "mouth": entry})
    return digest


def test_weights_that_ship_are_the_default(shipped: str) -> None:
    assert choose_variants().learned == ("decoder", "mouth")
    assert choose_variants(stages=("deform",)) == ANALYTIC
    assert choose_variants(["mouth=analytic"]).learned == ("decoder",)
    asked = choose_variants(["mouth=learned"])
    assert asked.learned == ("decoder", "mouth")
    assert asked.optional == {"decoder"}
    assert asked.settings["mouth"].endswith(shipped)


def test_damaged_weights_are_refused(shipped: str, monkeypatch: pytest.MonkeyPatch) -> None:
    name, _ = variants.SHIPPED["mouth"]
    monkeypatch.setattr(variants, "SHIPPED", {"mouth": (name, "0" * 64)})
    with pytest.raises(WeightsError, match=f"{shipped}, expected 000"):
        choose_variants()


def without(artifact: Artifact, *names: str) -> Artifact:
    arrays = {name: array for name, array in artifact.arrays.items() if name not in names}
    meta = {key: value for key, value in artifact.meta.items() if key not in names}
    return in_memory(artifact.kind, meta, arrays, artifact.frames())


def test_what_older_artifacts_lack(
    plain_head: Artifact, shipped: str, caplog: pytest.LogCaptureFixture
) -> None:
    """A default falls back with a warning; what was asked for fails."""
    default, asked = choose_variants(), choose_variants(["decoder=learned", "mouth=learned"])
    points = pipeline.deform(plain_head, talking(plain_head))
    nameless = without(points, "sheets")
    with pytest.raises(ArtifactError, match="points without names"):
        asked.gaussians_of(nameless)
    default.gaussians_of(nameless)
    assert "the decoder stage is analytic" in caplog.text
    rendered = without(pipeline.render(points), "photo_landmarks")
    with pytest.raises(ArtifactError, match="frames without landmarks"):
        pipeline.inpaint(rendered, variants=asked)
    assert next(pipeline.inpaint(rendered, variants=default).frames).image.shape == (256, 256, 3)
    assert "the mouth stage is analytic" in caplog.text


def test_weights_that_ship_are_packed() -> None:
    project = (Path(__file__).parents[1] / "pyproject.toml").read_text("utf-8")
    packed = re.search(r"package-data]\nmggtalk_cli = \[(.*?)]", project, re.S)[1]  # type: ignore[index]
    for stage, (name, sha256) in variants.SHIPPED.items():
        assert stage in STAGES
        assert f'"{Path(name).parent.as_posix()}/*"' in packed
        assert hashlib.sha256((variants.PACKAGE / name).read_bytes()).hexdigest() == sha256


# ---------------------------------------------------------------- applied


def test_untrained_everything_is_analytic(
    plain_head: Artifact, untrained: Path, analytic_film: list[np.ndarray]
) -> None:
    chosen = by(untrained)
    assert np.array_equal(film(plain_head, chosen), analytic_film)
    plain = film(plain_head, ANALYTIC, options=pipeline.RenderOptions(densify=True))
    dense = film(plain_head, chosen, options=pipeline.RenderOptions(densify=True))
    assert np.abs(np.int16(dense) - np.int16(plain)).max() <= 1  # a rounding at most
    assert (np.array(dense) != plain).mean() < 1e-3


def test_an_untrained_refiner_builds_the_same_head(
    plain_head: Artifact, portrait_path: Path, untrained: Path, trained: Path
) -> None:
    photo, options = read_photo(portrait_path), pipeline.BuildOptions(size=256)
    same = pipeline.build_head(photo, options, variants=by(untrained, "refiner"))
    for name, array in plain_head.arrays.items():
        assert np.array_equal(same.arrays[name], array), name
    other = pipeline.build_head(photo, options, variants=by(trained, "refiner"))
    moved = np.abs(other.arrays["positions"][:1000] - plain_head.arrays["positions"][:1000])
    assert 0.01 < moved.max() < 5


def test_the_refiner_that_ships_leaves_the_face_where_it_is(
    plain_head: Artifact, example_head: Artifact
) -> None:
    """Depth is guessed off the face only: there the head becomes another one, in bounds."""
    plain, refined = plain_head.arrays, example_head.arrays
    camera, front = tensors.camera_of(plain_head), slice(0, plain["valid"][: 256 * 256].sum())
    before, after = (each["positions"][front] for each in (plain, refined))
    pixels = [camera.project(each)[:, :2] for each in (before, after)]
    np.testing.assert_allclose(*pixels, atol=0.01)  # points move along their rays
    moved = np.linalg.norm(after - before, axis=1)
    face = (np.abs(before[:, 0]) < 4) & (np.abs(before[:, 1]) < 4) & (before[:, 2] > 0)
    assert face.sum() > 2000
    assert moved[face].max() < 1e-4  # eyes and the gap of the lips, too
    assert 0.1 < np.percentile(moved, 95) < 3


def test_what_ships_does_not_correct_measured_depth(
    portrait_path: Path, trained: Path, tmp_path: Path
) -> None:
    photo, options = read_photo(portrait_path), pipeline.BuildOptions(size=128, crop="none")
    guess = pipeline.build_head(photo, options, variants=ANALYTIC)
    shape = guess.arrays["grid_shape"][0]
    known = guess.arrays["valid"][: shape.prod()].reshape(shape)
    depth = np.full(shape, np.nan, np.float32)
    front = guess.arrays["positions"][: known.sum()]
    depth[known] = tensors.camera_of(guess).project(front)[:, 2]
    np.save(tmp_path / "depth.npy", depth)
    options = replace(options, depth="file", depth_file=str(tmp_path / "depth.npy"))
    plain, default, asked = (
        pipeline.build_head(photo, options, variants=chosen).arrays["positions"]
        for chosen in (ANALYTIC, None, by(trained, "refiner"))
    )
    assert np.array_equal(default, plain)
    assert not np.array_equal(asked, plain)


@pytest.mark.parametrize("stage", ["deform", "decoder", "inpaint", "mouth"])
def test_every_stage_is_applied(
    plain_head: Artifact, trained: Path, analytic_film: list[np.ndarray], stage: str
) -> None:
    found = film(plain_head, by(trained, stage))
    changed = [(a != b).any(-1).mean() for a, b in zip(found, analytic_film, strict=True)]
    assert changed[1] > 0.002
    # The photo's own state is exact whatever a deformation network has learned.
    assert (changed[0] == 0) == (stage == "deform")


def test_other_backgrounds(plain_head: Artifact, trained: Path) -> None:
    chosen = by(trained, "inpaint", "mouth")
    through = film(plain_head, chosen, background="transparent")
    plain = film(plain_head, ANALYTIC, background="transparent")
    assert through[0].shape == (256, 256, 4)
    assert (through[0][..., :3] != plain[0][..., :3]).any()  # mouth and eyes
    assert np.array_equal(through[0][..., 3], plain[0][..., 3])
    green = film(plain_head, chosen, background="#00ff00")
    uncovered = plain[0][..., 3] == 0
    assert (green[0][uncovered] == (0, 255, 0)).all()  # nothing is a guess there


def test_networks_on_the_cpu_stay(trained: Path) -> None:
    networks = by(trained).patches or {}
    for network in networks.values():
        assert variants._on(network, "cpu") is network


def test_networks_go_to_the_device(plain_head: Artifact, trained: Path, device: str) -> None:
    chosen = by(trained)
    options = pipeline.RenderOptions(device=device)
    found = film(plain_head, chosen, options=options)
    wanted = film(plain_head, chosen, options=pipeline.RenderOptions(device="cpu"))
    assert np.abs(np.int16(found) - np.int16(wanted)).mean() < 0.1
    assert next(chosen.inpaint.parameters()).device.type == "cpu"  # type: ignore[union-attr]


# ---------------------------------------------------------------- files of Gaussians


@pytest.mark.parametrize("densify", [False, True])
def test_a_ply_of_learned_gaussians_is_their_picture(
    plain_head: Artifact, trained: Path, tmp_path: Path, densify: bool
) -> None:
    chosen, path = by(trained, "decoder"), str(tmp_path / "head.ply")
    pipeline.export_ply(plain_head, path, densify=densify, variants=chosen)
    cloud, view = pipeline.open_ply(path)
    assert cloud.sh.shape[1] == 4
    assert np.ptp(cloud.scales[:, 2]) > 0
    for yaw in (0.0, 25.0):
        options = pipeline.RenderOptions(yaw_deg=yaw, densify=densify, device="cpu")
        direct = next(pipeline.render(plain_head, options, variants=chosen).frames())["rgba"]
        again = replace(options, densify=False)
        ours = next(pipeline.render_cloud(cloud, view, again).frames())["rgba"]
        apart = np.abs(np.int16(ours) - np.int16(direct)) * (direct[..., 3:] > 8)
        assert (apart > 1).mean() < 1e-4
        assert apart.max() <= 8
        plain = next(pipeline.render(plain_head, options).frames())["rgba"]
        assert np.abs(np.int16(direct) - np.int16(plain)).max() > 20


# ---------------------------------------------------------------- evaluated


def test_reports_tell_the_weights(untrained: Path) -> None:
    chosen = by(untrained, "decoder")
    for protocol in (
        reenact_protocol(ReenactOptions(variants=chosen), Networks()),
        ablation_protocol(variants=chosen),
    ):
        assert protocol.settings["variants"] == chosen.settings
        assert protocol.settings["variants"]["decoder"].startswith("joint.safetensors ")


def test_switches_of_learned_stages(
    plain_head: Artifact, trained: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    chosen = by(trained, "deform", "decoder")
    switches = learned_switches(chosen)
    assert list(switches) == ["no_deform", "no_decoder", "no_sym_decoder"]
    assert set(switches) <= set(ablation_protocol(variants=chosen).others)
    assert not set(switches) & set(ablation_protocol().others)
    drive = talking(plain_head)
    take: Any = SimpleNamespace(recording=Recording(drive, tuple(drive.moments)))
    setup = Setup(take, plain_head, chosen)
    assert np.array_equal(list(setup.film()), film(plain_head, chosen))
    without_it = list(switches["no_decoder"].film(setup))
    assert np.array_equal(without_it, film(plain_head, by(trained, "deform")))

    monkeypatch.setattr(ablation, "played", lambda head, drive, options, used: iter([used]))
    used = {name: next(switch.film(setup)) for name, switch in switches.items()}
    assert [v.learned for v in used.values()] == [("decoder",), ("deform",), ("deform", "decoder")]
    parts = used["no_sym_decoder"].decoder.by_name()
    assert list(parts) == ["encoder", "decoder", "densifier"]


def test_without_the_refiner_the_head_is_built_again(
    plain_head: Artifact, trained: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    chosen, built = by(trained, "refiner", "deform"), []

    def build(photo: object, options: object, *, variants: Variants) -> Artifact:
        built.append(variants.learned)
        return plain_head

    monkeypatch.setattr(ablation.pipeline, "build_head", build)
    monkeypatch.setattr(ablation, "played", lambda head, drive, options, used: iter([used]))
    drive = talking(plain_head)
    take: Any = SimpleNamespace(
        photo=None, build_options=lambda: None, recording=Recording(drive, ())
    )
    setup = Setup.of(take, chosen)
    for switch in learned_switches(chosen).values():
        next(switch.film(setup))
    assert built == [("refiner", "deform"), ("deform",)]
