"""
Phone platforms' media protocols: provider message in, typed event out; no socket, no clock, no task.

`base` is the shape that every dialect has; `twilio` is Twilio Media Streams and what imitates it, `twiml` writes the
answer that makes Twilio open a stream, `twilio_signature` proves that a request came from Twilio. The call's owner
(`gateway.call`) carries the messages and hands the events to `media`, the next room.
"""
