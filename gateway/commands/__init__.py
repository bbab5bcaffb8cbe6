"""
The commands: their arguments, and what they hand on to.

Each imports what it needs when it runs, so that `--help` answers at once; `gateway.cli` puts them together.
"""
