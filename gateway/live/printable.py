"""
A call as a page to be printed, or kept as PDF by the browser: one document without a script.

Whatever a caller, an agent or the phone platform said is text, and written so that it stays text.
"""

from collections.abc import Iterable, Iterator, Mapping
from html import escape
from typing import Any, NamedTuple
from urllib.parse import quote

import msgspec

from gateway.live.answers import Call
from gateway.live.pages import SECURITY_HEADERS

HEADERS = {
    **SECURITY_HEADERS,
    "Content-Security-Policy": "default-src 'none'; style-src 'self'; img-src 'self'; base-uri 'none';"
    " form-action 'none'; frame-ancestors 'none'",
    "Cache-Control": "no-store",
}
"""A style sheet and a picture of ours, and nothing else."""
_OUTCOMES = {
    "completed": "completed",
    "caller_error": "broken off by the caller's side",
    "gateway_error": "broken off by the gateway",
    "upstream_error": "the speech service failed",
    "indeterminate": "unknown",
}


class _Line(NamedTuple):
    """A line of the page, as HTML: when it happened in the call, its class, who or what, and what was said."""

    at_s: float
    kind: str
    who: str
    what: str


class _Data(msgspec.Struct, frozen=True, kw_only=True):
    """What is shown of an event's data; None where its type has no such field."""

    track: str | None = None
    speaker: str | None = None
    text: str | None = None
    cue: str | None = None
    note: str | None = None
    digit: str | None = None
    reason: str | None = None
    provider: str | None = None
    start_s: float | None = None
    end_s: float | None = None
    at_s: float | None = None
    forced: bool = False
    recovered: bool = False
    utterances: tuple[Mapping[str, Any], ...] = ()


class _Event(msgspec.Struct, frozen=True):
    type: str
    data: _Data


_EVENT = msgspec.json.Decoder(_Event)


def page(call: Call, bodies: Iterable[bytes]) -> str:
    """
    The document.

    Args:
        bodies: the call's events, in order.
    """
    events = [_EVENT.decode(body) for body in bodies]
    lines = sorted((line for event in events for line in _lines(event)), key=lambda line: line.at_s)
    heading = f"Call {_between(call)}"
    address = f"/calls/{quote(call.id, safe='')}"
    return f"""<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>{heading} · {escape(call.started_at[:10])}</title>
<link rel="icon" href="/assets/icon.svg">
<link rel="stylesheet" href="/assets/print.css">
</head>
<body>
<header>
<p class="screen"><a href="{address}">Back to the call</a> · to print this page or to keep it
as PDF, use the browser's own print command</p>
<h1>{heading}</h1>
<dl>
{_facts(call)}</dl>
</header>
<main>
{_talk("Transcript", lines, "Nothing was said.")}{_recording(events)}</main>
<footer><p>{escape(call.id)}</p></footer>
</body>
</html>
"""


def _between(call: Call) -> str:
    parties = [number for number in (call.from_number, call.to_number) if number]
    return escape(" → ".join(parties) if parties else call.platform_call_id or call.id)


def _facts(call: Call) -> str:
    facts = [
        ("From", call.from_number),
        ("To", call.to_number),
        ("Began", _day_time(call.started_at)),
        ("Ended", _day_time(call.ended_at) if call.ended_at else "not yet"),
        ("Duration", None if call.duration_s is None else _clock(call.duration_s)),
        ("Outcome", _outcome(call)),
        ("Transcript", {True: "complete", False: "parts are missing", None: None}[call.complete]),
        ("Tracks", ", ".join(call.tracks)),
        ("Platform", call.platform),
        ("Platform's id", call.platform_call_id),
        *sorted(call.metadata.items()),
    ]
    return "".join(f"<div><dt>{escape(name)}</dt><dd>{_text(value)}</dd></div>\n" for name, value in facts if value)


def _outcome(call: Call) -> str | None:
    if call.outcome is None:
        return None
    outcome = _OUTCOMES.get(call.outcome, call.outcome)
    return f"{outcome} ({call.reason})" if call.reason else outcome


def _talk(title: str, lines: Iterable[_Line], nothing: str) -> str:
    rows = "".join(
        f'<li class="{line.kind}"><time>{_clock(line.at_s)}</time><div><b>{line.who}</b> {line.what}</div></li>\n'
        for line in lines
    )
    said = f"<ol>\n{rows}</ol>" if rows else f"<p>{nothing}</p>"
    return f"<section>\n<h2>{title}</h2>\n{said}\n</section>\n"


def _lines(event: _Event) -> Iterator[_Line]:
    data = event.data
    at_s = data.at_s if data.at_s is not None else data.start_s or 0.0
    track = escape(data.track or "")
    match event.type:
        case "transcript.final":
            kind = "said outbound" if data.track == "outbound" else "said"
            yield _Line(at_s, kind, _text(data.speaker), _text(data.text) + _doubt(data))
        case "call.dtmf":
            yield _Line(at_s, "note", f"Key {_text(data.digit)}", track)
        case "call.gap":
            until = _clock(data.end_s or at_s)
            yield _Line(at_s, "note", f"Gap until {until}", f"{track} ({_text(data.reason)})")
        case "stt.degraded":
            yield _Line(at_s, "note", "Recogniser lost", f"{track} ({_text(data.reason)})")
        case "stt.recovered":
            yield _Line(at_s, "note", "Recogniser back", track)
        case "assist.cue":
            note = f" · {_text(data.note)}" if data.note else ""
            yield _Line(at_s, "note", f"Cue {_text(data.cue)}", _text(data.text) + note)
        case _:
            pass  # nothing that happened in the call


def _doubt(data: _Data) -> str:
    marks = [word for word, is_so in (("heard later", data.recovered), ("not confirmed", data.forced)) if is_so]
    return f" <small>({', '.join(marks)})</small>" if marks else ""


def _recording(events: Iterable[_Event]) -> str:
    """The transcript of the recording, if one was made after the call."""
    made = [event.data for event in events if event.type == "call.transcript"]
    return "".join(
        _talk(f"Recording, heard by {_text(data.provider)}", _spoken(data), _text(data.text)) for data in made
    )


def _spoken(data: _Data) -> Iterator[_Line]:
    for each in data.utterances:
        speaker, track = each.get("speaker"), each.get("track")
        who = track or ("" if speaker is None else f"speaker {speaker}")
        kind = "said outbound" if track == "outbound" else "said"
        yield _Line(float(each["start_s"]), kind, _text(str(who)), _text(each["text"]))


def _text(text: str | None) -> str:
    """Text from elsewhere, in the direction in which its own letters run."""
    return f"<bdi>{escape(text)}</bdi>" if text else ""


def _day_time(iso: str) -> str:
    return f"{iso[:10]} {iso[11:19]} UTC"


def _clock(seconds: float) -> str:
    minutes, rest = divmod(int(max(seconds, 0.0)), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{rest:02}" if hours else f"{minutes}:{rest:02}"
