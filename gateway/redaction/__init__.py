"""
Masking what names people and their cards, in what was said. All of it is pure.

`languages` knows how numbers are read aloud; `numbers`, `cards`, `phones` and `emails` find; `finder` decides what of
it is masked; `masking` puts tokens in its place, in a text and its words; `bodies` does that to events, with what
`memory` has of their call, because recognisers cut numbers at pauses; `cues` masks a cue as its final is; `muting` says
when the recording is to be silent; `policy` makes the masks that the settings ask for.
"""

from gateway.redaction.bodies import BodyMask
from gateway.redaction.policy import Redaction

__all__ = ["BodyMask", "Redaction"]
