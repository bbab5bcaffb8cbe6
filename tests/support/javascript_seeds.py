"""
The vendors' JavaScript example programs, cut out of their pages as `seeds` does with the Python ones.

Programs for Node run with the packages of `tests/node`, which `scripts/test` installs. Programs for browsers are run by
`browser.py`.
"""

import re
import shutil
import textwrap
from pathlib import Path

import pytest

from tests.support.seeds import Finished, document, replace, run_command

_PACKAGES = Path(__file__).parents[1] / "node" / "node_modules"
_VENDOR = "wss://api.smallest.ai"

# The integration guide leaves to its reader where `WebSocket` and the audio come from, and what ends the program.
_GUIDE_HARNESS = """
const WebSocket = require("ws");
const fs = require("fs");
{program}
ws.addEventListener("open", () => {{
    const audio = fs.readFileSync({audio!r});
    for (let at = 0; at < audio.length; at += 4096) sendAudioChunk(audio.subarray(at, at + 4096));
    endStream();
}});
"""


def pulse_realtime_node(host: str, audio: Path) -> str:
    """The Node program of the realtime examples: a file in chunks, then `finalize`, until the last message."""
    return replace(_example(0), {_VENDOR: f"ws://{host}", "path/to/audio.wav": str(audio)})


def pulse_file_browser(host: str) -> str:
    """The browser program that transcribes the file chosen in `#audioFile`."""
    return replace(_example(1), {_VENDOR: f"ws://{host}"})


def pulse_microphone_browser(host: str) -> str:
    """The browser program that transcribes the microphone for half a minute."""
    return replace(_example(2), {_VENDOR: f"ws://{host}"})


def guide_realtime_node(host: str, audio: Path) -> str:
    """The realtime program of the integration guide."""
    program = _between(document("004_*.txt"), "const API_KEY = process", "endStream() {", "\n}\n")
    return _GUIDE_HARNESS.format(program=replace(program, {_VENDOR: f"ws://{host}"}), audio=str(audio))


def guide_batch_node(host: str, audio: Path) -> str:
    """The pre-recorded program of the integration guide."""
    program = _between(document("004_*.txt"), 'const fs = require("fs");', ".catch(console.error);")
    return replace(program, {"https://api.smallest.ai": f"http://{host}", "recording.wav": str(audio)})


def guide_batch_url_node(host: str, audio_url: str) -> str:
    """The integration guide's function for recordings that are elsewhere, called as its other program calls its own."""
    text = document("004_*.txt")
    program = _between(text, "async function transcribeFromUrl", "return response.json();\n}")
    program = replace(program, {"https://api.smallest.ai": f"http://{host}"})
    return (
        f'const fetch = require("node-fetch");\n{program}\n'
        f"transcribeFromUrl({audio_url!r}).then((result) => console.log(result.transcription)).catch(console.error);\n"
    )


def slng_quickstart_node(host: str) -> str:
    """The JavaScript quickstart of the SLNG page; the file is its argument."""
    (program,) = re.findall(r"```javascript JavaScript[^\n]*\n(.*?)```", document("001_*.txt"), re.DOTALL)
    return replace(textwrap.dedent(program), {"wss://api.slng.ai": f"ws://{host}"})


def lightning_browser(host: str) -> str:
    """The browser program of the Lightning page: a function `transcribeAudio(file)`."""
    program = _between(document("003_*.txt"), 'const API_KEY = "YOUR_API_KEY";', "Connection closed: ", "\n}")
    return replace(program, {"wss://waves-api.smallest.ai": f"ws://{host}"})


async def run_node(program: str, folder: Path, *arguments: str, **environment: str) -> Finished:
    """Run a program in Node with the packages it requires; skips the test where they are not."""
    node = shutil.which("node")
    if node is None:
        pytest.skip("node is not installed")
    if not _PACKAGES.is_dir():
        pytest.skip("the packages of tests/node are not installed: run scripts/test, or npm ci in that folder")
    path = folder / "seed.js"
    path.write_text(program)
    environment = {"NODE_PATH": str(_PACKAGES), "NODE_NO_WARNINGS": "1", **environment}
    return await run_command(node, str(path), *arguments, **environment)


def _example(index: int) -> str:
    """One of the programs of the realtime examples: Node, a file in the browser, the microphone."""
    return textwrap.dedent(re.findall(r"```javascript\n(.*?)```", document("000_*.txt"), re.DOTALL)[index])


def _between(text: str, first: str, *landmarks: str) -> str:
    """From the first occurrence of a text to the end of the last landmark; each is looked for after the one before."""
    start = end = text.index(first)
    for landmark in landmarks:
        end = text.index(landmark, end) + len(landmark)
    return text[start:end]
