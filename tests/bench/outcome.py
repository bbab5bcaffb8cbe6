"""What the programs of the benchmark tell each other when a run is over. Times are CLOCK_MONOTONIC, seconds."""

import msgspec


class TrackHeard(msgspec.Struct):
    """
    One track, as it came to the speech service.

    Attributes:
        frames: how much audio came; not always whole.
        sessions: connections that it came over.
        messages: of audio.
        pulses: frame, code, moment of arrival, and where the message that brought it ended, in frames.
        chunks: if they are noted: by message of audio, when it came, and where it ended, in frames.
    """

    frames: float
    sessions: int
    messages: int
    pulses: list[tuple[int, int, float, float]]
    chunks: list[tuple[float, float]] = []


class Behind(msgspec.Struct):
    """
    Everything that came out of the server.

    Attributes:
        tracks: by name, `b00012-inbound`.
        finals: when each was said, and when the request with it came; None: it did not.
        said: when each was said, by its text.
        events: webhooks by type.
        disordered: events that were not the next one of their call.
        incomplete: calls whose end says that not all was heard.
    """

    tracks: dict[str, TrackHeard]
    finals: list[tuple[float, float | None]]
    events: dict[str, int]
    disordered: int
    incomplete: int
    said: dict[str, float] = {}


class TrackSent(msgspec.Struct):
    """
    One track, as it was sent.

    Attributes:
        frames: how many.
        pulses: frame, code, and when it was handed to the network.
        chunks: if they are noted: when the last frame of each was.
    """

    frames: int
    pulses: list[tuple[int, int, float]]
    chunks: list[float] = []


class Sent(msgspec.Struct):
    """
    Everything that went into the server.

    Attributes:
        tracks: by name.
        faults: calls that did not come to their end, in words.
        connect_s: by call, from dialling to the answer to the upgrade.
        late_s: by pulse, from when it was due to when it was sent.
    """

    tracks: dict[str, TrackSent]
    faults: list[str]
    connect_s: list[float]
    late_s: list[float]
