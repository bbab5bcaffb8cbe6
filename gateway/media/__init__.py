"""
Media: from messages of audio to gap-free audio on a sample timeline.

Takes `AudioReceived` from a dialect; hands `Stretch`es of one track's audio to its recogniser session (`stt.session`).
Pure: no clock but the platform's own counters. Decoding and resampling are `telephony_codecs.convert`.
"""
