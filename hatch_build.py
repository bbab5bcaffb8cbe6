"""
Compiles `codecs/telephony_codecs/_filter.c` where there is a compiler; where there is none, Python does its work.

Called by hatchling when the project is installed or a wheel is built.
"""

import subprocess
import sysconfig
from pathlib import Path
from typing import Any

from hatchling.builders.hooks.plugin.interface import BuildHookInterface

FOLDER = "codecs/telephony_codecs"
MODULE = f"{FOLDER}/_filter.abi3.so"  # one for all versions of Python, see Py_LIMITED_API in the source
FLAGS = ("-std=gnu11", "-O3", "-Wall", "-Wextra", "-shared", "-fPIC")
WITHOUT_LINKING = ("-undefined", "dynamic_lookup")  # on macOS; the symbols are Python's


class CompiledParts(BuildHookInterface[Any]):
    PLUGIN_NAME = "custom"

    def initialize(self, version: str, build_data: dict[str, Any]) -> None:
        if self.target_name != "wheel" or not self._compile():
            return
        build_data["artifacts"].append(MODULE)
        build_data["pure_python"] = False
        platform = sysconfig.get_platform().replace("-", "_").replace(".", "_")
        build_data["tag"] = f"cp311-abi3-{platform}"

    def _compile(self) -> bool:
        root = Path(self.root)
        compiler = sysconfig.get_config_var("CC")
        if not compiler:  # Windows
            return False
        platform_flags = WITHOUT_LINKING if sysconfig.get_platform().startswith("macosx") else ()
        include = f"-I{sysconfig.get_path('include')}"
        source = str(root / FOLDER / "_filter.c")
        command = [*compiler.split(), *FLAGS, *platform_flags, include, source, "-o", str(root / MODULE)]
        try:
            done = subprocess.run(command, capture_output=True, text=True)  # noqa: S603 - what built this Python
        except OSError as error:
            reason = str(error)
        else:
            if done.returncode == 0:
                return True
            reason = done.stderr
        (root / MODULE).unlink(missing_ok=True)
        self.app.display_warning(f"resampling is not compiled, and takes several times as long: {reason}")
        return False
