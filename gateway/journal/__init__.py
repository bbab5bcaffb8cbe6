"""
The journal: the audio of calls in progress on disk, so that neither a recogniser nor this process can lose a word.

One file per call. `format` (pure) frames its records, `index` (pure) knows where which audio lies; `disk` and `reader`
do the blocking work on the journal's one thread (`hand`); `Journal` writes all live calls every 0.75 s from their tapes
(`media.tape`), `CallJournal` is one of them, `KeptCall` a file that nobody writes any more: of a call that recovery
goes on with, in this process or the next. `recording` makes a stereo WAV file of either.
"""

from gateway.journal.contents import CallHeader, RecordingInfo, StreamEnd
from gateway.journal.kept import KeptCall
from gateway.journal.live import CallJournal
from gateway.journal.recording import Muted, remove_unfinished
from gateway.journal.writer import Journal

__all__ = [
    "CallHeader",
    "CallJournal",
    "Journal",
    "KeptCall",
    "Muted",
    "RecordingInfo",
    "StreamEnd",
    "remove_unfinished",
]
