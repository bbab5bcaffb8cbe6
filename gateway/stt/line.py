"""Recogniser sessions, each opened, held and released by one task."""

import asyncio
from contextlib import AsyncExitStack

from msgspec import structs

from gateway.errors import GatewayError, PeerError, RecognizerUnavailable, UnavailableError
from gateway.events import RecognizerRequest
from gateway.stt.base import Recognizer, Recognizers
from gateway.stt.outages import Outages
from telephony_codecs.formats import AudioFormat


class Line:
    """
    A line to a recogniser. `run` is its task; it ends when the line is released, or could not be opened.

    Args:
        recognizers: where it leads.
        profile: which of them.
        request: the session wanted; `request.format` is the track's own.
        patience_s: time to open it; None: what the profile's own settings allow.

    Attributes:
        profile: as given.
        form: of the audio that the recogniser wants, once it is open.
        error: why it could not be opened, once that is known.
    """

    def __init__(
        self, recognizers: Recognizers, profile: str, request: RecognizerRequest, patience_s: float | None
    ) -> None:
        self.profile = profile
        self.form: AudioFormat = request.format
        self.error: GatewayError | None = None
        self._recognizers = recognizers
        self._request = request
        self._patience_s = patience_s
        self._opened: asyncio.Future[Recognizer | None] = asyncio.get_running_loop().create_future()
        self._released = asyncio.Event()

    async def run(self) -> None:
        """Open the session and keep it until it is released."""
        try:
            async with AsyncExitStack() as stack:
                async with asyncio.timeout(self._patience_s):
                    self.form = self._recognizers.audio_format(self.profile, self._request.format)
                    request = structs.replace(self._request, format=self.form)
                    recognizer = await stack.enter_async_context(self._recognizers.open(self.profile, request))
                self._opened.set_result(recognizer)
                await self._released.wait()
        except TimeoutError:
            self._fail(RecognizerUnavailable("the recogniser did not answer in time", code="stt_connect_timeout"))
        except (UnavailableError, PeerError) as error:
            self._fail(error)
        finally:
            self._opened.cancel()

    @property
    def is_settled(self) -> bool:
        """Whether it is known if the line could be opened."""
        return self._opened.done()

    async def opened(self) -> Recognizer | None:
        """The session once it is open; None: there is an error."""
        return await asyncio.shield(self._opened)

    def release(self) -> None:
        """The session is not used any more; nothing that it still says is heard."""
        self._released.set()

    def _fail(self, error: GatewayError) -> None:
        if not self._opened.done():
            self.error = error
            self._opened.set_result(None)


class Lines:
    """
    Opens a track's lines, and tells the other tracks what came of it.

    Args:
        recognizers, request: of each line.
        outages: shared by all tracks.
        tasks: where the lines' tasks live.
    """

    def __init__(
        self, recognizers: Recognizers, request: RecognizerRequest, outages: Outages, tasks: asyncio.TaskGroup
    ) -> None:
        self._recognizers = recognizers
        self._request = request
        self._outages = outages
        self._tasks = tasks
        self._loop = asyncio.get_running_loop()
        self._open: dict[Line, asyncio.Task[None]] = {}

    def may_try(self, profile: str, now: float) -> bool:
        """Whether a profile may be tried, as far as other tracks know."""
        return self._outages.wait_s(profile, now) == 0.0

    def wait_s(self, profile: str) -> float:
        """Seconds until it may be."""
        return self._outages.wait_s(profile, self._loop.time())

    def open(self, profile: str, patience_s: float | None = None) -> Line:
        """Begin to open a line; whoever called releases it."""
        self._outages.begin(profile, self._loop.time())
        line = Line(self._recognizers, profile, self._request, patience_s)
        task = self._tasks.create_task(self._run(line), name=f"stt-{self._request.track}-{profile}")
        self._open[line] = task
        task.add_done_callback(lambda _task: self._open.pop(line, None))
        return line

    def worked(self, profile: str) -> None:
        """A session is of use."""
        self._outages.worked(profile)

    def failed(self, profile: str, error: GatewayError) -> None:
        """A session was lost before it was of any use."""
        self._outages.failed(profile, error, self._loop.time())

    def release(self) -> None:
        """No line is used any more; those that are still being opened are given up."""
        for line, task in self._open.items():
            line.release()
            if not line.is_settled:
                self._outages.unknown(line.profile)
                task.cancel()

    async def _run(self, line: Line) -> None:
        await line.run()
        if line.error is not None:
            self.failed(line.profile, line.error)
