"""
The vendor's own example programs, run unchanged against our server.

Their text is not ours to keep: it is cut out of the documents in `../shared/seeds` beside the checkout, and tests skip
where that folder is absent. Only host, key and file name are replaced, and names that a snippet leaves to its reader
are defined around it.
"""

import ast
import asyncio
import os
import re
import sys
import textwrap
from dataclasses import dataclass
from pathlib import Path

import pytest

_FOLDER = Path(__file__).parents[2].parent / "shared" / "seeds"
_VENDOR = "wss://api.smallest.ai"
_DEADLINE_S = 100.0

# The document of the live programs has lost its line breaks: indentation and number of words of each line.
_AGENT_LINES = (
    "0:4 0:3 0:5 0:5 1:6 2:3 3:5 4:2 5:1 4:2 2:10 2:3 3:3 2:3 3:5 4:3 4:2 5:6 4:2 5:6 2:3 2:3 2:6 2:3 2:2 2:1"
)
_SINGLE_SHOT_LINES = "0:4 0:3 0:5 0:3 1:6 2:6 3:2 2:3 2:5 3:3 3:2 4:1 3:2 4:1 0:2"

_AGENT_HARNESS = """

async def _main():
    stop_event = asyncio.Event()

    async def audio_source():
        audio = open({audio!r}, "rb").read()
        for at in range(0, len(audio), 3200):
            yield audio[at : at + 3200]
        stop_event.set()

    async def llm_reply(text):
        print("Turn:", text)

    await run_voice_agent(audio_source(), llm_reply, stop_event)

asyncio.run(_main())
"""


@dataclass(frozen=True)
class Finished:
    """What a program left behind."""

    code: int
    output: str
    errors: str


def pulse_realtime(host: str, audio: Path) -> str:
    """The Python program of the realtime examples: a file in chunks, then `finalize`, until the last message."""
    (program,) = re.findall(r"```python\n(.*?)```", document("000_*.txt"), re.DOTALL)
    program = textwrap.dedent(program)
    return replace(program, {_VENDOR: f"ws://{host}", "path/to/audio.wav": str(audio)})


def live_agent(host: str, key: str, audio: Path) -> str:
    """The voice agent of the unified live page; its call ends when the audio does."""
    program = replace(_live_program(0, _AGENT_LINES), {_VENDOR: f"ws://{host}"})
    return f"API_KEY = {key!r}\n{program}{_AGENT_HARNESS.format(audio=str(audio))}"


def live_single_shot(host: str, key: str, audio: Path) -> str:
    """The single-shot program of the unified live page: sends everything before it reads anything."""
    program = _live_program(1, _SINGLE_SHOT_LINES)
    return f"API_KEY = {key!r}\n" + replace(program, {_VENDOR: f"ws://{host}", "audio.pcm": str(audio)})


def lightning(host: str, key: str, audio: Path) -> str:
    """The Python program of the Lightning page: a file in chunks, then `end`, until the server closes."""
    (program,) = re.findall(
        r"Code Examples\n\n(import asyncio.*?)\nBrowser JavaScript", document("003_*.txt"), re.DOTALL
    )
    changes = {"wss://waves-api.smallest.ai": f"ws://{host}", "YOUR_API_KEY": key, "path/to/audio.wav": str(audio)}
    return replace(program, changes)


def slng(host: str) -> str:
    """The Python program of SLNG's examples: after `ready` the whole file at once, then `close`, then it reads."""
    (program,) = re.findall(r"```python Python[^\n]*\n(.*?)```", _quick_start(), re.DOTALL)
    return replace(textwrap.dedent(program), {"wss://api.slng.ai": f"ws://{host}"})


def microphone(host: str) -> str:
    """The Python program of the integration guide: a microphone, without end."""
    programs = re.findall(
        r"^import asyncio\nimport json\nimport os\nimport websockets\nimport sounddevice.*?^asyncio\.run\(.*?\)$",
        document("004_*.txt"),
        re.DOTALL | re.MULTILINE,
    )
    assert programs, "the document has changed"
    return replace(programs[0], {_VENDOR: f"ws://{host}"})


def batch_file(host: str, audio: Path) -> str:
    """The Python program of the integration guide that posts a file."""
    return _batch_program(host, "result = transcribe(", {"recording.wav": str(audio)})


def batch_url(host: str, url: str) -> str:
    """The Python program of the integration guide that posts the address of a file."""
    old = "http://thepodcastexchange.ca/s/Porsche-Macan-July-5-2018-1.mp3"
    return _batch_program(host, "result = transcribe_from_url(", {old: url})


def batch_features(host: str, audio: Path) -> str:
    """The snippet of the integration guide that asks for everything; prints the answer."""
    text = document("004_*.txt")
    start = text.index("response = requests.post(", text.index("Optional enrichment features"))
    program = text[start : text.index('print(result["transcription"])', start)]
    changes = {"https://api.smallest.ai": f"http://{host}", "call_recording.wav": str(audio)}
    return "import json, os, requests\n" + replace(program, changes) + "print(json.dumps(result))\n"


def _batch_program(host: str, call: str, changes: dict[str, str]) -> str:
    """The document shows each program three times over: the first, from its imports to its print."""
    text = document("004_*.txt")
    at = text.index(call)
    start = text.rindex("import os\nimport requests", 0, at)
    last = 'print(result["transcription"])'
    program = text[start : text.index(last, at) + len(last)]
    ast.parse(program)
    return replace(program, {"https://api.smallest.ai": f"http://{host}", **changes})


async def run(program: str, folder: Path, *arguments: str, key: str, python: Path | None = None) -> Finished:
    """Run a Python program in a process of its own, which has a minute; with our own Python unless told otherwise."""
    command = [str(python or sys.executable), str(_written(program, folder)), *arguments]
    return await run_command(*command, **_environment(key))


async def run_until(text: str, program: str, folder: Path, *, key: str, python: Path, **environment: str) -> str:
    """Run a program that does not end by itself until it has printed this, end it, and return its output."""
    process = await asyncio.create_subprocess_exec(
        str(python),
        str(_written(program, folder)),
        env={**os.environ, **_environment(key), **environment},
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.DEVNULL,
    )
    assert process.stdout is not None
    output = b""
    try:
        async with asyncio.timeout(_DEADLINE_S):
            while text.encode() not in output:
                read = await process.stdout.read(4096)
                assert read, f"it ended, having printed {output.decode()!r}"
                output += read
            process.terminate()
            await process.communicate()
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()
    return output.decode()


def _written(program: str, folder: Path) -> Path:
    path = folder / "seed.py"
    path.write_text(program)
    return path


def _environment(key: str) -> dict[str, str]:
    return {"SMALLEST_API_KEY": key, "SLNG_API_KEY": key, "PYTHONUNBUFFERED": "1"}


def _quick_start() -> str:
    return document("001_*.txt").partition("## Quick Start")[2]


async def run_command(*command: str, **environment: str) -> Finished:
    """Run a command to its end, which has a minute."""
    process = await asyncio.create_subprocess_exec(
        *command,
        env={**os.environ, **environment},
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    try:
        async with asyncio.timeout(_DEADLINE_S):
            output, errors = await process.communicate()
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()
    assert process.returncode is not None
    return Finished(process.returncode, output.decode(), errors.decode())


def document(pattern: str) -> str:
    """The text of the vendor's page of that name; skips the test where it is not."""
    paths = sorted(_FOLDER.glob(pattern))
    if not paths:
        pytest.skip(f"the vendor's example {pattern} is not beside this checkout (../shared/seeds)")
    return paths[0].read_text()


def _live_program(index: int, lines: str) -> str:
    words = iter(re.findall(r"```python (.*?) ```", document("002_*.txt"), re.DOTALL)[index].split())
    program = ""
    for line in lines.split():
        indentation, count = map(int, line.split(":"))
        program += "    " * indentation + " ".join(next(words) for _ in range(count)) + "\n"
    assert next(words, None) is None, "the document has changed: its lines are no longer where they were"
    ast.parse(program)
    return program


def replace(program: str, changes: dict[str, str]) -> str:
    """The program with host, key or file name replaced; each must be there."""
    for old, new in changes.items():
        assert old in program
        program = program.replace(old, new)
    return program
