"""What a start loads, and what it does not: each library costs time before the first call, and memory ever after."""

import json
import pkgutil
import subprocess
import sys

import gateway
import telephony_codecs
from tests.support.whole_gateway import clean_environment

# What other commands need, and the worker processes of the embedded recogniser.
NOT_FOR_A_SERVER = {
    "jiwer",
    "matplotlib",
    "multiprocessing",
    "numpy.f2py",
    "numpy.testing",
    "pocketsphinx",
    "rich.live",
    "rich.progress",
    "scipy",
    "gateway.deliveries",
    "gateway.demo",
    "gateway.doctor",
    "gateway.engines.decoder",
    "gateway.engines.sphinx",
    "gateway.evaluate",
    "gateway.simulate",
    "gateway.transcribe",
}
NOT_FOR_HELP = {
    "aiohttp",
    "asyncio",
    "numpy",
    "prometheus_client",
    "pydantic",
    "rich",
    "scipy",
    "sqlite3",
    "ssl",
    "structlog",
    "telephony_codecs",
    "uvloop",
    "websockets",
}


def said_by(code: str, *arguments: str) -> str:
    """The last line that a fresh interpreter prints."""
    done = subprocess.run(
        [sys.executable, "-c", code, *arguments],
        env=clean_environment({}),
        capture_output=True,
        text=True,
        timeout=50,
        check=True,
    )
    return done.stdout.splitlines()[-1]


def loaded_by(code: str, *arguments: str) -> set[str]:
    """Names of all modules that a fresh interpreter has loaded after `code`."""
    listing = "import json, sys\nprint(json.dumps(list(sys.modules)))"
    names: list[str] = json.loads(said_by(f"{code}\n{listing}", *arguments))
    return set(names)


def test_a_server_loads_nothing_that_only_other_commands_need() -> None:
    loaded = loaded_by("import gateway.server")

    assert "gateway.server" in loaded
    assert loaded & NOT_FOR_A_SERVER == set()


def test_help_loads_no_part_of_the_gateway_but_the_command_line() -> None:
    code = "import contextlib\nfrom gateway import cli\nwith contextlib.suppress(SystemExit): cli.main()"

    loaded = loaded_by(code, "--help")

    assert loaded & NOT_FOR_HELP == set()
    ours = {name for name in loaded if name.startswith("gateway") and not name.startswith("gateway.commands")}
    assert ours == {"gateway", "gateway.cli", "gateway.errors"}


def test_no_part_of_the_product_needs_a_library_that_only_tests_have() -> None:
    packages = (gateway, telephony_codecs)
    parts = [
        each.name for package in packages for each in pkgutil.walk_packages(package.__path__, f"{package.__name__}.")
    ]
    every = ", ".join(name for name in parts if not name.endswith(".__main__"))

    loaded = loaded_by(f"import {every}")

    assert "gateway.engines.sphinx" in loaded
    assert loaded & {"scipy", "matplotlib", "soxr", "twilio", "hypothesis", "pytest"} == set()


UP_TO_THE_LOOP = """
import gc, json, sys
from gateway import cli
from gateway.commands import serve

def run(coroutine):
    coroutine.close()
    looked_at = gc.get_objects()
    modules = [vars(sys.modules[name]) for name in ("gateway.server", "aiohttp.web", "pydantic", "structlog")]
    print(json.dumps([gc.isenabled(), sum(any(each is one for one in looked_at) for each in modules)]))

serve.run = run
cli.cli(["serve"], standalone_mode=False)
"""


def test_garbage_collection_never_looks_at_what_a_server_has_loaded() -> None:
    is_collecting, modules_looked_at = json.loads(said_by(UP_TO_THE_LOOP))

    assert is_collecting
    assert modules_looked_at == 0


def test_wrong_settings_leave_garbage_collection_as_it_was() -> None:
    code = """
import gc
from gateway import cli, errors
before = gc.get_freeze_count()  # Python 3.12 begins with some
try:
    cli.cli(["serve", "--set", "port=none"], standalone_mode=False)
except errors.ConfigError:
    print(int(gc.isenabled()), gc.get_freeze_count() - before)
"""
    assert said_by(code).split() == ["1", "0"]
