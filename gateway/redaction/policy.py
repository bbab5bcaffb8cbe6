"""Who sees what: the masks that the settings ask for, made once."""

from gateway.config import RedactionSettings, WebhookSettings
from gateway.patterns import Pattern
from gateway.redaction.bodies import BodyMask
from gateway.redaction.finder import Finder


class Redaction:
    """
    The masks of one gateway; None where nothing is masked.

    Attributes:
        store: of everything before it is stored or sent.
        viewers: of what the console and the feed show.
        recording: of what is not to be heard in recordings.
    """

    def __init__(self, settings: RedactionSettings) -> None:
        self._settings = settings
        self._patterns = {name: Pattern(text) for name, text in settings.patterns.items()}
        self._made: dict[tuple[str, ...], BodyMask] = {}
        self.store = self._mask(settings.everything) if settings.store else None
        self.viewers = self._mask(settings.everything) if settings.store or settings.feed else None
        self.recording = self._mask(settings.everything) if settings.recording else None

    def of_endpoint(self, webhook: WebhookSettings) -> BodyMask | None:
        """What one receiver does not get, beyond what is not even stored."""
        if webhook.redact is True:
            return self._mask(self._settings.everything)
        return self._mask(webhook.redact) if webhook.redact else None

    def _mask(self, kinds: tuple[str, ...]) -> BodyMask:
        key = tuple(sorted(set(kinds)))
        if key not in self._made:
            patterns = {name: pattern for name, pattern in self._patterns.items() if name in key}
            finder = Finder(key, patterns, self._settings.languages, self._settings.region)
            self._made[key] = BodyMask(finder, keys="dtmf" in key)
        return self._made[key]
