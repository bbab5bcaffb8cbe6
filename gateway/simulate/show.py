"""Events for people: one line each, in colour on a terminal."""

import json
from typing import Any

from rich.console import Console
from rich.markup import escape

_STYLES = {
    "call.started": "bold green",
    "call.ended": "bold green",
    "call.gap": "yellow",
    "stt.degraded": "red",
    "stt.recovered": "green",
    "call.dtmf": "magenta",
    "transcript.partial": "dim",
    "transcript.final": "bold",
    "assist.cue": "cyan",
}


class EventPrinter:
    """Prints events as they arrive, for people or, with `as_json`, one line of JSON each for programs."""

    def __init__(self, *, as_json: bool = False) -> None:
        self._as_json = as_json
        self._console = Console(highlight=False, soft_wrap=True)

    def show(self, event: dict[str, Any]) -> None:
        """Print one event."""
        if self._as_json:
            print(json.dumps(event, ensure_ascii=False), flush=True)
            return
        data = event["data"]
        number = "   " if data["sequence"] is None else f"{data['sequence']:3d}"
        style = _STYLES.get(event["type"], "none")
        self._console.print(f"{number}  [{style}]{event['type']:<19}[/]  {escape(_summary(event['type'], data))}")


def _summary(kind: str, data: dict[str, Any]) -> str:
    match kind:
        case "transcript.final" | "transcript.partial":
            start = data.get("start_s")
            at = "   ?  " if start is None else f"{start:6.2f}"
            forced = " (forced)" if data.get("forced") else ""
            return f"{at} s  {data['speaker']:<7} {data['text']}{forced}"
        case "assist.cue":
            note = f": {data['note']}" if data["note"] else ""
            return f"{data['start_s']:6.2f} s  {data['speaker']:<7} {data['cue']}, “{data['text']}”{note}"
        case "call.started":
            return f"{data['call']['id']}  {data['call']['platform']}  {', '.join(data['tracks'])}  {data['audio']}"
        case "call.ended":
            finals = sum(track["finals"] for track in data["tracks"])
            whole = "complete" if data["complete"] else "not complete"
            length = "? s" if data["duration_s"] is None else f"{data['duration_s']:.2f} s"
            return f"{length}, {finals} finals, {data['outcome']} ({data['reason']}), {whole}"
        case "call.transcript":
            return f"{data['provider']}, {len(data['words'])} words: {data['text']}"
        case "call.gap":
            return (
                f"{data['start_s']:6.2f} s  {data['track']}, {data['end_s'] - data['start_s']:.2f} s: {data['reason']}"
            )
        case "call.dtmf":
            return f"{data['at_s']:6.2f} s  {data['digit']}"
        case "stt.degraded":
            return f"{data['at_s']:6.2f} s  {data['track']}  {data['provider']}: {data['reason']}"
        case "stt.recovered":
            return f"{data['at_s']:6.2f} s  {data['track']}  {data['provider']}"
        case _:
            return json.dumps(data)
