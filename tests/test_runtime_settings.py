"""Settings, the processor at hand and the instruction sets."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

from flambeau import settings
from flambeau.runtime import cpu
from flambeau.target import isa as isa_module
from flambeau.target.isa import ISA


def run_python(code: str, **environment: str) -> subprocess.CompletedProcess[str]:
    """Runs ``code`` in a fresh interpreter with additional environment variables."""
    return subprocess.run(
        [sys.executable, "-c", code], env={**os.environ, **environment}, capture_output=True, text=True, timeout=120
    )


def test_environment_is_read() -> None:
    code = "from flambeau import settings as s; print(s.isa, s.debug, s.cache, s.cache_size)"
    result = run_python(code, FLAMBEAU_ISA="avx2", FLAMBEAU_DEBUG="2", FLAMBEAU_CACHE="0", FLAMBEAU_CACHE_SIZE="7")
    assert result.stdout.split() == ["avx2", "2", "False", "7"]


@pytest.mark.parametrize(
    ("variable", "value"),
    [("FLAMBEAU_ISA", "mmx"), ("FLAMBEAU_DEBUG", "7"), ("FLAMBEAU_DEBUG", "x"), ("FLAMBEAU_CACHE", "maybe")],
)
def test_bad_environment_names_the_variable(variable: str, value: str) -> None:
    result = run_python("import flambeau.settings", **{variable: value})
    assert result.returncode != 0
    assert f"{variable}='{value}'" in result.stderr


def test_empty_variable_is_the_default() -> None:
    assert run_python("from flambeau import settings as s; print(s.debug)", FLAMBEAU_DEBUG="").stdout.strip() == "0"


def test_override_restores() -> None:
    before = settings.isa, settings.debug

    def fail() -> None:
        with settings.override(isa="avx2", debug=3):
            assert (settings.isa, settings.debug) == ("avx2", 3)
            with settings.override(debug=0, verify=True):
                assert settings.debug == 0 and settings.verify is True
            raise KeyError

    with pytest.raises(KeyError):
        fail()
    assert (settings.isa, settings.debug) == before


def test_override_checks() -> None:
    with pytest.raises(TypeError, match="'colour' is not a setting"), settings.override(colour=1):
        pass
    with pytest.raises(ValueError, match="isa='mmx'"), settings.override(isa="mmx"):
        pass
    with pytest.raises(ValueError, match="debug=9"), settings.override(isa="avx2", debug=9):
        pass
    assert settings.isa != "avx2"


def test_every_setting_is_described() -> None:
    lines = settings.describe().splitlines()
    assert len(lines) == len(settings.SETTINGS) < 25
    assert all(line.startswith("FLAMBEAU_") for line in lines)
    assert all(hasattr(settings, name) for name in settings.SETTINGS)


def test_settings_import_nothing_heavy() -> None:
    code = "import sys, flambeau.settings; print([m for m in ('numpy', 'llvmlite', 'scipy') if m in sys.modules])"
    assert run_python(code).stdout.strip() in ("[]", "['numpy']", "['numpy', 'scipy']")


# -- the processor -----------------------------------------------------------------------------------


def test_features_agree_with_llvm() -> None:
    binding = pytest.importorskip("llvmlite.binding")
    llvm = {name for name, present in binding.get_host_cpu_features().items() if present}
    assert cpu.features() - llvm - {"bmi"} == set()
    known = cpu._SAME | set(cpu._RENAMED.values())
    if cpu.machine() == "x86_64":
        # Tiles need the operating system's consent, which LLVM asks for and /proc/cpuinfo has as well.
        assert (llvm & known) - cpu.features() == set()


def test_features_without_cpuinfo(monkeypatch: pytest.MonkeyPatch) -> None:
    expected = cpu.features()
    cpu.features.cache_clear()
    monkeypatch.setattr(cpu, "_read", lambda path, limit=0: "")
    try:
        assert cpu.features() == expected
    finally:
        cpu.features.cache_clear()


def test_cache_sizes() -> None:
    sizes = cpu.cache_sizes()
    assert 4 << 10 <= sizes.l1 <= 1 << 20
    assert sizes.l1 <= sizes.l2
    assert sizes.l3 == 0 or sizes.l3 >= sizes.l2


def test_tiles_need_consent() -> None:
    cpu.enable_tiles.cache_clear()
    assert cpu.enable_tiles() <= ("amx-tile" in cpu.features())


def test_defaults_without_sysfs(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cpu, "_read", lambda path, limit=0: "")
    for function in (cpu.cache_sizes, cpu.physical_cores):
        function.cache_clear()
    try:
        assert cpu.cache_sizes() == (32 << 10, 512 << 10, 8 << 20)
        assert cpu.physical_cores() == len(cpu.available_cpus())
    finally:
        for function in (cpu.cache_sizes, cpu.physical_cores):
            function.cache_clear()


@pytest.mark.parametrize(
    ("quota", "expected"), [("max 100000", None), ("150000 100000", 2), ("50000 100000", 1), ("", None)]
)
def test_quota_of_the_control_group(monkeypatch: pytest.MonkeyPatch, quota: str, expected: int | None) -> None:
    monkeypatch.setattr(cpu, "_read", lambda path, limit=0: quota if path.endswith("cpu.max") else "")
    monkeypatch.setattr(cpu, "available_cpus", lambda: list(range(8)))
    cpu.physical_cores.cache_clear()
    try:
        assert cpu.physical_cores() == (expected or 8)
    finally:
        cpu.physical_cores.cache_clear()


@pytest.mark.skipif(not hasattr(os, "sched_setaffinity"), reason="needs processor affinity")
def test_cores_follow_affinity() -> None:
    one = min(os.sched_getaffinity(0))
    code = f"import os; os.sched_setaffinity(0, [{one}]); from flambeau.runtime import cpu; print(cpu.physical_cores())"
    assert run_python(code).stdout.strip() == "1"


# -- instruction sets --------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "bits", "floats", "doubles", "bytes_"),
    [("x86-64", 128, 4, 2, 16), ("avx2", 256, 8, 4, 32), ("avx512", 512, 16, 8, 64), ("neon", 128, 4, 2, 16)],
)
def test_lanes(name: str, bits: int, floats: int, doubles: int, bytes_: int) -> None:
    isa = ISA.named(name)
    assert isa.vector_bits == bits
    assert (isa.lanes("float"), isa.lanes("double"), isa.lanes("i8"), isa.lanes("i1")) == (
        floats,
        doubles,
        bytes_,
        bytes_,
    )
    assert isa.lanes("half") == isa.lanes("bfloat") == isa.lanes("i16") == 2 * floats
    assert isa.name == name and isa.triple


def test_unknown_name() -> None:
    with pytest.raises(ValueError, match="'mmx'"):
        ISA.named("mmx")


def test_setting_forces_an_instruction_set() -> None:
    with settings.override(isa="generic"):
        assert ISA.host() == ISA.named("generic")
    assert ISA.host() is ISA.named("native")


def test_setting_of_an_instruction_set_that_is_not_there_is_refused() -> None:
    """Its code would end the process."""
    for isa in {"x86-64", "avx2", "avx512", "neon", "generic"} - {*ISA.available()}:
        with settings.override(isa=isa), pytest.raises(RuntimeError, match=f"{isa}: this processor"):
            ISA.host()


def test_available_sets_are_those_whose_features_are_all_there(monkeypatch: pytest.MonkeyPatch) -> None:
    v3 = {"avx", "avx2", "bmi", "bmi2", "f16c", "fma", "lzcnt", "movbe"}
    v4 = v3 | {"avx512f", "avx512bw", "avx512cd", "avx512dq", "avx512vl"}
    for machine, features, expected in (
        ("x86_64", {"sse2"}, ("x86-64", "generic")),
        ("x86_64", v3, ("x86-64", "avx2", "generic")),
        ("x86_64", v4 - {"avx512dq"}, ("x86-64", "avx2", "generic")),
        ("x86_64", v4, ("x86-64", "avx2", "avx512", "generic")),
        ("aarch64", {"neon"}, ("neon", "generic")),
        ("riscv64", set(), ("generic",)),
    ):
        host_with(monkeypatch, machine, features)
        assert ISA.available() == expected


def test_attributes_ask_for_full_width() -> None:
    assert '"prefer-vector-width"="512"' in ISA.named("avx512").function_attributes()
    assert '"target-cpu"="x86-64-v4"' in ISA.named("avx512").function_attributes()
    assert "prefer-vector-width" not in ISA.named("x86-64").function_attributes()


def test_keys_tell_instruction_sets_apart() -> None:
    keys = {ISA.named(name).key for name in ("x86-64", "avx2", "avx512", "neon", "generic")}
    assert len(keys) == 5


def host_with(monkeypatch: pytest.MonkeyPatch, machine: str, features: set[str], tiles: bool = True) -> ISA:
    """What the host's instruction set would be on such a machine."""
    monkeypatch.setattr(cpu, "machine", lambda: machine)
    monkeypatch.setattr(cpu, "features", lambda: frozenset(features))
    monkeypatch.setattr(cpu, "enable_tiles", lambda: tiles)
    return isa_module._native.__wrapped__()


def test_host_is_the_widest(monkeypatch: pytest.MonkeyPatch) -> None:
    v3 = {"avx", "avx2", "bmi", "bmi2", "f16c", "fma", "lzcnt", "movbe"}
    v4 = v3 | {"avx512f", "avx512bw", "avx512cd", "avx512dq", "avx512vl"}
    assert host_with(monkeypatch, "x86_64", {"sse2"}).name == "x86-64"
    assert host_with(monkeypatch, "x86_64", v3 - {"fma"}).name == "x86-64"
    assert host_with(monkeypatch, "x86_64", v3).name == "avx2"
    assert host_with(monkeypatch, "x86_64", v3 | {"avx512f"}).name == "avx2"
    wide = host_with(monkeypatch, "x86_64", v4 | {"avx512bf16", "avx512vnni", "amx-tile", "amx-bf16"})
    assert wide.name == "avx512" and wide.bf16 and wide.vnni and wide.amx and wide.fma
    assert not ISA.named("avx512").bf16
    assert not host_with(monkeypatch, "x86_64", v4 | {"amx-tile", "amx-bf16"}, tiles=False).features
    alder = host_with(monkeypatch, "x86_64", v3 | {"avxvnni", "gfni"})
    assert alder.vnni and alder.feature_text == "+avxvnni,+gfni"
    arm = host_with(monkeypatch, "aarch64", {"neon", "dotprod", "fullfp16"})
    assert arm.name == "neon" and arm.vnni and arm.has("fullfp16") and not arm.bf16
    assert host_with(monkeypatch, "riscv64", set()).name == "generic"
