"""
Virtual environments beside our own, for programs that need packages, or versions of packages, that we must not have.

`tests/environments/NAME.in` says what is wanted and why; `NAME.lock` pins it and is written by `scripts/lock`.
"""

import fcntl
import subprocess
import sys
import venv
from pathlib import Path

import pytest

_ROOT = Path(__file__).parents[2]
_INSTALL_S = 240.0


def python_of(name: str) -> Path:
    """
    The Python of an environment that holds what its lock file lists; skips the test where that cannot be installed.

    The first use installs it, which takes up to a minute or two (give the test a time limit that allows it); later
    ones find it in step. It has the version of the Python that runs the tests, and no pip of its own.
    """
    lock = _ROOT / "tests" / "environments" / f"{name}.lock"
    folder = _ROOT / f".venv-{name}-{sys.version_info.major}.{sys.version_info.minor}"
    python, stamp = folder / "bin" / "python", folder / ".in-step"
    folder.mkdir(exist_ok=True)
    with (folder / ".lock").open("w") as guard:
        fcntl.flock(guard, fcntl.LOCK_EX)  # another run of the tests may be making it
        if not stamp.exists() or stamp.read_text() != lock.read_text():
            stamp.unlink(missing_ok=True)
            _install(folder, python, lock)
            stamp.write_text(lock.read_text())
    return python


def _install(folder: Path, python: Path, lock: Path) -> None:
    venv.create(folder, symlinks=True)
    pip = [sys.executable, "-m", "pip", "--disable-pip-version-check", "--python", str(python)]
    done = subprocess.run(
        [*pip, "install", "--quiet", "--no-deps", "-r", str(lock)],
        capture_output=True,
        text=True,
        timeout=_INSTALL_S,
        check=False,
    )
    if done.returncode != 0:
        pytest.skip(f"cannot install {lock.name}: {done.stderr.strip().splitlines()[-1]}")
