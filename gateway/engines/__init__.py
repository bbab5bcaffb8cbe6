"""
Recognisers that run on this machine.

An engine (`base.Engine`) turns one track's audio into recogniser events, synchronously. `worker` is the main program of
a process that hosts several; `pool` starts such processes, spreads sessions over them and gives each session the shape
of `stt.base.Recognizer`. `sphinx` is the engine in use: pocketsphinx with the model that its package brings.
"""
