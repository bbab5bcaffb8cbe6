"""
Recording: the audio of a call's tracks kept on disk while the call runs, put together when it is over.

`keeper` takes the chunks that `media` makes for `stt` and writes them beside the hot path; `stereo` makes one WAV file
of them for whoever wants the whole call, such as `gateway.post_call`. Deleted when the call has ended.
"""
