"""
Audio codecs of the telephone network: G.711, linear PCM, streaming resampling.

Pure functions and small state machines over bytes; no knowledge of calls, sockets or clocks.
"""
