"""What every test has in common."""

import logging
import signal
from collections.abc import Iterator

import pytest
import structlog
from hypothesis import HealthCheck, settings

# Machines differ and are shared: how long one example takes is no fact about the code.
settings.register_profile("here", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("here")

# A shell that starts the tests in the background ignores Ctrl-C for them, and so for the programs that they start.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.fixture(autouse=True)
def _logging_as_it_was() -> Iterator[None]:
    """A command that a test runs in this process sets up logging for the whole process: the next test wants its own."""
    root = logging.getLogger()
    before = (list(root.handlers), root.level, structlog.get_config() if structlog.is_configured() else None)
    yield
    handlers, level, configuration = before
    for added in [handler for handler in root.handlers if handler not in handlers]:
        root.removeHandler(added)
    root.setLevel(level)
    logging.captureWarnings(False)
    if configuration is None:
        structlog.reset_defaults()
    else:
        structlog.configure(**configuration)
