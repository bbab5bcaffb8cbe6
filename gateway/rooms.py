"""What every call shares with all others: made once by the server, handed to each call."""

from collections.abc import Callable
from dataclasses import dataclass, field

from gateway.arrivals import Arrivals
from gateway.assist.finder import CueFinder
from gateway.config import LimitSettings, SttSettings
from gateway.journal import Journal, KeptCall
from gateway.media.tape import Budget
from gateway.post_call import PostCall
from gateway.reporter import EventSink
from gateway.stt.base import Recognizers
from gateway.stt.outages import Outages


@dataclass(frozen=True, slots=True, kw_only=True)
class Rooms:
    """
    The rooms behind a call.

    Args:
        recognizers, sink: where its audio is heard, and where its events go.
        budget: memory for the audio of all calls.
        outages: what is known of recognisers that are down.
        journal: keeps its audio on disk; None: what memory cannot hold is lost.
        hand_over: takes a call that is over before all of it was heard; used with a journal only.
        post_call: what is made of its recording; None: nothing.
        cues: makes what looks for cues in one call; None: there are none.
        arrivals: of the process.
    """

    recognizers: Recognizers
    sink: EventSink
    stt: SttSettings
    limits: LimitSettings
    budget: Budget
    outages: Outages = field(default_factory=Outages)
    journal: Journal | None = None
    hand_over: Callable[[KeptCall], None] = lambda _call: None
    post_call: PostCall | None = None
    cues: Callable[[], CueFinder] | None = None
    arrivals: Arrivals = field(default_factory=Arrivals)
