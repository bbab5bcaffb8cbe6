"""Which code OpenBLAS is to use."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from gateway.processor import prefer_avx512

FLAGS = "fpu sse2 avx2 avx512f avx512dq avx512cd avx512bw avx512vl avx512_bf16"


def cpuinfo(folder: Path, vendor: str, flags: str) -> Path:
    path = folder / "cpuinfo"
    path.write_text(f"processor\t: 0\nvendor_id\t: {vendor}\nmodel name\t: some: name\nflags\t\t: {flags}\n\n")
    return path


def test_amd_with_avx512_uses_it(tmp_path: Path) -> None:
    environ: dict[str, str] = {}
    prefer_avx512(environ, cpuinfo(tmp_path, "AuthenticAMD", FLAGS))
    assert environ == {"OPENBLAS_CORETYPE": "SkylakeX"}


def test_what_the_environment_says_stays(tmp_path: Path) -> None:
    environ = {"OPENBLAS_CORETYPE": "Haswell"}
    prefer_avx512(environ, cpuinfo(tmp_path, "AuthenticAMD", FLAGS))
    assert environ == {"OPENBLAS_CORETYPE": "Haswell"}


@pytest.mark.parametrize(
    ("vendor", "flags"),
    [
        pytest.param("GenuineIntel", FLAGS, id="openblas knows intel's"),
        pytest.param("AuthenticAMD", FLAGS.replace(" avx512vl", ""), id="a part of it is missing"),
        pytest.param("AuthenticAMD", "fpu sse2 avx2", id="none"),
    ],
)
def test_others_are_left_alone(tmp_path: Path, vendor: str, flags: str) -> None:
    environ: dict[str, str] = {}
    prefer_avx512(environ, cpuinfo(tmp_path, vendor, flags))
    assert not environ


def test_a_system_that_does_not_tell_is_left_alone(tmp_path: Path) -> None:
    environ: dict[str, str] = {}
    prefer_avx512(environ, tmp_path / "none")
    assert not environ


def test_the_command_has_not_loaded_numpy_when_it_chooses() -> None:
    """OpenBLAS looks at the environment once, when numpy is loaded."""
    code = "import sys; from gateway import cli; sys.exit('numpy' in sys.modules)"
    environ = {name: value for name, value in os.environ.items() if not name.startswith("COV")}
    assert subprocess.run([sys.executable, "-c", code], check=False, env=environ, timeout=120).returncode == 0
