"""Call events with made-up but plausible contents."""

from gateway.events import (
    AssistCue,
    CallDtmf,
    CallEnded,
    CallInfo,
    CallStarted,
    Track,
    TranscriptFinal,
    TranscriptPartial,
    Word,
)


def info(call_id: str = "call_1") -> CallInfo:
    return CallInfo(
        id=call_id,
        platform="twilio",
        platform_call_id="CA1",
        stream_id="MZ1",
        account_id="AC1",
        from_number=None,
        to_number="+15550100",
        metadata={"tenant": "acme"},
    )


def started(call_id: str = "call_1", sequence: int = 1) -> CallStarted:
    return CallStarted(call=info(call_id), sequence=sequence, tracks=(Track.INBOUND,), audio="mulaw-8000")


def final(call_id: str = "call_1", sequence: int = 1, text: str = "I'd like a refund.") -> TranscriptFinal:
    return TranscriptFinal(
        call=info(call_id),
        sequence=sequence,
        track=Track.INBOUND,
        speaker="caller",
        text=text,
        start_s=12.34,
        end_s=14.0200004,
        language="en",
        confidence=None,
        words=(Word(word="I'd", start_s=12.34, end_s=12.5, confidence=0.97),),
        provider="pulse-live",
    )


def partial(call_id: str = "call_1", text: str = "I'd", track: Track = Track.INBOUND) -> TranscriptPartial:
    return TranscriptPartial(
        call=info(call_id), sequence=None, track=track, speaker="caller", text=text, start_s=None, provider="local"
    )


def cue(name: str = "refund", text: str = "a refund", *, start_s: float = 1.0, end_s: float = 2.0) -> AssistCue:
    return AssistCue(
        call=info(),
        sequence=1,
        track=Track.INBOUND,
        speaker="caller",
        cue=name,
        text=text,
        note=None,
        start_s=start_s,
        end_s=end_s,
    )


def dtmf(call_id: str = "call_1", sequence: int = 1) -> CallDtmf:
    return CallDtmf(call=info(call_id), sequence=sequence, track=None, digit="5", at_s=1.0)


def ended(call_id: str = "call_1", sequence: int = 2) -> CallEnded:
    return CallEnded(
        call=info(call_id),
        sequence=sequence,
        outcome="completed",
        reason="hangup",
        complete=True,
        duration_s=14.5,
        tracks=(),
        conversation=(),
    )
