"""
Media-stream gateway for telephone speech.

A call walks one way through the rooms of this package: dialects → media → stt → transcript → outbox. `events` and
`errors` are what they share; `call` and `server` are the only modules that know several of them.
"""
