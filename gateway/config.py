"""
What the gateway can be told: one frozen object, read once at start-up and handed down by constructor.

One model per room, with every check that needs nothing but the settings themselves. Where they come from is in
`config_sources`.
"""

import base64
import hmac
import ipaddress
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Annotated, Any, Literal, Self
from urllib.parse import urlsplit
from xml.etree import ElementTree

from pydantic import BaseModel, ConfigDict, Field, PrivateAttr, SecretStr, field_validator, model_validator

from telephony_codecs.formats import AudioFormat

EVENT_TYPES = (
    "call.started",
    "transcript.partial",
    "transcript.final",
    "assist.cue",
    "call.dtmf",
    "call.gap",
    "stt.degraded",
    "stt.recovered",
    "call.transcript",
    "call.ended",
)
REDACTION_KINDS = frozenset({"card", "email", "phone", "digits", "dtmf"})
BATCH_KINDS = frozenset({"pulse-batch", "pulse-pro-batch"})
"""Kinds of profiles that take whole recordings over HTTP, and no live audio."""
AUDIO_FORMS = ("mulaw-8000", "linear16-8000", "linear16-16000")
LINEAR16_FORMS = ("linear16-8000", "linear16-16000")
AUDIO_FORMS_OF_KIND: Mapping[str, tuple[str, ...]] = {
    "vosk": LINEAR16_FORMS,
    "slng": LINEAR16_FORMS,
    "openai": ("mulaw-8000",),  # linear audio is taken at 24 kHz only
}
"""Kinds of profiles that do not take all of `AUDIO_FORMS`."""
KEEPALIVE_LIMITS_S: Mapping[str, float] = {"soniox": 15.0, "deepgram": 8.0}
"""Kinds of profiles that close a session which is silent for long, and the longest pause that is safe."""
OPTIONS_OF_KIND: Mapping[str, tuple[str, ...]] = {
    "openai": (
        "model",
        "language",
        "prompt",
        "delay",
        "noise_reduction",
        "turn_detection",
        "threshold",
        "prefix_padding_ms",
        "silence_duration_ms",
        "eagerness",
    )
}
"""Kinds of profiles whose options have places of their own in a nested message; others pass on what they are given."""


class _Model(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", hide_input_in_errors=True)

    def __repr_args__(self) -> Iterator[tuple[str | None, Any]]:
        for name, value in super().__repr_args__():
            yield name, masked(name or "", value)


class TwilioSettings(_Model):
    """Twilio Media Streams: signatures and the TwiML that `POST /twilio/voice` answers."""

    auth_token: SecretStr | None = Field(
        None,
        description="auth token of the account; when set, every Twilio request must carry a valid X-Twilio-Signature",
    )
    mode: Literal["start", "connect"] = Field(
        "start", description="`start`: both tracks, one way; `connect`: the caller's track, two way"
    )
    then: str = Field(
        '<Pause length="14400"/>',
        description="TwiML after `<Start>`, for example `<Dial>+1555…</Dial>`; without a verb the call would end",
    )
    stream_token: Literal["off", "optional", "required"] = Field(
        "optional",
        description="one-time tokens in the stream addresses of our own TwiML: `optional`, checked where there is one; "
        "`required`, streams without one are refused (for those who write no TwiML of their own)",
    )
    token_ttl_s: float = Field(
        60.0, ge=1, le=3600, description="how long after the voice webhook a stream may begin with its token"
    )

    @field_validator("then")
    @classmethod
    def _well_formed(cls, value: str) -> str:
        try:
            ElementTree.fromstring(f"<Response>{value}</Response>")  # noqa: S314 - the operator's own setting
        except ElementTree.ParseError as error:
            raise ValueError(f"not well-formed TwiML: {error}") from None
        return value

    @model_validator(mode="after")
    def _goes_on(self) -> Self:
        if self.mode == "start" and not len(ElementTree.fromstring(f"<Response>{self.then}</Response>")):  # noqa: S314
            raise ValueError("then must hold a verb: after <Start> alone the call would end at once")
        return self


class WebhookSettings(_Model):
    """One receiver of events."""

    url: str | None = Field(None, description="where events are posted; none: events are kept in the store only")
    secret: SecretStr | None = Field(
        None, description="Standard Webhooks secret, `whsec_` and base64; required with a URL"
    )
    previous_secrets: tuple[SecretStr, ...] = Field(
        (), description="older secrets that still sign, while receivers change over"
    )
    allow_private: bool = Field(False, description="allow private, loopback and other non-public addresses")
    events: tuple[str, ...] = Field(("*",), description="event types to send; `*` is every durable one")
    concurrency: int = Field(16, ge=1, le=1000, description="requests under way at once")
    connect_timeout_s: float = Field(5.0, gt=0, le=60, description="time to connect")
    timeout_s: float = Field(15.0, gt=0, le=120, description="time for one whole attempt")
    redact: bool | tuple[str, ...] = Field(
        False,
        description="what is masked for this receiver, beyond what is not even stored: `true`, all that `redaction` "
        "names, or a list of kinds and names of patterns",
    )

    @field_validator("url")
    @classmethod
    def _http(cls, value: str | None) -> str | None:
        if value is not None:
            parts = urlsplit(value)
            if parts.scheme not in ("http", "https") or not parts.hostname:
                raise ValueError("must be an http:// or https:// URL")
            if parts.username or parts.password:
                raise ValueError("must not carry a user name or password")
        return value

    @field_validator("secret", "previous_secrets")
    @classmethod
    def _usable(cls, value: Any) -> Any:
        for secret in value if isinstance(value, tuple) else (value,):
            if secret is not None and not _is_webhook_secret(secret.get_secret_value()):
                raise ValueError("not a Standard Webhooks secret: `whsec_` and base64 of 24 to 64 bytes")
        return value

    @field_validator("events")
    @classmethod
    def _known(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        for name in value:
            if name != "*" and name not in EVENT_TYPES:
                raise ValueError(f"unknown event type {name!r}; known are * and {', '.join(EVENT_TYPES)}")
        return value

    @model_validator(mode="after")
    def _signed(self) -> Self:
        if self.url is not None and self.secret is None:
            raise ValueError("a webhook needs a secret")
        if self.url is not None and not self.allow_private:
            host = urlsplit(self.url).hostname or ""
            try:
                address = ipaddress.ip_address(host)
            except ValueError:
                return self
            if not address.is_global:
                raise ValueError("the address is not a public one; set allow_private to send there all the same")
        return self

    def wants(self, event_type: str, *, durable: bool) -> bool:
        """Whether this receiver subscribed to such an event."""
        return event_type in self.events or (durable and "*" in self.events)


class RedactionSettings(_Model):
    """What is masked in what was said, and where. Receivers of webhooks have their own switch, `redact`."""

    kinds: tuple[Literal["card", "email", "phone", "digits", "dtmf"], ...] = Field(
        ("card", "email", "phone", "digits"),
        description="what is masked where masking is on: card numbers, e-mail addresses, phone numbers, other runs of "
        "digits, and (`dtmf`) digits that were pressed",
    )
    patterns: Mapping[str, str] = Field(
        {}, max_length=100, description="more that is masked: name → regular expression (RE2, case counts for nothing)"
    )
    languages: tuple[Literal["en", "de"], ...] = Field(
        ("en",), min_length=1, description="in which numbers and addresses may be read aloud"
    )
    region: str = Field(
        "US", pattern="^[A-Z]{2}$", description="country whose phone numbers are said without a country code"
    )
    store: bool = Field(False, description="mask before anything is stored: the rest is gone for good")
    feed: bool = Field(False, description="mask what the console, the feed and the API of calls show")
    recording: bool = Field(False, description="silence over the same words in recordings")
    margin_s: float = Field(0.15, ge=0, le=2, description="silence before and after such words, too")

    @field_validator("patterns")
    @classmethod
    def _expressions(cls, value: Mapping[str, str]) -> Mapping[str, str]:
        from gateway.patterns import Pattern  # what it stands on is loaded only where it is used

        for name, text in value.items():
            if not _PATTERN_NAME.fullmatch(name) or name in REDACTION_KINDS:
                raise ValueError(f"{name!r} is no name of a pattern: a-z and - only, and none of the kinds")
            try:
                Pattern(text)
            except ValueError as error:
                raise ValueError(f"{name}: {error}") from None
        return value

    @field_validator("region")
    @classmethod
    def _known_region(cls, value: str) -> str:
        from phonenumbers import SUPPORTED_REGIONS  # as above

        if value not in SUPPORTED_REGIONS:
            raise ValueError(f"{value!r} is no country whose phone numbers are known (ISO 3166, such as US or DE)")
        return value

    @property
    def everything(self) -> tuple[str, ...]:
        """Kinds, and names of patterns."""
        return (*self.kinds, *self.patterns)


class OutboxSettings(_Model):
    """How long events are kept and how often they are tried."""

    retention_days: float = Field(
        7.0, gt=0, le=3650, description="how long events are kept after every receiver has them"
    )
    dead_retention_days: float = Field(
        30.0, gt=0, le=3650, description="how long events are kept that a receiver did not take"
    )
    retry_delays_s: tuple[Annotated[float, Field(ge=0, le=604_800)], ...] = Field(
        (5, 300, 1800, 7200, 18_000, 36_000, 50_400, 72_000, 86_400),
        max_length=100,
        description="pauses after failed attempts, give or take 20 %; one more attempt follows the last",
    )
    probe_delays_s: tuple[Annotated[float, Field(ge=0, le=3600)], ...] = Field(
        (5, 10, 20, 40, 60),
        min_length=1,
        max_length=100,
        description="pauses between attempts at a receiver that is down as a whole, give or take 20 %; last repeats",
    )


class SttProfile(_Model):
    """A speech engine: which protocol, where, with which key and audio."""

    kind: Literal[
        "local",
        "pulse",
        "pulse-live",
        "pulse-batch",
        "pulse-pro-batch",
        "deepgram",
        "assemblyai",
        "openai",
        "speechmatics",
        "soniox",
        "vosk",
        "lightning",
        "slng",
    ] = Field(description="protocol")
    url: str | None = Field(
        None,
        description="WebSocket address (batch kinds: HTTP address without these placeholders); may hold {call_id}, "
        "{track}, {platform_call_id}, {metadata.NAME}",
    )
    api_key: SecretStr | None = Field(None, description="sent in the way that the protocol has for it")
    audio: str = Field("mulaw-8000", description="`mulaw-8000` (untouched), `linear16-8000` or `linear16-16000`")
    language: str | None = Field("en", description="language code, unless the call says otherwise")
    chunk_ms: int = Field(100, ge=20, le=1000, description="audio per message")
    connect_timeout_s: float = Field(10.0, gt=0, le=60, description="time to connect")
    keepalive_s: float = Field(5.0, gt=0, le=60, description="silence on the socket before a keep-alive is sent")
    fallback: tuple[str, ...] = Field((), description="profiles that take over while this one fails, in this order")
    failover_after_s: float = Field(
        5.0, ge=0, le=600, description="how long this one may be away before the next of `fallback` takes over"
    )
    failback_after_s: float = Field(
        60.0, ge=1, le=86_400, description="how often a profile of `fallback` looks whether this one is back"
    )
    max_session_s: float | None = Field(
        None,
        ge=10,
        le=172_800,
        description="a session is replaced, in a pause, before it is so old; none: what is known of the vendor",
    )
    options: Mapping[str, str] = Field(
        {}, description="further options of the vendor: query parameters, or fields of its first message"
    )

    @field_validator("audio")
    @classmethod
    def _form(cls, value: str) -> str:
        if value not in AUDIO_FORMS:
            raise ValueError(f"must be one of {', '.join(AUDIO_FORMS)}")
        return value

    @model_validator(mode="after")
    def _address(self) -> Self:
        if self.kind != "local":
            if self.url is None:
                raise ValueError(f"a profile of kind {self.kind} needs a url")
            schemes = ("http", "https") if self.is_batch else ("ws", "wss")
            if urlsplit(self.url).scheme not in schemes:
                raise ValueError(f"url must be a {schemes[0]}:// or {schemes[1]}:// URL")
        return self

    @model_validator(mode="after")
    def _suits_kind(self) -> Self:
        forms = AUDIO_FORMS_OF_KIND.get(self.kind, AUDIO_FORMS)
        if self.audio not in forms:
            raise ValueError(f"audio must be {' or '.join(forms)} for kind {self.kind}, not {self.audio}")
        longest_s = KEEPALIVE_LIMITS_S.get(self.kind, self.keepalive_s)
        if self.keepalive_s > longest_s:
            raise ValueError(f"keepalive_s must be at most {longest_s:g} for kind {self.kind}")
        if self.kind == "vosk" and "model" in self.options:
            raise ValueError("options.model would change the model of every client of the vosk-server")
        if unknown := self.options.keys() - OPTIONS_OF_KIND.get(self.kind, self.options):
            known = ", ".join(OPTIONS_OF_KIND[self.kind])
            raise ValueError(f"unknown options for kind {self.kind}: {', '.join(sorted(unknown))}; known are {known}")
        is_nova_3 = self.kind == "deepgram" and self.options.get("model", "nova-3").startswith("nova-3")
        if is_nova_3 and "keywords" in self.options:
            raise ValueError("options.keywords is for nova-2 and older; nova-3 takes keyterm")
        return self

    @property
    def is_batch(self) -> bool:
        """Whether it takes whole recordings instead of live audio."""
        return self.kind in BATCH_KINDS

    @property
    def format(self) -> AudioFormat:
        """The audio that the engine is sent."""
        return AudioFormat.parse(self.audio)


class SttSettings(_Model):
    """Which speech engine hears the calls."""

    default: str = Field("local", description="profile of calls that name none")
    drain_s: float = Field(10.0, gt=0, le=300, description="how long to wait for the last final after hang-up")
    buffer_s: float = Field(
        30.0, ge=1, le=600, description="audio held in memory per track; older audio is read from the journal"
    )
    recovery_profile: str | None = Field(
        None,
        description="profile, also one for recordings, that hears what no other heard in time; none: the call's own",
    )
    profiles: dict[str, SttProfile] = Field(
        default_factory=lambda: {"local": SttProfile(kind="local")},
        description="profiles by name, in lower case; `local` always exists",
    )

    @model_validator(mode="before")
    @classmethod
    def _with_local(cls, data: Any) -> Any:
        if isinstance(data, dict):
            profiles = data.get("profiles") or {}
            if isinstance(profiles, dict):
                data = {**data, "profiles": {"local": {"kind": "local"}, **profiles}}
        return data

    @model_validator(mode="after")
    def _default_exists(self) -> Self:
        if self.default not in self.profiles:
            raise ValueError(f"default names the profile {self.default!r}, which is not defined")
        if self.profiles[self.default].is_batch:
            raise ValueError(f"default names the profile {self.default!r}, which takes recordings, not live audio")
        return self

    @model_validator(mode="after")
    def _fallbacks_exist(self) -> Self:
        for name, profile in self.profiles.items():
            for other in profile.fallback:
                if other not in self.profiles:
                    raise ValueError(f"fallback of {name!r} names the profile {other!r}, which is not defined")
                if self.profiles[other].is_batch:
                    raise ValueError(f"fallback of {name!r} names {other!r}, which takes recordings, not live audio")
            if name in profile.fallback or len(set(profile.fallback)) < len(profile.fallback):
                raise ValueError(f"fallback of {name!r} names a profile twice")
        return self


class JournalSettings(_Model):
    """The audio of calls in progress, on disk, so that no failure costs a word."""

    enabled: bool = Field(True, description="keep the audio of calls on disk until it is transcribed")
    max_mb: int = Field(
        10_240, ge=1, le=10_000_000, description="disk that the journal may take; beyond it waiting calls are given up"
    )
    max_age_h: float = Field(
        72.0, gt=0, le=8760, description="how long a call that ended may wait for a recogniser; then it is given up"
    )
    sync: bool = Field(False, description="flush each batch to the disk itself: also a power cut then costs a second")


class RecordingSettings(_Model):
    """Recordings of calls, made from the journal."""

    enabled: bool = Field(False, description="keep each call as a WAV file (left inbound, right outbound)")
    retention_days: float = Field(30.0, gt=0, le=3650, description="how long recordings are kept")


class EngineSettings(_Model):
    """The embedded recogniser's worker processes."""

    workers: int = Field(0, ge=0, le=256, description="processes; 0: one per processor")
    sessions_per_worker: int = Field(4, ge=1, le=64, description="tracks that one process recognises at once")
    max_behind_s: float = Field(
        10.0,
        ge=1,
        le=600,
        description="how far recognition may fall behind live audio: from half of it on new tracks are declined, "
        "beyond it the newest give way",
    )
    pause_ms: int = Field(600, ge=100, le=5000, description="silence that ends an utterance")


class SpeechApiSettings(_Model):
    """The speech APIs served to STT clients."""

    enabled: bool = Field(True, description="serve the speech APIs")
    profile: str = Field("local", description="profile that recognises their audio")
    batch_profile: str | None = Field(
        None, description="profile that recognises the recordings they post; none: `speech_api.profile`"
    )
    anonymous: bool = Field(False, description="accept clients without a token")
    finalize: Literal["auto", "turn", "end"] = Field(
        "auto",
        description="what `finalize` does on `get_text`: flush, end the session, or end it if nothing follows",
    )
    finalize_grace_s: float = Field(
        1.0, ge=0, le=30, description="`get_text`: silence after `finalize` that ends the session"
    )
    idle_timeout_s: float = Field(120.0, gt=0, le=3600, description="silence of a client that ends its session")
    max_sessions: int = Field(200, ge=1, le=10_000, description="sessions at once; further ones get 429")
    buffer_mb: int = Field(16, ge=1, le=256, description="audio held per session before the client is made to wait")


class BatchSettings(_Model):
    """Whole recordings: posted to us, fetched by us, sent to batch profiles."""

    max_mb: int = Field(100, ge=1, le=4096, description="largest recording that is taken or fetched")
    max_minutes: float = Field(240.0, gt=0, le=1440, description="longest recording that is taken")
    timeout_s: float = Field(900.0, gt=0, le=7200, description="time to recognise one recording, all attempts together")
    fetch_timeout_s: float = Field(60.0, gt=0, le=3600, description="time to fetch a recording from a URL")
    fetch_private: bool = Field(False, description="fetch from private, loopback and other non-public addresses, too")


class PostCallSettings(_Model):
    """What happens to a call's recording after the call."""

    profile: str | None = Field(
        None, description="profile that transcribes each call's recording after the call; none: nothing is recorded"
    )
    timeout_s: float = Field(
        60.0, gt=0, le=3600, description="how long `call.ended` waits for that transcript; then it comes without"
    )
    max_minutes: float = Field(
        240.0, gt=0, le=1440, description="longest recording of a call; longer ones are given up"
    )


class LiveSettings(_Model):
    """The live feed."""

    max_viewers: int = Field(200, ge=1, le=10_000, description="viewers of the feed at once; further ones get 503")
    viewer_timeout_s: float = Field(
        10.0, gt=0, le=600, description="how long a viewer may leave unread what it was sent before it is dropped"
    )


class TlsSettings(_Model):
    """TLS at the gateway's own port; without a certificate a proxy before it has to end TLS."""

    certificate: Path | None = Field(
        None, description="PEM file, chain included; https and wss are then served, files that change are read again"
    )
    key: Path | None = Field(None, description="PEM file of its private key, without password; none: it is in the same")
    client_ca: Path | None = Field(
        None, description="PEM file of the authorities whose client certificates are demanded of everybody (mutual TLS)"
    )
    min_version: Literal["1.2", "1.3"] = Field("1.2", description="oldest TLS that is spoken")

    @model_validator(mode="after")
    def _has_certificate(self) -> Self:
        if self.certificate is None and (self.key or self.client_ca):
            raise ValueError("key and client_ca are of no use without certificate")
        return self


class AssistSettings(_Model):
    """Agent assist: cues when something is said."""

    rules_file: Path | None = Field(
        None, description="TOML file of rules (docs/assist.md), read again when it changes; none: no cues"
    )


class LimitSettings(_Model):
    """Bounds on what peers can make the gateway hold."""

    max_calls: int = Field(500, ge=1, le=100_000, description="calls at once; further ones get 503")
    max_message_kb: int = Field(64, ge=4, le=4096, description="largest message of a phone platform")
    start_timeout_s: float = Field(10.0, gt=0, le=60, description="time from the upgrade to a valid start message")
    idle_timeout_s: float = Field(120.0, gt=0, le=3600, description="time without any message before a call is closed")
    error_budget: int = Field(50, ge=1, le=10_000, description="bad messages in a row before a call is closed")
    buffer_mb: int = Field(
        256, ge=1, le=1_000_000, description="audio that all calls may hold in memory together; near it calls get 503"
    )
    max_connections: int = Field(
        5000, ge=1, le=1_000_000, description="connections at once; those without a request make room for new ones"
    )
    max_connections_per_address: int = Field(
        2000, ge=0, le=1_000_000, description="connections at once from one address; 0: no such limit"
    )
    address_rate_per_s: float = Field(
        100.0,
        ge=0,
        le=100_000,
        description="upgrades and posts per second from one address (IPv6: one /64), on average; 0: no such limit",
    )
    address_burst: int = Field(3000, ge=1, le=1_000_000, description="and how many of them may come at once")
    trusted_proxies: tuple[str, ...] = Field(
        (), description="networks of proxies whose `X-Forwarded-For` or `Forwarded` names the address that counts"
    )
    handshake_timeout_s: float = Field(
        10.0, gt=0, le=120, description="time from connecting to a whole request head, and for the body of a webhook"
    )
    keepalive_timeout_s: float = Field(
        75.0, gt=0, le=3600, description="how long a connection may wait for its next request"
    )
    unread_timeout_s: float = Field(
        60.0, gt=0, le=3600, description="how long a peer may leave unread what it was sent before it is cut off"
    )

    @field_validator("trusted_proxies")
    @classmethod
    def _networks(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        for text in value:
            try:
                ipaddress.ip_network(text)
            except ValueError:
                raise ValueError(f"{text!r} is not a network such as 10.0.0.0/8 or 192.0.2.7") from None
        return value


class LogSettings(_Model):
    """Logs go to standard output."""

    level: Literal["debug", "info", "warning", "error"] = Field("info", description="least level that is written")
    format: Literal["auto", "json", "console"] = Field("auto", description="`auto`: console on a terminal, else JSON")
    pii: bool = Field(False, description="write values marked as personal instead of hiding them")


class Settings(_Model):
    """Everything the gateway can be told."""

    host: str = Field("127.0.0.1", description="address to listen on")
    port: int = Field(8080, ge=0, le=65535, description="port to listen on; 0: any free one")
    public_url: str | None = Field(
        None, description="https:// address under which the phone platform reaches the gateway"
    )
    data_dir: Path = Field(Path("./data"), description="folder of the store")
    api_token: SecretStr | None = Field(
        None, description="token of the console and the speech APIs; none: one is made at start-up and printed"
    )
    api_read_token: SecretStr | None = Field(
        None, description="second token, which only allows to look: console, `/api` and feed, no speech APIs"
    )
    insecure: bool = Field(False, description="listen beyond loopback although anybody could then place calls")
    drain_timeout_s: float = Field(30.0, ge=0, le=7200, description="after SIGTERM: how long calls may go on")
    tls: TlsSettings = TlsSettings()
    twilio: TwilioSettings = TwilioSettings()
    webhook: WebhookSettings = WebhookSettings()
    outbox: OutboxSettings = OutboxSettings()
    redaction: RedactionSettings = RedactionSettings()
    webhooks: tuple[WebhookSettings, ...] = Field(
        (), description="several receivers, in the file, instead of `webhook`"
    )
    stt: SttSettings = SttSettings()
    journal: JournalSettings = JournalSettings()
    recording: RecordingSettings = RecordingSettings()
    engine: EngineSettings = EngineSettings()
    speech_api: SpeechApiSettings = SpeechApiSettings()
    batch: BatchSettings = BatchSettings()
    post_call: PostCallSettings = PostCallSettings()
    assist: AssistSettings = AssistSettings()
    limits: LimitSettings = LimitSettings()
    live: LiveSettings = LiveSettings()
    log: LogSettings = LogSettings()

    @field_validator("public_url")
    @classmethod
    def _base(cls, value: str | None) -> str | None:
        if value is not None:
            parts = urlsplit(value)
            if parts.scheme not in ("http", "https") or not parts.hostname:
                raise ValueError("must be an http:// or https:// URL")
            if parts.query or parts.fragment:
                raise ValueError("must have no query and no fragment: Twilio strips them")
        return value.rstrip("/") if value else value

    @model_validator(mode="after")
    def _fits_together(self) -> Self:
        if self.webhook.url is not None and self.webhooks:
            raise ValueError("give either webhook or webhooks, not both")
        if any(hook.url is None for hook in self.webhooks):
            raise ValueError("each of webhooks needs a url")
        if len({hook.url for hook in self.webhooks}) < len(self.webhooks):
            raise ValueError("two of webhooks have the same url")
        for hook in self.endpoints:
            unknown = (
                set(() if isinstance(hook.redact, bool) else hook.redact)
                - REDACTION_KINDS
                - set(self.redaction.patterns)
            )
            if unknown:
                raise ValueError(f"redact of a webhook names no kind and no pattern: {', '.join(sorted(unknown))}")
        if self.speech_api.profile not in self.stt.profiles:
            raise ValueError(f"speech_api.profile names the profile {self.speech_api.profile!r}, which is not defined")
        if self.stt.profiles[self.speech_api.profile].is_batch:
            raise ValueError("speech_api.profile takes recordings, not live audio; name it in speech_api.batch_profile")
        for setting, name in (
            ("speech_api.batch_profile", self.speech_api.batch_profile),
            ("post_call.profile", self.post_call.profile),
            ("stt.recovery_profile", self.stt.recovery_profile),
        ):
            if name is not None and name not in self.stt.profiles:
                raise ValueError(f"{setting} names the profile {name!r}, which is not defined")
        if not self.journal.enabled and (self.recording.enabled or self.post_call.profile is not None):
            raise ValueError("recordings are made from the journal: recording and post_call need journal.enabled")
        if self.api_token and self.api_read_token and _are_equal(self.api_token, self.api_read_token):
            raise ValueError("api_token and api_read_token are the same: the one allows more than the other")
        is_anybody = self.twilio.auth_token is None and self.tls.client_ca is None
        if is_anybody and not self.insecure and not _is_loopback(self.host):
            raise ValueError(
                "twilio.auth_token is needed to listen beyond loopback, or tls.client_ca: anybody could place calls"
                " there (set insecure to do it all the same)"
            )
        return self

    _origins: dict[str, str] = PrivateAttr(default_factory=dict)

    def note_origins(self, origins: Mapping[str, str]) -> None:
        """Remember where each setting that was given comes from, by its path, such as `stt.drain_s`."""
        self._origins.update(origins)

    @property
    def origins(self) -> Mapping[str, str]:
        """Where settings come from, such as `environment`, by their paths; the others are defaults."""
        return self._origins

    @property
    def endpoints(self) -> tuple[WebhookSettings, ...]:
        """The configured receivers."""
        return self.webhooks or ((self.webhook,) if self.webhook.url is not None else ())


_PATTERN_NAME = re.compile(r"[a-z](?:[a-z-]{0,30}[a-z])?")
_MASK = "**********"  # as SecretStr has it
# Parameters of a query, but for those that are only a placeholder.
_PARAMETER = re.compile(r"([?&;][^=&;#]*=)(?!\{[^{}]*\}(?:[&;#]|$))[^&;#]+")
# Parts of a path that look like keys, as some receivers give them out; words of a path have no digits or are short.
_KEY_IN_PATH = re.compile(r"(?<=/)(?=[^/?#]*[0-9])[A-Za-z0-9_.~-]{16,}(?=[/?#]|$)")
_SECRET_NAME = re.compile(r"(?:^|[_-])(?:api_?key|key|token|secret|password|auth\w*|credentials?)$", re.IGNORECASE)


def masked(name: str, value: Any) -> Any:
    """A setting as it may be shown: addresses may hold keys, and a vendor's options may be keys."""
    if name == "url" and isinstance(value, str):
        origin = re.match(r"[a-z]+://[^/?#]*", value)
        path = origin.end() if origin else 0
        shown = re.sub(r"(?<=://)[^/?#@]*@", f"{_MASK}@", value[:path]) + _KEY_IN_PATH.sub(_MASK, value[path:])
        return _PARAMETER.sub(rf"\1{_MASK}", shown)
    if name == "options" and isinstance(value, Mapping):
        return {option: _MASK if _SECRET_NAME.search(option) else text for option, text in value.items()}
    return value


def _are_equal(one: SecretStr, other: SecretStr) -> bool:
    return hmac.compare_digest(one.get_secret_value().encode(), other.get_secret_value().encode())


def _is_webhook_secret(text: str) -> bool:
    try:
        key = base64.b64decode(text.removeprefix("whsec_"), validate=True)
    except ValueError:
        return False
    return text.startswith("whsec_") and 24 <= len(key) <= 64


def _is_loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"
