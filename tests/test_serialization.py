"""Saving and loading: files go from and to PyTorch, and damaged or malicious ones are refused."""

from __future__ import annotations

import collections
import copy
import dataclasses
import enum
import io
import mmap
import os
import pathlib
import pickle
import stat
import struct
import sys
import zipfile
from pickle import UnpicklingError
from typing import Any

import ml_dtypes
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import flambeau as fl
from flambeau import serialization
from flambeau.device import meta
from flambeau.layout import Size, of
from flambeau.nn.parameter import Parameter
from flambeau.serialization.archive import write_archive
from flambeau.tensor import from_numpy, make, numpy_view, view

torch = pytest.importorskip("torch")

DTYPES = [
    "bool", "uint8", "int8", "int16", "int32", "int64", "uint16", "uint32", "uint64", "float16", "float32", "float64",
    "bfloat16", "complex64", "complex128", "float8_e4m3fn", "float8_e5m2",
]  # fmt: skip


def values(dtype: str, shape: tuple[int, ...] = (3, 4)) -> np.ndarray:
    kind = getattr(fl, dtype).numpy
    return np.asarray(np.random.default_rng(1).random(shape) * 4).astype(kind)


def ours(dtype: str = "float32", shape: tuple[int, ...] = (3, 4)) -> Any:
    return from_numpy(values(dtype, shape))


def raw(tensor: Any) -> bytes:
    """The elements of a tensor of either package, as bytes in order."""
    if isinstance(tensor, torch.Tensor):
        tensor = tensor.detach().contiguous()
        return (
            bytes(tensor.view(torch.uint8).numpy())
            if tensor.numel() and tensor.ndim
            else (bytes(tensor.reshape(-1).view(torch.uint8).numpy()) if tensor.numel() else b"")
        )
    return np.ascontiguousarray(numpy_view(tensor)).tobytes()


def saved(obj: Any, **options: Any) -> io.BytesIO:
    buffer = io.BytesIO()
    serialization.save(obj, buffer, **options)
    buffer.seek(0)
    return buffer


def torch_saved(obj: Any, **options: Any) -> io.BytesIO:
    buffer = io.BytesIO()
    torch.save(obj, buffer, **options)
    buffer.seek(0)
    return buffer


# -- from and to PyTorch ---------------------------------------------------------------------------
@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("shape", [(3, 4), (), (0, 2), (5,)])
def test_every_type_goes_both_ways(dtype: str, shape: tuple[int, ...]) -> None:
    mine = ours(dtype, shape)
    theirs = torch.load(saved(mine), weights_only=True)
    assert str(theirs.dtype) == f"torch.{dtype}" and tuple(theirs.shape) == shape and raw(theirs) == raw(mine)
    back = serialization.load(torch_saved(theirs))
    assert back.dtype is mine.dtype and tuple(back.shape) == shape and raw(back) == raw(mine)
    again = serialization.load(saved(mine))
    assert again.dtype is mine.dtype and raw(again) == raw(mine)


@pytest.mark.parametrize("legacy", [False, True])
def test_views_share_their_storage(legacy: bool) -> None:
    base = ours(shape=(4, 6))
    crossed = view(base, (6, 3), (1, 6), 6)
    options = {"_use_new_zipfile_serialization": not legacy}
    for loaded in (
        serialization.load(saved({"a": base, "b": crossed}, **options)),
        torch.load(saved({"a": base, "b": crossed}, **options)),
        serialization.load(torch_saved(torch.load(saved({"a": base, "b": crossed})), **options)),
    ):
        assert loaded["b"].stride() == (1, 6) and loaded["b"].storage_offset() == 6
        assert loaded["b"].tolist() == crossed.tolist()
        array = (numpy_view if isinstance(loaded["a"], fl.Tensor) else np.asarray)(loaded["a"])
        array[1, 2] = 77.0
        assert loaded["b"].tolist()[2][0] == 77.0


def test_one_storage_seen_as_two_types() -> None:
    """PyTorch cannot write this; what is written here it can read."""
    words = ours("int32", (4,))
    halves = make(words._storage, of(fl.int16, words.device, (8,), (1,)))
    for loaded in (serialization.load(saved([words, halves])), torch.load(saved([words, halves]))):
        assert loaded[0].tolist() == words.tolist()
        assert raw(loaded[1]) == raw(words)


def test_plain_objects_go_both_ways() -> None:
    obj = {
        "numbers": [1, -5, 2**40, -(2**70), 1.5, float("inf"), True, None, 3 + 4j],
        "text": "Ünïcode \u2603",
        "bytes": b"\x00\xff",
        "nested": (1, [2, {"k": (3,)}], {4, 5}),
        "ordered": collections.OrderedDict([("b", 1), ("a", 2)]),
        "counter": collections.Counter("aab"),
        7: bytearray(b"xyz"),
    }
    assert torch.load(saved(obj), weights_only=True) == obj
    assert serialization.load(torch_saved(obj)) == obj
    for protocol in range(2, 6):
        assert serialization.load(saved(obj, pickle_protocol=protocol)) == obj


def test_objects_of_pytorch() -> None:
    mine = {"size": Size((2, 3)), "dtype": fl.bfloat16, "device": fl.device("cpu"), "cuda": fl.device("cuda", 1)}
    theirs = torch.load(saved(mine), weights_only=True)
    assert theirs["size"] == torch.Size([2, 3]) and type(theirs["size"]) is torch.Size
    assert theirs["dtype"] is torch.bfloat16
    assert theirs["device"] == torch.device("cpu") and theirs["cuda"] == torch.device("cuda:1")
    back = serialization.load(torch_saved(theirs))
    assert type(back["size"]) is Size and back == mine


def test_requires_grad_is_kept() -> None:
    tensor = ours().requires_grad_()
    assert torch.load(saved(tensor)).requires_grad
    assert serialization.load(saved(tensor)).requires_grad
    assert not serialization.load(saved(ours())).requires_grad


def test_parameters_and_state_dicts() -> None:
    plain, marked = Parameter(ours()), Parameter(ours("float64"), requires_grad=False)
    marked.note = "kept"
    state = collections.OrderedDict(a=plain, b=marked)
    state._metadata = {"": {"version": 2}}
    theirs = torch.load(saved(state), weights_only=True)
    assert type(theirs["a"]) is torch.nn.Parameter and theirs["a"].requires_grad and not theirs["b"].requires_grad
    assert theirs["b"].note == "kept" and theirs._metadata == {"": {"version": 2}}
    back = serialization.load(torch_saved(theirs))
    assert type(back["a"]) is Parameter and back["a"].requires_grad and raw(back["a"]) == raw(plain)
    assert back["b"].note == "kept" and back._metadata == state._metadata


def test_state_of_a_pytorch_model_and_optimizer() -> None:
    model = torch.nn.Sequential(torch.nn.Linear(3, 4), torch.nn.BatchNorm1d(4))
    optimizer = torch.optim.AdamW(model.parameters())
    model(torch.ones(2, 3)).sum().backward()
    optimizer.step()
    loaded = serialization.load(torch_saved({"model": model.state_dict(), "optimizer": optimizer.state_dict()}))
    for name, tensor in model.state_dict().items():
        assert raw(loaded["model"][name]) == raw(tensor)
    assert loaded["optimizer"]["param_groups"] == optimizer.state_dict()["param_groups"]
    assert raw(loaded["optimizer"]["state"][0]["exp_avg"]) == raw(optimizer.state_dict()["state"][0]["exp_avg"])


def test_numpy_values() -> None:
    obj = {
        "scalar": np.float32(1.5),
        "long": np.int64(-3),
        "array": np.arange(6, dtype=np.int16).reshape(2, 3),
        "fortran": np.asfortranarray(np.arange(6.0).reshape(2, 3)),
        "text": np.array(["ab", "c"]),
        "bfloat16": np.ones(2, ml_dtypes.bfloat16),
    }
    for loaded in (serialization.load(saved(obj)), serialization.load(torch_saved(obj))):
        for key, value in obj.items():
            assert loaded[key].dtype == value.dtype, key
            np.testing.assert_array_equal(loaded[key], value)
    for protocol in (2, 4, 5):
        np.testing.assert_array_equal(serialization.load(saved(obj, pickle_protocol=protocol))["array"], obj["array"])
    with pytest.raises(UnpicklingError, match=r"plain|object"):
        serialization.load(torch_saved(np.array([object], dtype=object)))


def test_attributes_of_a_tensor() -> None:
    tensor = ours()
    tensor.note = [1, 2]
    assert torch.load(saved(tensor)).note == [1, 2]
    assert serialization.load(saved(tensor)).note == [1, 2]


@pytest.mark.filterwarnings("ignore:TypedStorage is deprecated")
def test_storages_go_both_ways() -> None:
    tensor = ours("int16", (4,))
    for back in (
        torch.load(saved([tensor.storage(), tensor, tensor.untyped_storage()])),
        serialization.load(saved([tensor.storage(), tensor, tensor.untyped_storage()])),
        serialization.load(torch_saved([torch.tensor(tensor.tolist(), dtype=torch.int16).storage()] * 3)),
    ):
        assert back[0].tolist() == back[1].tolist() == tensor.tolist()
        assert back[2].nbytes() == 8 and back[2].data_ptr() == back[0].data_ptr()
    theirs = torch.tensor(tensor.tolist(), dtype=torch.int16)
    assert bytes(serialization.load(torch_saved(theirs.untyped_storage())).tolist()) == raw(tensor)


def test_layouts() -> None:
    assert serialization.load(torch_saved(torch.strided)) is fl.strided
    assert torch.load(saved(fl.strided)) is torch.strided


def test_meta_tensors() -> None:
    tensor = torch.empty_strided((2, 3), (1, 2), device="meta", dtype=torch.float16)
    loaded = serialization.load(torch_saved(tensor))
    assert loaded.device is meta and loaded.stride() == (1, 2) and loaded.dtype is fl.float16
    back = torch.load(saved(loaded))
    assert back.device.type == "meta" and back.stride() == (1, 2)


def test_the_archive_is_laid_out_as_pytorchs(tmp_path: pathlib.Path) -> None:
    obj = [ours(), ours("uint8", (1,)), ours("float64")]
    serialization.save(obj, tmp_path / "a.b.pt")
    torch.save([torch.ones(3, 4), torch.ones(1, dtype=torch.uint8), torch.ones(2)], tmp_path / "theirs.pt")
    mine, theirs = zipfile.ZipFile(tmp_path / "a.b.pt"), zipfile.ZipFile(tmp_path / "theirs.pt")
    names = [name.split("/", 1)[1] for name in mine.namelist()]
    assert names == [name.split("/", 1)[1] for name in theirs.namelist()]
    assert mine.testzip() is None
    assert mine.namelist()[0] == "a.b/data.pkl"
    data = (tmp_path / "a.b.pt").read_bytes()
    for info in mine.infolist():
        name_length, extra_length = struct.unpack_from("<HH", data, info.header_offset + 26)
        assert (info.header_offset + 30 + name_length + extra_length) % 64 == 0
    for mark in (".format_version", ".storage_alignment", "byteorder", "version"):
        assert mine.read(f"a.b/{mark}") == theirs.read(f"theirs/{mark}")
    assert len(mine.read("a.b/.data/serialization_id")) == 40


# -- how files are read ----------------------------------------------------------------------------
def test_mapped_files(tmp_path: pathlib.Path) -> None:
    path = tmp_path / "x.pt"
    torch.save({"a": torch.arange(1000.0), "b": torch.ones(3, dtype=torch.bfloat16)}, path)
    loaded = serialization.load(path, mmap=True)
    assert loaded["a"].tolist() == list(range(1000))
    numpy_view(loaded["a"])[5] = -1.0
    assert loaded["a"].tolist()[5] == -1.0 and serialization.load(path)["a"].tolist()[5] == 5.0
    with pytest.raises(ValueError, match="file path"):
        serialization.load(io.BytesIO(path.read_bytes()), mmap=True)
    with serialization.set_default_mmap_options(mmap.MAP_SHARED):
        shared = serialization.load(path, mmap=True)
        numpy_view(shared["a"])[5] = -2.0
    assert serialization.get_default_mmap_options() == mmap.MAP_PRIVATE
    assert serialization.load(path, mmap=True)["a"].tolist()[5] == -2.0
    with pytest.raises(RuntimeError, match="shared mapping"):
        serialization.load(path)


@pytest.mark.parametrize("legacy", [False, True])
def test_map_location(legacy: bool) -> None:
    def file() -> io.BytesIO:
        return saved(ours(), _use_new_zipfile_serialization=not legacy)

    for location in ("cpu", fl.device("cpu"), {"cpu": "cpu"}, lambda storage, where: storage, lambda *_: None):
        assert raw(serialization.load(file(), map_location=location)) == raw(ours())
    loaded = serialization.load(file(), map_location="meta")
    assert loaded.device is meta and tuple(loaded.shape) == (3, 4)
    with pytest.raises(RuntimeError, match=r"map_location=torch.device\('cpu'\)"):
        serialization.load(file(), map_location="cuda:0")
    with pytest.raises(RuntimeError, match="don't know how to restore"):
        serialization.load(file(), map_location={"cpu": "elsewhere"})
    with pytest.raises(TypeError, match="map_location"):
        serialization.load(file(), map_location=3)


def test_big_endian_files() -> None:
    array = np.arange(5, dtype=">f4")
    wide = (np.arange(3) * (1 + 2j)).astype(">c16")
    pickled = zipfile.ZipFile(saved([from_numpy(array.astype("<f4")), from_numpy(wide.astype("<c16"))])).read(
        "archive/data.pkl"
    )
    buffer = io.BytesIO()
    write_archive(buffer, "archive", pickled, [("0", array.tobytes()), ("1", wide.tobytes())], "big", True)
    buffer.seek(0)
    loaded = serialization.load(buffer)
    assert loaded[0].tolist() == array.tolist() and loaded[1].tolist() == wide.tolist()
    unmarked = io.BytesIO()
    write_archive(unmarked, "archive", pickled, [("0", array.tobytes()), ("1", wide.tobytes())], None, True)
    try:
        serialization.set_default_load_endianness(serialization.LoadEndianness.BIG)
        unmarked.seek(0)
        assert serialization.load(unmarked)[0].tolist() == array.tolist()
    finally:
        serialization.set_default_load_endianness(None)


def test_strings_of_python_2() -> None:
    data = pickle.dumps(serialization.MAGIC_NUMBER, 2) + pickle.dumps(1001, 2) + pickle.dumps({}, 2)
    data += b"\x80\x02U\x02\xc3\xa9q\x00." + pickle.dumps([], 2)
    assert serialization.load(io.BytesIO(data)) == "é"
    assert serialization.load(io.BytesIO(data), encoding="bytes") == b"\xc3\xa9"


def test_tar_files() -> None:
    """The format of 2016, built by hand."""
    import tarfile

    def member(tar: tarfile.TarFile, name: str, data: bytes) -> None:
        info = tarfile.TarInfo(name)
        info.size = len(data)
        tar.addfile(info, io.BytesIO(data))

    def name(module: str, attribute: str) -> bytes:
        return f"c{module}\n{attribute}\n".encode()

    storages = pickle.dumps(1, 2)
    storages += b"\x80\x02K\x05U\x03cpu" + name("torch", "FloatStorage") + b"\x87."
    storages += struct.pack("<q", 6) + np.arange(6, dtype="<f4").tobytes() + pickle.dumps([], 2)
    tensors = pickle.dumps(1, 2) + b"\x80\x02K\x07K\x05" + name("torch", "FloatTensor") + b"\x87."
    tensors += struct.pack("<i4x", 2) + struct.pack("<5q", 2, 2, 3, 1, 1)
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w", format=tarfile.USTAR_FORMAT) as tar:
        member(tar, "sys_info", pickle.dumps({}, 2))
        member(tar, "storages", storages)
        member(tar, "tensors", tensors)
        member(tar, "pickle", b"\x80\x02}U\x01xK\x07Qs.")
    buffer.seek(0)
    assert serialization.load(buffer)["x"].tolist() == [[1, 2], [4, 5]]


def test_file_objects(tmp_path: pathlib.Path) -> None:
    with open(tmp_path / "x.pt", "wb", buffering=0) as file:
        serialization.save(ours(), file)
    with open(tmp_path / "x.pt", "rb", buffering=0) as file:
        assert raw(serialization.load(file)) == raw(ours())
    buffer = io.BytesIO(b"prefix")
    buffer.seek(6)
    serialization.save(ours(), buffer)
    buffer.seek(6)
    assert raw(serialization.load(buffer)) == raw(ours())
    with pytest.raises(AttributeError, match="'write' attribute"):
        serialization.save(ours(), 3)
    with pytest.raises(AttributeError, match="seek"):
        serialization.load(object())


# -- how files are written -------------------------------------------------------------------------
def test_a_failing_save_leaves_the_old_file(tmp_path: pathlib.Path) -> None:
    path = tmp_path / "x.pt"
    serialization.save([1], path)
    path.chmod(0o640)

    class Broken:
        def __reduce__(self) -> Any:
            raise OSError("disk on fire")

    with pytest.raises(OSError, match="on fire"):
        serialization.save([2, Broken()], path)
    assert serialization.load(path) == [1] and os.listdir(tmp_path) == ["x.pt"]
    serialization.save([3], path)
    assert serialization.load(path) == [3] and stat.S_IMODE(path.stat().st_mode) == 0o640


def test_saving_through_a_link_and_to_a_device(tmp_path: pathlib.Path) -> None:
    (tmp_path / "link.pt").symlink_to(tmp_path / "real.pt")
    serialization.save([1], tmp_path / "link.pt")
    assert (tmp_path / "link.pt").is_symlink() and serialization.load(tmp_path / "real.pt") == [1]
    serialization.save([1], os.devnull)
    with pytest.raises(RuntimeError, match="does not exist"):
        serialization.save([1], tmp_path / "nowhere" / "x.pt")


def test_saving_the_same_twice_gives_the_same_bytes() -> None:
    obj = {"a": ours(), "b": [1, 2]}
    assert saved(obj).getvalue() == saved(obj).getvalue()


def test_check_sums_can_be_left_out() -> None:
    try:
        serialization.set_crc32_options(False)
        buffer = saved(ours())
    finally:
        serialization.set_crc32_options(True)
    assert all(info.CRC == 0 for info in zipfile.ZipFile(buffer).infolist())
    buffer.seek(0)
    assert raw(serialization.load(buffer)) == raw(ours())


def test_skip_data() -> None:
    with serialization.skip_data():
        buffer = saved(ours())
    assert not any(zipfile.ZipFile(buffer).read("archive/data/0"))
    buffer.seek(0)
    with serialization.skip_data():
        assert tuple(serialization.load(buffer).shape) == (3, 4)


# -- nothing is executed ---------------------------------------------------------------------------
class Payload:
    """Would write a file when a pickle of it is loaded."""

    def __init__(self, path: str) -> None:
        self.path = path

    def __reduce__(self) -> Any:
        return (open, (self.path, "w"))


@dataclasses.dataclass
class Settings:
    width: int
    name: str


class Colour(enum.Enum):
    RED = 1


Point = collections.namedtuple("Point", "x y")


class Custom:
    def __setstate__(self, state: Any) -> None:
        self.restored = state


@pytest.mark.parametrize("weights_only", [True, False])
@pytest.mark.parametrize("legacy", [False, True])
def test_code_in_a_file_is_refused(tmp_path: pathlib.Path, weights_only: bool, legacy: bool) -> None:
    target = tmp_path / "written"
    buffer = torch_saved([1, Payload(str(target))], _use_new_zipfile_serialization=not legacy)
    with pytest.raises(UnpicklingError, match="add_safe_globals"):
        serialization.load(buffer, weights_only=weights_only)
    assert not target.exists()


@pytest.mark.parametrize(
    "body",
    [
        b"cos\nsystem\nU\x02lsq\x00\x85R.",
        b"cbuiltins\neval\nU\x031+1\x85R.",
        b"cflambeau.serialization\nload\nU\x01x\x85R.",
        b"ctorch\nload\nU\x01x\x85R.",
        b"ctorch.serialization\nload\nU\x01x\x85R.",
        b"(Vls\nios\nsystem\n.",
        b"ctorch.nn.parameter\nParameter\n)\x81}U\x01aK\x01sb.",
        b"ctempfile\n_TemporaryFileCloser\n)\x81.",
        b"ccollections\ndefaultdict\ncos\nsystem\n\x85R.",
        b"c__main__\n__builtins__\n.",
        b"\x82\x01.",
        b"P1\n.",
    ],
)
@pytest.mark.parametrize("weights_only", [True, False])
def test_dangerous_pickles(body: bytes, weights_only: bool) -> None:
    buffer = io.BytesIO()
    write_archive(buffer, "archive", b"\x80\x02" + body, [], "little", True)
    buffer.seek(0)
    with pytest.raises(UnpicklingError):
        serialization.load(buffer, weights_only=weights_only)


def test_classes_that_are_data_without_weights_only() -> None:
    obj = {
        "settings": Settings(3, "x"),
        "colour": Colour.RED,
        "point": Point(1, 2),
        "path": pathlib.PurePosixPath("/a/b"),
        "range": range(3),
        "default": collections.defaultdict(list, a=[1]),
    }
    with pytest.raises(UnpicklingError, match="Weights only load failed"):
        serialization.load(saved(obj))
    assert serialization.load(saved(obj), weights_only=False) == obj
    custom = Custom()
    custom.x = 1
    with pytest.raises(UnpicklingError, match="safe_globals"):
        serialization.load(saved(custom), weights_only=False)


def test_safe_globals() -> None:
    custom = Custom()
    custom.x = 1
    buffer = saved([custom, Settings(1, "a")])
    name = f"{__name__}.Custom"
    assert serialization.get_unsafe_globals_in_checkpoint(buffer) == [name, f"{__name__}.Settings"]
    with serialization.safe_globals([Custom, Settings]):
        buffer.seek(0)
        loaded = serialization.load(buffer)
        assert loaded[0].restored == {"x": 1} and loaded[1] == Settings(1, "a")
    assert serialization.get_safe_globals() == []
    serialization.add_safe_globals([(Custom, name), Settings])
    try:
        assert serialization.get_safe_globals() == [Custom, Settings]
        buffer.seek(0)
        assert serialization.load(buffer)[0].restored == {"x": 1}
    finally:
        serialization.clear_safe_globals()
    buffer.seek(0)
    with pytest.raises(UnpicklingError, match="Custom"):
        serialization.load(buffer)


def test_weights_only_and_a_pickle_module_exclude_each_other() -> None:
    with pytest.raises(RuntimeError, match="pickle_module"):
        serialization.load(saved(1), pickle_module=pickle, weights_only=True)
    assert serialization.load(saved(1), pickle_module=pickle, weights_only=False) == 1


# -- damaged files ---------------------------------------------------------------------------------
def tensor_pickle(storage: str, count: int, offset: Any, size: Any, stride: Any) -> bytes:
    """The pickle of a tensor that claims anything."""
    head = pickle.dumps((offset, size, stride), 2)[2:-1]
    return (
        b"\x80\x02ctorch._utils\n_rebuild_tensor\n((U\x07storagectorch\n" + storage.encode() + b"\nU\x010U\x03cpu"
        + pickle.dumps(count, 2)[2:-1] + b"tQ" + head + b"\x87R."
    )  # fmt: skip


@pytest.mark.parametrize(
    ("offset", "size", "stride"),
    [
        (0, (5,), (1,)),
        (1, (4,), (1,)),
        (0, (2, 2), (3, 1)),
        (-1, (1,), (1,)),
        (0, (-1,), (1,)),
        (0, (2,), (-1,)),
        (0, (2, 2), (1,)),
        (2**62, (1,), (1,)),
        (0, (2**62, 2**62), (0, 0)),
        (0, (2,), (2**62,)),
        (0, (1,) * 65, (1,) * 65),
        (0, (1.5,), (1,)),
        (0, "ab", (1, 1)),
        (True, (1,), (1,)),
        (5, (0,), (1,)),
    ],
)
def test_claims_beyond_the_storage(offset: Any, size: Any, stride: Any) -> None:
    body = tensor_pickle("FloatStorage", 4, 0, (4,), (1,))
    start = body.index(b"tQ") + 2
    body = body[:start] + b"".join(pickle.dumps(x, 2)[2:-1] for x in (offset, size, stride)) + b"tR."
    buffer = io.BytesIO()
    write_archive(buffer, "archive", body, [("0", bytes(16))], "little", True)
    buffer.seek(0)
    with pytest.raises(UnpicklingError):
        serialization.load(buffer)


def test_a_storage_of_another_size() -> None:
    body = zipfile.ZipFile(saved(ours(shape=(4,)))).read("archive/data.pkl")
    for contents in ([("0", bytes(12))], [("0", bytes(20))], []):
        buffer = io.BytesIO()
        write_archive(buffer, "archive", body, contents, "little", True)
        buffer.seek(0)
        with pytest.raises((UnpicklingError, RuntimeError)):
            serialization.load(buffer)


def test_truncated_files() -> None:
    data = saved({"a": ours(), "b": [1, 2, 3]}).getvalue()
    old = saved({"a": ours(), "b": [1, 2, 3]}, _use_new_zipfile_serialization=False).getvalue()
    for whole in (data, old):
        for cut in [0, 1, 3, 10, *range(20, len(whole), 37), len(whole) - 1]:
            with pytest.raises((RuntimeError, UnpicklingError, EOFError)):
                serialization.load(io.BytesIO(whole[:cut]))


@given(st.data())
def test_flipped_bytes_are_errors_or_harmless(data: Any) -> None:
    """A damaged byte gives an error of a known kind, or tensors that lie inside of their memory."""
    legacy = data.draw(st.booleans())
    whole = bytearray(saved({"a": ours(), "b": 1}, _use_new_zipfile_serialization=not legacy).getvalue())
    for _ in range(data.draw(st.integers(1, 3))):
        whole[data.draw(st.integers(0, len(whole) - 1))] = data.draw(st.integers(0, 255))
    try:
        found = serialization.load(io.BytesIO(bytes(whole)))
    except (RuntimeError, UnpicklingError, EOFError, ValueError):
        return
    assert_inside(found)


def assert_inside(loaded: Any) -> None:
    """No tensor that was loaded reaches beyond its storage."""
    for t in loaded.values() if isinstance(loaded, dict) else [loaded]:
        if isinstance(t, fl.Tensor) and t.numel():
            last = t.storage_offset() + sum((n - 1) * s for n, s in zip(t.shape, t.stride()))
            assert t.storage_offset() >= 0 and (last + 1) * t.element_size() <= t.untyped_storage().nbytes()


@given(st.binary(max_size=200))
def test_arbitrary_pickles_never_crash(body: bytes) -> None:
    buffer = io.BytesIO()
    write_archive(buffer, "archive", b"\x80\x02" + body, [("0", bytes(16))], "little", True)
    buffer.seek(0)
    try:
        found = serialization.load(buffer, weights_only=False)
    except (RuntimeError, UnpicklingError):
        return
    assert_inside(found)


def test_check_sums_are_tested() -> None:
    whole = bytearray(saved(ours()).getvalue())
    where = whole.index(raw(ours()))
    whole[where + 5] ^= 1
    with pytest.raises(RuntimeError, match="CRC"):
        serialization.load(io.BytesIO(bytes(whole)))


def archive(entries: list[tuple[str, bytes]], compress: int = zipfile.ZIP_STORED) -> io.BytesIO:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", compress) as target:
        for name, data in entries:
            target.writestr(name, data)
    buffer.seek(0)
    return buffer


@pytest.mark.filterwarnings("ignore:Duplicate name")
@pytest.mark.parametrize(
    ("entries", "words"),
    [
        ([("a/data.pkl", b"\x80\x02K\x01."), ("b/x", b"")], "outside of the folder"),
        ([("a/data.pkl", b"\x80\x02K\x01."), ("a/../x", b"")], "no plain path"),
        ([("/data.pkl", b"\x80\x02K\x01.")], "no plain path"),
        ([("a/data.pkl", b"\x80\x02K\x01."), ("a/data.pkl", b"\x80\x02K\x02.")], "twice"),
        ([("a/version", b"3")], "no data.pkl"),
        ([("a/constants.pkl", b"")], "TorchScript"),
        ([], "no entries"),
    ],
)
def test_strange_archives(entries: list[tuple[str, bytes]], words: str) -> None:
    with pytest.raises(RuntimeError, match=words):
        serialization.load(archive(entries))


def test_compressed_archives_are_read_but_not_bombs() -> None:
    entries = zipfile.ZipFile(saved(ours()))
    members = [(name, entries.read(name)) for name in entries.namelist()]
    assert raw(serialization.load(archive(members, zipfile.ZIP_DEFLATED))) == raw(ours())
    bomb = [("archive/data.pkl", b"\x80\x02K\x01."), ("archive/data/0", bytes(10_000_000))]
    with pytest.raises(RuntimeError, match="claim"):
        serialization.load(archive(bomb, zipfile.ZIP_DEFLATED))


def test_overlapping_entries() -> None:
    """Two directory entries that name the same bytes."""
    data = bytearray(archive([("a/data.pkl", b"\x80\x02K\x01."), ("a/x", b"12")]).getvalue())
    second = data.rindex(b"PK\x01\x02")
    data[second + 42 : second + 46] = struct.pack("<I", 0)
    with pytest.raises(RuntimeError, match=r"overlap|header|differ"):
        serialization.load(io.BytesIO(bytes(data)))


def test_deeply_nested_keys_do_not_overrun_the_stack() -> None:
    body = b"\x80\x02})" + b"\x85" * 200_000 + b"K\x01s."
    buffer = io.BytesIO()
    write_archive(buffer, "archive", body, [], "little", True)
    buffer.seek(0)
    with pytest.raises(UnpicklingError, match="deep"):
        serialization.load(buffer)


def test_byte_order_of_this_machine_is_recorded() -> None:
    assert zipfile.ZipFile(saved(1)).read("archive/byteorder") == sys.byteorder.encode()
    assert "archive/byteorder" not in zipfile.ZipFile(saved(1, _disable_byteorder_record=True)).namelist()


# -- copy and pickle -------------------------------------------------------------------------------
@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("protocol", [0, 2, 4, 5])
def test_plain_pickles(dtype: str, protocol: int) -> None:
    tensor = ours(dtype)
    loaded = pickle.loads(pickle.dumps(tensor, protocol=protocol))
    assert type(loaded) is fl.Tensor and loaded.dtype is tensor.dtype and raw(loaded) == raw(tensor)


@pytest.mark.parametrize("transfer", [copy.deepcopy, lambda x: pickle.loads(pickle.dumps(x, protocol=5))])
def test_copies_share_memory_among_themselves_only(transfer: Any) -> None:
    base = ours()
    crossed = view(base, (4, 2), (1, 4), 4)
    first, second, again = transfer([base, crossed, base])
    assert first is again and second.stride() == (1, 4) and second.storage_offset() == 4
    numpy_view(first)[1, 2] = 77
    assert second.tolist()[2][0] == 77 and base.tolist()[1][2] != 77
    assert len(transfer([base] * 3)) == 3


@pytest.mark.parametrize("transfer", [copy.deepcopy, lambda x: pickle.loads(pickle.dumps(x))])
def test_copies_keep_gradients_flags_and_attributes(transfer: Any) -> None:
    tensor = ours().requires_grad_()
    tensor.note = [1]
    copied = transfer(tensor)
    assert copied.requires_grad and copied.note == [1] and copied.note is not tensor.note
    empty = transfer(make(meta_storage(), of(fl.float32, meta, (2, 3), (3, 1))))
    assert empty.device is meta and tuple(empty.shape) == (2, 3)


def meta_storage() -> Any:
    return serialization.Storage(0, 24, device_=meta)


def test_deepcopy_copies_the_gradient_and_refuses_computed_tensors() -> None:
    tensor = ours().requires_grad_()
    tensor.grad = ours()
    copied = copy.deepcopy(tensor)
    assert copied.grad is not tensor.grad and raw(copied.grad) == raw(tensor.grad)
    with pytest.raises(RuntimeError, match="graph leaves"):
        copy.deepcopy(tensor * 2)
