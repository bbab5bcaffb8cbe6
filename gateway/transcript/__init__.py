"""
Transcript: segments of both tracks become one conversation.

Takes what `stt.session` emits; its lines end up in `call.ended`. `export` writes passages as JSON, text, SRT and
WebVTT; `recorded` makes passages of a recording's transcript. Pure.
"""
