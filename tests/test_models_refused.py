"""What is no detector, or not whole, is refused with what was seen in it."""

import resource

import exports
import numpy as np
import pytest
from onnx import TensorProto, helper, numpy_helper

from rtsearch.errors import ModelError, NotADetectorError, UnknownModelError
from rtsearch.models import ModelSpec, import_onnx, protobuf
from rtsearch.runners.onnx import OnnxRunner


def save(model, path):
    path.write_bytes(model.SerializeToString())
    return path


def _changed(change, end="raw"):
    model = exports.ultralytics_export(end=end)
    change(model)
    return model


def _first(model, kind):
    return next(node for node in model.graph.node if node.op_type == kind)


def _hungry(model):
    """A node that makes 32 GB of a shape of one number."""
    model.graph.initializer.append(numpy_helper.from_array(np.array([1 << 33]), "shape"))
    model.graph.node.append(helper.make_node("ConstantOfShape", ["shape"], ["much"]))


def _many(model):
    model.graph.input[0].type.tensor_type.shape.dim[0].dim_value = 1 << 40


@pytest.mark.parametrize(
    ("change", "message"), [(_hungry, "cannot be run: .*ConstantOfShape"), (_many, "claims .* values")]
)
def test_a_network_that_would_fill_the_memory_is_refused(tmp_path, change, message):
    before_kb = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    with pytest.raises(ModelError, match=message):
        import_onnx(save(_changed(change), tmp_path / "a.onnx"), tmp_path, "b")
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before_kb < 1_000_000


@pytest.mark.parametrize(
    ("model", "error", "message"),
    [
        (
            exports.classifier,
            NotADetectorError,
            r"no detector was recognised in .*a\.onnx: found input images float",
        ),
        (
            lambda: _changed(lambda m: setattr(m.graph.input[0].type.tensor_type, "elem_type", 2)),
            NotADetectorError,
            "takes no picture.*input images uint8",
        ),
        (
            lambda: _changed(lambda m: m.graph.input.append(m.graph.input[0])),
            NotADetectorError,
            "takes no picture",
        ),
        (
            lambda: _changed(lambda m: m.graph.input[0].type.tensor_type.shape.dim.pop()),
            NotADetectorError,
            "takes no picture",
        ),
        (
            lambda: _changed(lambda m: setattr(_first(m, "Sub"), "op_type", "Add"), "top"),
            ModelError,
            "neither corners nor centre and size",
        ),
        (
            lambda: _changed(lambda m: setattr(_first(m, "Conv"), "op_type", "Squeak")),
            NotADetectorError,
            "no detector was recognised",
        ),
        (
            lambda: _changed(lambda m: m.graph.node[3].input.__setitem__(0, m.graph.node[8].output[0])),
            ModelError,
            "round in a circle",
        ),
    ],
)
def test_graphs_that_are_refused(tmp_path, model, error, message):
    path = save(model(), tmp_path / "a.onnx")
    with pytest.raises(error, match=message) as caught:
        import_onnx(path, tmp_path / "engines")
    assert "\n" not in str(caught.value)
    assert not (tmp_path / "engines").exists()


def test_an_opset_too_old_to_be_raised(tmp_path):
    model = exports.yolox_export()
    model.opset_import[0].version = 9
    resize = _first(model, "Resize")
    resize.op_type = "Upsample"
    del resize.input[1]
    with pytest.raises(ModelError, match="opset 9; export it again with opset 17"):
        import_onnx(save(model, tmp_path / "a.onnx"), tmp_path / "engines")


def test_a_model_whose_scores_are_none(tmp_path):
    """Weights that overflow show when the finished file is tried."""
    model = exports.ultralytics_export()
    for tensor in model.graph.initializer:
        if tensor.data_type == TensorProto.FLOAT and len(tensor.dims) == 4:
            values = np.full(tensor.dims, np.nan, np.float32)
            tensor.CopyFrom(numpy_helper.from_array(values, tensor.name))
    with pytest.raises(ModelError, match="tried on a grey picture: boxes or scores are not finite"):
        import_onnx(save(model, tmp_path / "a.onnx"), tmp_path / "engines")


def test_files_that_are_no_onnx(tmp_path):
    whole = exports.ultralytics_export().SerializeToString()
    path = tmp_path / "a.onnx"
    no_utf8 = whole.replace(b"Conv_", b"Con\xed_")
    for content in (b"", b"text, not a network", whole[: len(whole) // 2], whole[:-1], no_utf8):
        path.write_bytes(content)
        with pytest.raises(ModelError, match=r"a\.onnx is not"):
            import_onnx(path, tmp_path / "engines")
    with pytest.raises(UnknownModelError, match=r"cannot read .*none\.onnx: No such file"):
        import_onnx(tmp_path / "none.onnx", tmp_path)
    with pytest.raises(UnknownModelError, match="Is a directory"):
        import_onnx(tmp_path, tmp_path, "name")


def test_a_file_too_large_is_refused_before_it_is_read(tmp_path):
    path = tmp_path / "big.onnx"
    with path.open("wb") as file:
        file.truncate(2**31)  # sparse: takes no room on the disk
    with pytest.raises(ModelError, match="holds at most 2147483647"):
        import_onnx(path, tmp_path / "engines")


def _outside(tensor, place, **numbers):
    """Let a tensor's values lie in a file; return the values."""
    values = numpy_helper.to_array(tensor).tobytes()
    tensor.ClearField("raw_data")
    tensor.data_location = TensorProto.EXTERNAL
    for key, value in {"location": place, **numbers}.items():
        tensor.external_data.add(key=key, value=str(value))
    return values


def _largest(model):
    return max(model.graph.initializer, key=lambda tensor: len(tensor.raw_data))


def test_weights_in_a_file_beside_are_taken_in(tmp_path):
    model = exports.ultralytics_export()
    plain, _ = import_onnx(save(model, tmp_path / "plain.onnx"), tmp_path / "engines")
    content = bytearray(b"front")
    for tensor in model.graph.initializer:
        if tensor.data_type == TensorProto.FLOAT and tensor.raw_data:
            size = len(tensor.raw_data)
            content += _outside(tensor, "made.onnx.data", offset=len(content), length=size)
    (tmp_path / "made.onnx.data").write_bytes(content)
    path, _ = import_onnx(save(model, tmp_path / "made.onnx"), tmp_path / "engines")
    got, want = OnnxRunner(path).run(exports.picture()), OnnxRunner(plain).run(exports.picture())
    for name, values in want.items():
        np.testing.assert_array_equal(got[name], values)
    first = ModelSpec.read(path).source_sha256
    content[-1] ^= 1
    (tmp_path / "made.onnx.data").write_bytes(content)
    again, _ = import_onnx(tmp_path / "made.onnx", tmp_path / "engines")
    assert (
        ModelSpec.read(again).source_sha256 != first
    )  # the weights are part of what the model was made from


@pytest.mark.parametrize(
    "place", ["../secret.bin", "/etc/passwd", "..", "", "sub/beside.bin", "C:\\a", "a\0b"]
)
def test_weights_elsewhere_are_refused(tmp_path, place):
    model = exports.ultralytics_export()
    _outside(model.graph.initializer[0], place)
    with pytest.raises(ModelError, match="not in a file beside it; export it as a single file"):
        import_onnx(save(model, tmp_path / "a.onnx"), tmp_path / "engines")


@pytest.mark.parametrize(
    "numbers", [{"offset": 1}, {"offset": -4}, {"length": 4}, {"offset": "x"}, {"offset": 10**30}]
)
def test_weights_beside_that_do_not_fit_are_refused(tmp_path, numbers):
    model = exports.ultralytics_export()
    values = _outside(_largest(model), "beside.bin", **numbers)
    (tmp_path / "beside.bin").write_bytes(values)
    with pytest.raises(ModelError, match=r"beside\.bin does not hold what .* claims"):
        import_onnx(save(model, tmp_path / "a.onnx"), tmp_path / "engines")


def test_weights_beside_that_are_missing_or_links_are_refused(tmp_path):
    model = exports.ultralytics_export()
    values = _outside(_largest(model), "beside.bin")
    path = save(model, tmp_path / "a.onnx")
    with pytest.raises(ModelError, match=r"weights in beside\.bin: No such file.*put that file beside it"):
        import_onnx(path, tmp_path / "engines")
    (tmp_path / "elsewhere").write_bytes(values)
    (tmp_path / "beside.bin").symlink_to(tmp_path / "elsewhere")
    with pytest.raises(ModelError, match="is no file but a link"):
        import_onnx(path, tmp_path / "engines")


def test_weights_that_claim_more_than_a_file_can_hold(tmp_path, monkeypatch):
    """The sizes are added up before memory is taken."""
    read: list[object] = []
    monkeypatch.setattr(protobuf, "_piece", lambda *place: read.append(place))
    model = exports.ultralytics_export()
    with (tmp_path / "beside.bin").open("wb") as file:
        file.truncate(2**33)  # sparse: takes no room on the disk
    for tensor in list(model.graph.initializer)[:3]:
        _outside(tensor, "beside.bin")
        tensor.ClearField("dims")
        tensor.dims.extend([2**28 - 2**20])
        tensor.data_type = TensorProto.FLOAT
    with pytest.raises(ModelError, match="over 2147483647 bytes of weights"):
        import_onnx(save(model, tmp_path / "a.onnx"), tmp_path / "engines")
    assert read == []


def test_weights_outside_the_file_are_found_in_branches_too(tmp_path):
    model = exports.ultralytics_export()
    outside = TensorProto(name="hidden", data_location=TensorProto.EXTERNAL)
    outside.external_data.add(key="location", value="/etc/passwd")
    constant = helper.make_node("Constant", [], ["never"], value=outside)
    branch = helper.make_graph([constant], "branch", [], [])
    model.graph.node.append(
        helper.make_node("If", ["never"], ["out"], then_branch=branch, else_branch=branch)
    )
    with pytest.raises(ModelError, match="keeps weights at '/etc/passwd'"):
        import_onnx(save(model, tmp_path / "a.onnx"), tmp_path / "engines")


@pytest.mark.parametrize("sparse", [False, True])
def test_weights_that_claim_more_than_the_file_holds_are_refused(tmp_path, sparse):
    model = exports.ultralytics_export()
    claiming = TensorProto(name="vast", data_type=TensorProto.FLOAT, dims=[2**20, 2**20])
    if sparse:
        model.graph.sparse_initializer.add().values.CopyFrom(claiming)
    else:
        model.graph.initializer.append(claiming)
    with pytest.raises(ModelError, match=r"vast claims 1099511627776 values; export it again"):
        import_onnx(save(model, tmp_path / "a.onnx"), tmp_path / "engines")


@pytest.mark.parametrize("sides", [[2**62] * 10_000, [-2, -2]], ids=["many", "negative"])
def test_weights_whose_sides_cannot_be(tmp_path, sides):
    """The product of so many was an error of its own, and took minutes where they were millions."""
    model = exports.ultralytics_export()
    model.graph.initializer.append(TensorProto(name="vast", data_type=TensorProto.FLOAT, dims=sides))
    path = save(model, tmp_path / "a.onnx")
    with pytest.raises(ModelError, match="vast claims sides that no tensor has; export it again"):
        import_onnx(path, tmp_path / "engines")


@pytest.mark.parametrize("name", ["", "../up", "a/b", ".hidden", "a b", "x" * 65, "yolo26n"])
def test_names_that_cannot_be_used(tmp_path, name):
    with pytest.raises(ModelError, match="--name"):
        import_onnx(tmp_path / "a.onnx", tmp_path, name)


def test_a_model_never_overwrites_its_source_nor_is_imported_twice(tmp_path):
    path = save(exports.ultralytics_export(), tmp_path / "a.onnx")
    with pytest.raises(ModelError, match="overwritten by its own import"):
        import_onnx(path, tmp_path)
    done, _ = import_onnx(path, tmp_path, "b")
    with pytest.raises(ModelError, match="prepared model already"):
        import_onnx(done, tmp_path, "c")


def test_a_full_disk_leaves_what_was_there(tmp_path, monkeypatch):
    path = save(exports.ultralytics_export(), tmp_path / "a.onnx")
    target, _ = import_onnx(path, tmp_path / "engines")
    before = target.read_bytes()

    def full(_descriptor):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("os.fsync", full)
    with pytest.raises(ModelError, match=r"cannot write .*a\.onnx: No space left"):
        import_onnx(path, tmp_path / "engines")
    assert [p.name for p in (tmp_path / "engines").iterdir()] == ["a.onnx"]
    assert target.read_bytes() == before
