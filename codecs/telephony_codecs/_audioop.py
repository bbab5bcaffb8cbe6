"""
The one import of `audioop`: a standard module until Python 3.12, the package audioop-lts from 3.13 on.

Python 3.11 and 3.12 announce the removal with a DeprecationWarning at import. The replacement is already a
dependency where it is needed, so the warning would tell the operator nothing.
"""

import warnings

with warnings.catch_warnings():
    warnings.filterwarnings("ignore", "'audioop' is deprecated", DeprecationWarning)
    from audioop import alaw2lin, lin2alaw, lin2ulaw, rms, ulaw2lin

__all__ = ["alaw2lin", "lin2alaw", "lin2ulaw", "rms", "ulaw2lin"]
