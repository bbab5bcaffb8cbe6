"""
Transcript: segments of both tracks become one conversation.

Takes what `stt.session` emits; its lines end up in `call.ended` and, later, in exports. Pure.
"""
