"""Tokens: what each allows, and how many wrong ones somebody may try at the log-in."""

import hmac
import math
from collections.abc import Callable
from enum import StrEnum

import structlog

from gateway import telemetry
from gateway.address_limits import Mentions, TokenBuckets

log = structlog.get_logger()

GUESSES_PER_S = 0.5
GUESSES_AT_ONCE = 20
"""Wrong tokens that one address may show at the log-in."""
MENTION_S = 60.0


class Kind(StrEnum):
    """What a token allows."""

    FULL = "full"
    READ = "read"


class TooManyGuesses(Exception):
    """
    This address has shown too many wrong tokens.

    Args:
        wait_s: whole seconds until it may show the next.
    """

    def __init__(self, wait_s: float) -> None:
        super().__init__("too many wrong tokens")
        self.wait_s = math.ceil(wait_s)


class Tokens:
    """
    The tokens of this gateway.

    Args:
        token: allows everything.
        read_token: allows to look; None: there is none.
        clock: seconds.
    """

    def __init__(self, token: str, read_token: str | None, clock: Callable[[], float]) -> None:
        self._tokens = {Kind.FULL: token} | ({Kind.READ: read_token} if read_token else {})
        self._clock = clock
        self._guesses = TokenBuckets(GUESSES_PER_S, GUESSES_AT_ONCE)
        self._mentions = Mentions(MENTION_S)

    def kind_of(self, presented: str) -> Kind | None:
        """What a token allows; None: it is not one of ours."""
        found = None
        for kind, token in self._tokens.items():  # all of them, so that the time tells nothing
            if hmac.compare_digest(presented.encode(errors="surrogatepass"), token.encode()):
                found = found or kind
        return found

    def try_out(self, presented: str, address: str) -> Kind | None:
        """
        The same, at the log-in, where people type: wrong ones are counted.

        Args:
            address: stands for whoever shows it.

        Raises:
            TooManyGuesses: it was not even looked at, as an answer would be one more guess.
        """
        wait_s = self._guesses.take(address, self._clock())
        if wait_s > 0:
            self._note("limited", address)
            raise TooManyGuesses(wait_s)
        kind = self.kind_of(presented)
        if kind is not None:
            self._guesses.give_back(address)
        self._note(kind.value if kind else "wrong", address)
        return kind

    def _note(self, outcome: str, address: str) -> None:
        telemetry.CONSOLE_LOGINS.labels(outcome).inc()
        times = self._mentions.count(f"{outcome} {address}", self._clock())
        if times:
            level = log.warning if outcome in ("wrong", "limited") else log.info
            level("console_login", outcome=outcome, times=times, pii_address=address)
