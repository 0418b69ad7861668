"""kernels.cu: compiles for every GPU that is spoken of, and computes what the stages compute on the CPU."""

from __future__ import annotations

import ctypes
import logging
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import cpu_kernels
import cv2
import numpy as np
import pytest
from fake_device import FakeDevice, FakeEngine
from hypothesis import example, given
from hypothesis import strategies as st

from rtsearch._util.metrics import Meter
from rtsearch.config import DetectSettings
from rtsearch.errors import RunnerError
from rtsearch.gpu import KERNELS, GpuBackend, compiled, kernels, plan
from rtsearch.models.spec import ModelSpec, Tap
from rtsearch.perception.backend import CpuBackend
from rtsearch.perception.descriptor import Describer
from rtsearch.perception.detector import Detector, letterbox
from rtsearch.search.projection import Projection

pytestmark = pytest.mark.skipif(not cpu_kernels.COMPILER, reason="no C++ compiler (g++)")

NAN, INF = np.float32("nan"), np.float32("inf")


@pytest.fixture(scope="module", autouse=True)
def _no_word_about_taps() -> Iterator[None]:
    """Networks without taps are among the cases; other tests want to hear of them."""
    log = logging.getLogger("rtsearch.perception.descriptor")
    before = log.level
    log.setLevel(logging.ERROR)
    yield
    log.setLevel(before)


@pytest.fixture(scope="module")
def library(tmp_path_factory):
    return cpu_kernels.build(tmp_path_factory)


@pytest.fixture(scope="module")
def on_cpu(library):
    return cpu_kernels.functions(library)


# ------------------------------------------------------------------------------------------- compiling


@pytest.mark.parametrize("capability", [(7, 5), (8, 0), (8, 6), (8, 9), (9, 0), (12, 0)])
def test_compiles_for(capability, tmp_path):
    pytest.importorskip("cuda.bindings.nvrtc", reason="extra gpu is not installed")
    code = compiled(capability, tmp_path)
    assert code.startswith(b"\x7fELF")
    assert all(f".text.{name}".encode() in code for name in KERNELS)


def test_a_gpu_newer_than_the_compiler_gets_code_that_its_driver_translates(tmp_path):
    pytest.importorskip("cuda.bindings.nvrtc", reason="extra gpu is not installed")
    code = compiled((99, 0), tmp_path)
    assert b".target sm_" in code
    assert code.endswith(b"\0")
    assert all(f".entry {name}(".encode() in code for name in KERNELS)


def test_a_gpu_older_than_the_compiler_is_refused(tmp_path):
    pytest.importorskip("cuda.bindings.nvrtc", reason="extra gpu is not installed")
    with pytest.raises(RunnerError, match=r"too old: its compute capability is 5\.2, needed is 7\.5"):
        compiled((5, 2), tmp_path)


def test_what_was_compiled_is_kept_and_a_damaged_file_made_again(tmp_path, monkeypatch):
    pytest.importorskip("cuda.bindings.nvrtc", reason="extra gpu is not installed")
    runs = []
    compile_now = kernels._compile
    monkeypatch.setattr(kernels, "_compile", lambda *given: runs.append(given) or compile_now(*given))
    code = compiled((8, 6), tmp_path)
    assert compiled((8, 6), tmp_path) == code
    assert len(runs) == 1
    (kept,) = tmp_path.iterdir()
    kept.write_bytes(kept.read_bytes()[:-1])
    assert compiled((8, 6), tmp_path) == code
    assert len(runs) == 2
    monkeypatch.setattr(kernels, "source", lambda: b"// another\n")
    compiled((8, 6), tmp_path)
    assert len(runs) == 3


def test_a_cache_that_cannot_be_written_costs_time_only(tmp_path):
    pytest.importorskip("cuda.bindings.nvrtc", reason="extra gpu is not installed")
    (tmp_path / "file").write_text("no folder")
    assert compiled((8, 6), tmp_path / "file" / "folder")


def test_a_mistake_in_the_source_is_named(tmp_path, monkeypatch):
    pytest.importorskip("cuda.bindings.nvrtc", reason="extra gpu is not installed")
    monkeypatch.setattr(kernels, "source", lambda: b"__global__ void nothing() { missing(); }")
    with pytest.raises(RunnerError, match="missing") as caught:
        compiled((8, 6), tmp_path)
    assert "\n" not in str(caught.value)


def test_structures_have_the_same_size_on_both_sides(library):
    assert library.size_of_Plan() == plan.PLAN.itemsize
    assert library.size_of_Map() == plan._MAP.itemsize
    assert library.size_of_Picture() == plan.PICTURE.itemsize
    assert library.size_of_Upload() == plan.UPLOAD.itemsize + plan.PICTURE.itemsize
    row = layout_of(given_outputs(classes=3), spec_of(classes=3)).row
    assert library.size_of_Row() == row.itemsize - row["vector"].itemsize


def test_half_precision_of_the_stand_in_is_that_of_numpy(library):
    library.half_to_float.restype, library.half_to_float.argtypes = ctypes.c_float, [ctypes.c_ushort]
    library.float_to_half.restype, library.float_to_half.argtypes = ctypes.c_ushort, [ctypes.c_float]
    bits = np.arange(0, 65536, 7, dtype=np.uint16)
    halves = bits.view(np.float16).astype(np.float32)
    assert np.array_equal([library.half_to_float(int(b)) for b in bits], halves, equal_nan=True)
    rng = np.random.default_rng(0)
    values = np.r_[
        rng.standard_normal(2000) * 10.0 ** rng.integers(-9, 6, 2000), 0, -0.0, 65519, 65520, 2.0**-25
    ]
    with np.errstate(over="ignore"):
        wanted = values.astype(np.float32).astype(np.float16).view(np.uint16)
    assert [library.float_to_half(float(np.float32(v))) for v in values] == wanted.tolist()


MISTAKES = {
    "none": "__syncthreads();",
    "a barrier that some threads miss": "if (threadIdx.x < 7) __syncthreads();",
    "a shuffle that some lanes miss": "if (threadIdx.x != 3) __shfl_xor_sync(0xffffffffu, 1, 16);",
    "a shuffle of half a warp": "__shfl_xor_sync(0xffffu, 1, 8);",
}


@pytest.mark.parametrize("mistake", MISTAKES)
def test_the_stand_in_refuses_what_goes_wrong_on_a_gpu(tmp_path, mistake):
    source = tmp_path / "mistake.cpp"
    source.write_text(
        f"""#include "cuda_shim.h"
        void kernel() {{ {MISTAKES[mistake]} }}
        const unsigned one[3] = {{1, 1, 1}}, warp[3] = {{32, 1, 1}};
        int main() {{ shim::launch(kernel, one, warp, nullptr); }}
        """
    )
    command = [
        cpu_kernels.COMPILER,
        "-std=c++20",
        f"-I{Path(__file__).parent}",
        str(source),
        "-o",
        str(tmp_path / "it"),
    ]
    subprocess.run(command, check=True)
    done = subprocess.run([tmp_path / "it"], check=False, capture_output=True, text=True)
    assert (done.returncode == 0) == (mistake == "none")
    assert ("kernel on the CPU:" in done.stderr) == (mistake != "none")


# ---------------------------------------------------------------------------- a network that is made up

CELLS = ((4, 8), (8, 4), (16, 2))  # channels, cells a side of the taps


def spec_of(*, classes=5, taps=CELLS, needs_nms=False, order="rgb", scale=1 / 255, pad=114, stretch=False):
    return ModelSpec(
        name="made up",
        family="none",
        licence="CC0-1.0",
        licence_url="",
        source_sha256="",
        recipe=1,
        classes=tuple(f"class {i}" for i in range(classes)),
        needs_nms=needs_nms,
        pixel_order=order,
        pixel_scale=scale,
        pad_value=pad,
        input_wh=(64, 64),
        flexible=False,
        multiple=32,
        batch=None,
        taps=tuple(Tap(f"tap{i}", f"neck{i}", 64 // cells, n) for i, (n, cells) in enumerate(taps)),
        stretch=stretch,
    )


def given_outputs(seed=0, *, rows=40, classes=5, taps=CELLS, batch=1):
    """Random outputs by name, for an input of 64 px: boxes in and around it, mostly low scores."""
    rng = np.random.default_rng(seed)
    middle, side = rng.uniform(-5, 70, (batch, rows, 2)), rng.exponential(15, (batch, rows, 2))
    outputs = {
        "boxes": np.concatenate([middle - side / 2, middle + side / 2], axis=2),
        "scores": rng.uniform(0, 1, (batch, rows, classes)) ** 8,
    }
    for i, (channels, cells) in enumerate(taps):
        outputs[f"tap{i}"] = rng.standard_normal((batch, channels, cells, cells))
    return {name: array.astype(np.float32) for name, array in outputs.items()}


class Given:
    """A runner that gives the same outputs whatever it sees, and keeps what it saw."""

    def __init__(self, outputs):
        self.outputs, self.planes = outputs, None

    def run(self, images):
        self.planes = images.copy()
        return {name: array.astype(np.float32) for name, array in self.outputs.items()}

    def close(self):
        pass


def backend_of(on_cpu, outputs, spec, *, wh=(64, 64), planes=np.float32):
    device, runner = FakeDevice(on_cpu), Given(outputs)
    shape = (len(outputs["boxes"]), 3, wh[1], wh[0])
    there = {name: (array.shape, array.dtype) for name, array in outputs.items()}
    engine = FakeEngine(device, {"images": (shape, planes)}, there, runner.run)
    see = runner.run
    # In the precision that they were given in.
    engine.run = runner.run = lambda images: see(images) and outputs
    return GpuBackend(engine, device, spec, code=b"any"), runner


def layout_of(outputs, spec):
    from rtsearch.gpu.backend import _network

    there = {name: (array.shape, array.dtype) for name, array in outputs.items()}
    device = FakeDevice()
    engine = FakeEngine(device, {"images": ((1, 3, 64, 64), np.float32)}, there, None)
    return _network(engine, spec)


def picture(height=48, width=64, seed=0):
    """Smooth colours and some noise."""
    rng = np.random.default_rng(seed)
    small = rng.integers(0, 256, (4, 4, 3), np.uint8)
    smooth = cv2.resize(small, (width, height), interpolation=cv2.INTER_CUBIC).astype(int)
    return np.clip(smooth + rng.integers(-9, 10, (height, width, 3)), 0, 255).astype(np.uint8)


def assert_same(on_cpu, outputs, spec, settings, image=None):
    """The two backends agree; returns what they saw."""
    image = picture() if image is None else image
    steps = CpuBackend(Detector(Given(outputs), spec, (64, 64)), Describer(spec))
    backend, _ = backend_of(on_cpu, outputs, spec)
    wanted, got = (each.infer([image], settings, Meter())[0] for each in (steps, backend))
    backend.close()
    assert backend.dim == steps.dim
    assert np.array_equal(got.label, wanted.label)
    assert np.allclose(got.xyxy, wanted.xyxy, rtol=1e-6, atol=1e-4)
    assert np.array_equal(got.score, wanted.score)
    # Corners of boxes are rounded by 4e-6 px, of which colours of a box of one pixel are made up.
    assert np.allclose(got.vector, wanted.vector, rtol=1e-5, atol=1e-5)
    assert got.vector.shape == (len(got), backend.dim)
    return got


# -------------------------------------------------------------------------------------------- letterbox


@pytest.mark.parametrize(
    ("height", "width"),
    [
        (1, 1),
        (64, 64),
        (128, 128),
        (64, 128),
        (48, 64),
        (47, 63),
        (33, 500),
        (4, 4000),
        (4000, 4),
        (7, 5),
        (480, 640),
    ],
)
@pytest.mark.parametrize("precision", [np.float32, np.float16])
def test_letterbox(on_cpu, height, width, precision):
    order, scale = ("rgb", 1 / 255) if precision == np.float32 else ("bgr", 1.0)
    spec = spec_of(order=order, scale=scale)
    image = picture(height, width)
    other = Given(given_outputs())
    steps = Detector(other, spec, (64, 64))
    backend, runner = backend_of(on_cpu, given_outputs(), spec, planes=precision)
    steps.detect([image], DetectSettings())
    backend.infer([image], DetectSettings(), Meter())
    difference = np.abs(runner.planes - other.planes) / scale
    assert runner.planes.dtype == np.float32
    assert difference.max() < 1.01
    assert (difference > 0.01).mean() < 0.02  # nearly all of them are equal


def test_letterbox_of_another_shape_than_square(on_cpu):
    spec = spec_of()
    backend, runner = backend_of(on_cpu, given_outputs(), spec, wh=(96, 64))
    for image in (picture(50, 200), picture(200, 50)):
        backend.infer([image], DetectSettings(), Meter())
        wanted = letterbox(image, (96, 64), spec.pad_value)[:, :, ::-1].transpose(2, 0, 1)
        assert np.abs(runner.planes[0] * 255 - wanted).max() < 1.01


def test_stretched_pictures(on_cpu):
    spec = spec_of(stretch=True)
    image = picture(30, 200)
    got = assert_same(on_cpu, given_outputs(), spec, DetectSettings(min_px=6, whole_image=True), image)
    assert np.allclose(got.xyxy[0], [0, 0, 200, 30])
    backend, runner = backend_of(on_cpu, given_outputs(), spec)
    backend.infer([image], DetectSettings(), Meter())
    wanted = letterbox(image, (64, 64), 0, stretch=True)[:, :, ::-1].transpose(2, 0, 1)
    assert np.abs(runner.planes[0] * 255 - wanted).max() < 1.01


# ------------------------------------------------------------------------------------ objects, vectors


def changed(outputs, **arrays):
    """Other values in places of the outputs: name=(place, value)."""
    outputs = {name: array.copy() for name, array in outputs.items()}
    for name, (where, value) in arrays.items():
        outputs[name][where] = value
    return outputs


MANY = given_outputs(1, rows=900)
MANY["scores"] = np.sqrt(MANY["scores"])
TIES = changed(given_outputs(2, rows=400), scores=(np.s_[:], np.float32(0.5)))


def floats(values) -> np.ndarray:
    return np.array(values, np.float32)


CASES: dict[str, tuple[dict[str, Any], dict[str, Any]]] = {
    "nothing above the threshold": (changed(given_outputs(), scores=(np.s_[:], 0)), {}),
    "a few": (given_outputs(), {}),
    "all": (given_outputs(), {"threshold": 0, "max_overlap": 1}),
    "no score at all, no threshold": (changed(given_outputs(), scores=(np.s_[:], 0)), {"threshold": 0}),
    "more than enter suppression": (MANY, {"threshold": 0.05, "max_overlap": 0.9, "max_objects": 300}),
    "one object": (MANY, {"max_objects": 1}),
    "all scores alike": (TIES, {"max_overlap": 0.3}),
    "two classes alike": (changed(given_outputs(), scores=(np.s_[:, ::3, 1:3], np.float32(0.75))), {}),
    "not even touching": (MANY, {"max_overlap": 0, "max_objects": 300}),
    "covered by half": (MANY, {"overlap": "covered", "max_overlap": 0.5, "max_objects": 300}),
    "covered by nothing": (MANY, {"overlap": "covered", "max_overlap": 0, "max_objects": 300}),
    "two classes of five": (MANY, {"classes": ("class 1", "class 4"), "max_objects": 300}),
    "large ones": (MANY, {"min_px": 20, "max_overlap": 1, "max_objects": 300}),
    "none so large": (MANY, {"min_px": 4000}),
    "whole image": (given_outputs(), {"whole_image": True}),
    "whole image alone": (given_outputs(), {"whole_image": True, "threshold": 1}),
    "whole image and one": (MANY, {"whole_image": True, "max_objects": 1}),
    "NaN among scores": (changed(given_outputs(), scores=(np.s_[0, ::2, 1], NAN)), {"threshold": 0.1}),
    "only NaN": (changed(given_outputs(), scores=(np.s_[:], NAN)), {"threshold": 0, "whole_image": True}),
    "scores beyond one": (changed(given_outputs(), scores=(np.s_[0, 3:6, 2], [2, INF, 1.5])), {}),
    "boxes that are none": (
        changed(
            MANY,
            boxes=(
                np.s_[0, :90],
                np.tile(floats([[NAN, 0, 9, 9], [0, 0, INF, 9], [9, 9, 3, 3]]), (30, 1)),
            ),
        ),
        {"threshold": 0.1},
    ),
    "all outside": (
        changed(given_outputs(), boxes=(np.s_[:], floats([100, 100, 200, 200]))),
        {},
    ),
    "larger than the picture": (
        changed(given_outputs(), boxes=(np.s_[:, ::2], floats([-9e9, -9, 9e9, 99]))),
        {},
    ),
    "one pixel": (
        changed(
            changed(
                given_outputs(),
                boxes=(np.s_[0, :2], floats([[7, 9, 8, 10], [7, 9, 7.999, 10]])),
            ),
            scores=(np.s_[0, :2, 3], 0.9),
        ),
        {},
    ),
    "NaN in a map": (changed(given_outputs(), tap1=(np.s_[0, 2], NAN)), {"threshold": 0.1}),
    "infinity in a map": (changed(given_outputs(), tap0=(np.s_[0, 1, 3:], -INF)), {"threshold": 0.1}),
    "a map of zeros": (changed(given_outputs(), tap2=(np.s_[:], 0)), {"threshold": 0.1}),
    "huge numbers in a map": (changed(given_outputs(), tap2=(np.s_[:, ::2], 1e30)), {"threshold": 0.1}),
}


@pytest.mark.parametrize("needs_nms", [False, True])
@pytest.mark.parametrize("case", CASES)
@pytest.mark.filterwarnings("ignore:invalid value:RuntimeWarning")  # numpy's, of the boxes that are none
def test_objects_and_vectors(on_cpu, case, needs_nms):
    outputs, settings = CASES[case]
    got = assert_same(on_cpu, outputs, spec_of(needs_nms=needs_nms), DetectSettings(**settings))
    if case.startswith(("nothing", "all outside", "none")):
        assert len(got) == 0
    elif case.startswith("whole"):
        assert got.label[0] == -1


def test_that_the_cases_have_objects(on_cpu):
    seen = {
        case: len(assert_same(on_cpu, *CASES[case][:1], spec_of(), DetectSettings(**CASES[case][1])))
        for case in (
            "a few",
            "more than enter suppression",
            "all scores alike",
            "one pixel",
            "two classes of five",
            "large ones",
        )
    }
    assert seen["a few"] > 3
    assert seen["more than enter suppression"] > 50
    assert seen["all scores alike"] > 5
    assert seen["two classes of five"] > 5
    assert 5 < seen["large ones"] < 300


@example(
    seed=2827,
    threshold=0,
    rule="covered",
    shares=(0.0, 0.0),
    least=0,
    wanted=(0,),
    most=6,
    whole=False,
    needs_nms=False,
)  # a box of one pixel
@given(
    seed=st.integers(0, 10**6),
    threshold=st.sampled_from([0, 0.05, 0.3]),
    rule=st.sampled_from(["iou", "covered"]),
    shares=st.tuples(st.floats(0, 1), st.floats(0, 1)),
    least=st.integers(0, 40),
    wanted=st.frozensets(st.integers(0, 8), max_size=4),
    most=st.integers(1, 60),
    whole=st.booleans(),
    needs_nms=st.booleans(),
)
def test_objects_and_vectors_of_random_outputs(
    on_cpu, seed, threshold, rule, shares, least, wanted, most, whole, needs_nms
):
    rng = np.random.default_rng(seed)
    outputs = given_outputs(seed, rows=int(rng.integers(1, 120)), classes=int(rng.integers(1, 9)))
    settings = DetectSettings(
        threshold=threshold,
        overlap=rule,
        max_overlap=shares[0],
        nms_iou=shares[1],
        classes=tuple(f"class {i}" for i in wanted if i < outputs["scores"].shape[2]),
        min_px=least,
        max_objects=most,
        whole_image=whole,
    )
    image = picture(int(rng.integers(1, 90)), int(rng.integers(1, 90)), seed)
    spec = spec_of(classes=outputs["scores"].shape[2], needs_nms=needs_nms)
    assert_same(on_cpu, outputs, spec, settings, image)


@pytest.mark.parametrize("size", [(4, 4000), (4000, 4), (1, 1), (2, 2), (300, 500)])
def test_pictures_of_odd_sizes(on_cpu, size):
    settings = DetectSettings(threshold=0.01, whole_image=True)
    got = assert_same(on_cpu, given_outputs(rows=200), spec_of(), settings, picture(*size))
    assert len(got) > 0


@pytest.mark.parametrize("colour", [(0, 0, 0), (255, 255, 255), (255, 0, 0), (0, 255, 0), (0, 0, 255)])
def test_plain_colours(on_cpu, colour):
    image = np.full((50, 60, 3), colour, np.uint8)
    assert_same(on_cpu, given_outputs(), spec_of(), DetectSettings(whole_image=True), image)


@pytest.mark.parametrize(
    "taps",
    [(), ((1, 1),), ((300, 3),), ((3, 64),), ((8, 32),) * 8],
    ids=["none", "1 cell", "300", "64 cells", "8"],
)
def test_maps_of_any_number_and_size(on_cpu, taps):
    outputs = given_outputs(5, taps=taps, classes=91)
    assert_same(on_cpu, outputs, spec_of(taps=taps, classes=91), DetectSettings(threshold=0.1))


def test_maps_in_half_precision(on_cpu):
    outputs = given_outputs(6)
    outputs |= {name: outputs[name].astype(np.float16) for name in ("tap0", "tap2")}
    assert_same(on_cpu, outputs, spec_of(), DetectSettings(threshold=0.1))


def test_boxes_and_scores_in_half_precision(on_cpu):
    outputs = {name: array.astype(np.float16) for name, array in given_outputs(7).items()}
    assert_same(on_cpu, outputs, spec_of(), DetectSettings(threshold=0.1))


@pytest.mark.parametrize(
    "case", ["a few", "whole image", "all", "scores beyond one", "no score at all, no threshold"]
)
@pytest.mark.parametrize("precision", [np.float32, np.float16])
def test_classes_of_unit_length(on_cpu, case, precision):
    outputs, values = CASES[case]
    outputs = outputs | {"scores": outputs["scores"].astype(precision)}
    settings, spec = DetectSettings(**values), spec_of()
    backend, _ = backend_of(on_cpu, outputs, spec)
    columns = np.arange(backend.dim - 5, backend.dim)
    as_it_is = Projection(np.eye(backend.dim, dtype=np.float32), np.zeros(backend.dim, np.float32), columns)
    steps = CpuBackend(Detector(Given(outputs), spec, (64, 64)), Describer(spec))
    wanted, got = (each.infer([picture()], settings, Meter(), as_it_is)[0] for each in (steps, backend))
    np.testing.assert_allclose(got.vector, wanted.vector, rtol=1e-5, atol=1e-5)
    length = np.linalg.norm(got.vector[:, columns], axis=1)
    np.testing.assert_allclose(length, got.label >= 0, rtol=1e-5)
    assert len(length) > 0


def test_the_same_picture_gives_the_same_bits(on_cpu):
    backend, _ = backend_of(on_cpu, given_outputs(), spec_of())
    first, again = (backend.infer([picture()], DetectSettings(threshold=0.1), Meter())[0] for _ in range(2))
    assert np.array_equal(first.vector, again.vector)
