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
_DEADLINE_S = 50.0

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
    (program,) = re.findall(r"```python\n(.*?)```", _document("000_*.txt"), re.DOTALL)
    program = textwrap.dedent(program)
    return _replace(program, {_VENDOR: f"ws://{host}", "path/to/audio.wav": str(audio)})


def live_agent(host: str, key: str, audio: Path) -> str:
    """The voice agent of the unified live page; its call ends when the audio does."""
    program = _replace(_live_program(0, _AGENT_LINES), {_VENDOR: f"ws://{host}"})
    return f"API_KEY = {key!r}\n{program}{_AGENT_HARNESS.format(audio=str(audio))}"


def live_single_shot(host: str, key: str, audio: Path) -> str:
    """The single-shot program of the unified live page: sends everything before it reads anything."""
    program = _live_program(1, _SINGLE_SHOT_LINES)
    return f"API_KEY = {key!r}\n" + _replace(program, {_VENDOR: f"ws://{host}", "audio.pcm": str(audio)})


async def run(program: str, folder: Path, *, key: str) -> Finished:
    """Run a program in a process of its own, which has a minute."""
    path = folder / "seed.py"
    path.write_text(program)
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        str(path),
        env={**os.environ, "SMALLEST_API_KEY": key, "PYTHONUNBUFFERED": "1"},
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


def _document(pattern: str) -> str:
    paths = sorted(_FOLDER.glob(pattern))
    if not paths:
        pytest.skip(f"the vendor's example {pattern} is not beside this checkout (../shared/seeds)")
    return paths[0].read_text()


def _live_program(index: int, lines: str) -> str:
    words = iter(re.findall(r"```python (.*?) ```", _document("002_*.txt"), re.DOTALL)[index].split())
    program = ""
    for line in lines.split():
        indentation, count = map(int, line.split(":"))
        program += "    " * indentation + " ".join(next(words) for _ in range(count)) + "\n"
    assert next(words, None) is None, "the document has changed: its lines are no longer where they were"
    ast.parse(program)
    return program


def _replace(program: str, changes: dict[str, str]) -> str:
    for old, new in changes.items():
        assert old in program
        program = program.replace(old, new)
    return program
