"""What every test has in common."""

import signal

from hypothesis import HealthCheck, settings

# Machines differ and are shared: how long one example takes is no fact about the code.
settings.register_profile("here", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("here")

# A shell that starts the tests in the background ignores Ctrl-C for them, and so for the programs that they start.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)
