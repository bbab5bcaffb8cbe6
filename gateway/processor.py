"""
The processor that audio is resampled with.

OpenBLAS, which numpy brings along, chooses its code by the processor's model when it is loaded. Some of AMD's that have
AVX-512 it takes for an Intel Haswell (0.3.34), and then needs twice the time for what the resampler asks of it.
"""

from collections.abc import MutableMapping
from pathlib import Path

_NAME = "OPENBLAS_CORETYPE"
_CORE = "SkylakeX"
"""OpenBLAS's name for its code for AVX-512."""
_NEEDED = frozenset(("avx512f", "avx512cd", "avx512bw", "avx512dq", "avx512vl"))
"""What that code is made of."""


def prefer_avx512(environ: MutableMapping[str, str], cpuinfo: Path = Path("/proc/cpuinfo")) -> None:
    """
    Let OpenBLAS use AVX-512 on a processor of AMD's that has it; of use only before numpy is loaded.

    Args:
        environ: of the process; what it says of this already stays.
        cpuinfo: as Linux writes it; elsewhere there is none, and nothing changes.
    """
    if _NAME in environ:
        return
    try:
        text = cpuinfo.read_text()
    except (OSError, UnicodeError):
        return
    facts = {name.strip(): value.strip() for name, _, value in (line.partition(":") for line in text.splitlines())}
    if facts.get("vendor_id") == "AuthenticAMD" and set(facts.get("flags", "").split()) >= _NEEDED:
        environ[_NAME] = _CORE
