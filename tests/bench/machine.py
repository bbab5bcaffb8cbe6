"""What the kernel tells of processes and cores, on Linux; and on which core a program runs."""

import contextlib
import os
import platform
import resource
from collections.abc import Iterator
from pathlib import Path

_TICKS_PER_S = os.sysconf("SC_CLK_TCK")
_PAGE_BYTES = os.sysconf("SC_PAGE_SIZE")
_CORES = sorted(os.sched_getaffinity(0))
SERVER, OTHERS = 0, 1
"""Places of programs among the cores that are ours: the server has one to itself, if there are two."""


def family(pid: int) -> list[int]:
    """A process and its descendants."""
    found = [pid]
    for task in _entries(f"/proc/{pid}/task"):
        children = _text(f"/proc/{pid}/task/{task}/children").split()
        found += [each for child in children for each in family(int(child))]
    return found


def cpu_s(pid: int) -> float:
    """CPU time of a process and its descendants, also of those that are over and were waited for."""
    return sum(_own_cpu_s(each) for each in family(pid))


def resident_bytes(pid: int) -> int:
    """Memory of a process and its descendants; what they share counts for each."""
    pages = (_text(f"/proc/{each}/statm").split() for each in family(pid))
    return sum(int(fields[1]) * _PAGE_BYTES for fields in pages if fields)


def busy_s() -> float:
    """CPU time of everything on the machine."""
    fields = _text("/proc/stat").partition("\n")[0].split()
    return sum(int(fields[index]) for index in (1, 2, 3)) / _TICKS_PER_S  # user, nice, system


@contextlib.contextmanager
def on_core(place: int) -> Iterator[None]:
    """This thread, and programs that it starts meanwhile, run on this core, if there are two or more."""
    before = os.sched_getaffinity(0)
    if len(_CORES) > 1:
        os.sched_setaffinity(0, {_CORES[place]})
    try:
        yield
    finally:
        os.sched_setaffinity(0, before)


def allow_many_files() -> None:
    """As many open files as the system lets us have, for us and the programs that we start."""
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))


def description() -> str:
    """The machine, in words."""
    models = [line.partition(":")[2].strip() for line in _text("/proc/cpuinfo").splitlines() if "model name" in line]
    model = models[0] if models else platform.machine()
    return f"{len(_CORES)} cores ({model}), CPython {platform.python_version()}"


def _own_cpu_s(pid: int) -> float:
    fields = _text(f"/proc/{pid}/stat").rpartition(")")[2].split()
    return sum(int(fields[index]) for index in (11, 12, 13, 14)) / _TICKS_PER_S if fields else 0.0


def _text(path: str) -> str:
    try:
        return Path(path).read_text()
    except OSError:  # it has just ended
        return ""


def _entries(path: str) -> list[str]:
    try:
        return os.listdir(path)
    except OSError:
        return []
