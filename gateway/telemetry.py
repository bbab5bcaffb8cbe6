"""
Logs and metrics, declared in one place.

Log lines are events with values: names are snake_case, room first, past tense. No speech, number, name, token or raw
provider message at `info` or above: a value that is personal goes under a key that begins with `pii_`, which is hidden
unless the operator's settings say otherwise. Metric labels have few values; never a call id.
"""

import asyncio
import logging
import sys
import traceback
from collections.abc import MutableMapping
from typing import Any

import structlog
from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, ProcessCollector, generate_latest

REGISTRY = CollectorRegistry()

_LATENCY_S = (0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0, 2.0, 5.0, 10.0, 30.0)

CALLS_ACTIVE = Gauge("gateway_calls_active", "Calls in progress.", ["dialect"], registry=REGISTRY)
CALLS = Counter("gateway_calls", "Calls that ended.", ["dialect", "outcome"], registry=REGISTRY)
CALLS_REFUSED = Counter(
    "gateway_calls_refused", "Streams refused before the upgrade.", ["dialect", "reason"], registry=REGISTRY
)
CONNECTIONS = Gauge("gateway_connections", "Connections open, looked at once a second.", registry=REGISTRY)
CONNECTIONS_REFUSED = Counter(
    "gateway_connections_refused",
    "Connections and requests that the limits of the front door turned away.",
    ["reason"],
    registry=REGISTRY,
)
CONSOLE_LOGINS = Counter(
    "gateway_console_logins",
    "Tokens shown at the console's log-in, by what came of them.",
    ["outcome"],
    registry=REGISTRY,
)
DIALECT_ERRORS = Counter(
    "gateway_dialect_errors",
    "Messages of phone platforms that broke the protocol.",
    ["dialect", "code"],
    registry=REGISTRY,
)
DIALECT_UNKNOWN = Counter(
    "gateway_dialect_unknown_messages",
    "Messages of a kind that the dialect does not know.",
    ["dialect"],
    registry=REGISTRY,
)
SIGNATURES = Counter(
    "gateway_signature_checks", "Checks of platform signatures.", ["dialect", "outcome"], registry=REGISTRY
)
STREAM_TOKENS = Counter(
    "gateway_stream_tokens", "One-time stream tokens, by what came of them.", ["outcome"], registry=REGISTRY
)
STREAM_STATUS = Counter(
    "gateway_stream_status", "Status callbacks of phone platforms.", ["dialect", "event"], registry=REGISTRY
)
AUDIO_SECONDS = Counter("gateway_audio_seconds", "Audio received.", ["dialect"], registry=REGISTRY)
MEDIA_GAP_SECONDS = Counter(
    "gateway_media_gap_seconds",
    "Audio that did not arrive as a continuous stream.",
    ["kind"],
    registry=REGISTRY,
)
MEDIA_FRAMES_DISCARDED = Counter(
    "gateway_media_frames_discarded", "Duplicate and late frames.", ["kind"], registry=REGISTRY
)
STT_SESSIONS_ACTIVE = Gauge("gateway_stt_sessions_active", "Recogniser sessions open.", ["kind"], registry=REGISTRY)
STT_ERRORS = Counter("gateway_stt_errors", "Recogniser sessions refused or lost.", ["kind", "code"], registry=REGISTRY)
STT_BAD_MESSAGES = Counter(
    "gateway_stt_bad_messages",
    "Messages of recognisers that broke their protocol.",
    ["kind", "code"],
    registry=REGISTRY,
)
STT_CONNECT_SECONDS = Histogram(
    "gateway_stt_connect_seconds",
    "Time to open a recogniser session.",
    ["kind"],
    buckets=_LATENCY_S,
    registry=REGISTRY,
)
STT_FIRST_RESULT_SECONDS = Histogram(
    "gateway_stt_first_result_seconds",
    "From a session's first audio to its first partial or final.",
    ["profile"],
    buckets=_LATENCY_S,
    registry=REGISTRY,
)
STT_RECONNECTS = Counter(
    "gateway_stt_reconnects",
    "Recogniser sessions that took over from another one, which was lost or had its time.",
    ["profile", "reason"],
    registry=REGISTRY,
)
STT_DROPPED_SECONDS = Counter(
    "gateway_stt_dropped_audio_seconds",
    "Audio that no recogniser heard, and that is no longer held.",
    registry=REGISTRY,
)
CUES = Counter("gateway_cues", "Cues of agent assist, by rule.", ["cue"], registry=REGISTRY)
CUE_RULES = Gauge("gateway_cue_rules", "Rules of agent assist in use.", registry=REGISTRY)
CUE_RULES_FAULTY = Gauge(
    "gateway_cue_rules_faulty", "1 while the file of rules cannot be used and older rules stay.", registry=REGISTRY
)
SEGMENTS = Counter("gateway_segments", "Final transcripts.", ["profile", "forced"], registry=REGISTRY)
ENGINE_RESTARTS = Counter(
    "gateway_engine_worker_restarts", "Worker processes of the embedded engine that died.", registry=REGISTRY
)
ENGINE_DECLINED = Counter(
    "gateway_engine_declined",
    "Sessions that the embedded engine declined, or gave up, for want of capacity.",
    ["code"],
    registry=REGISTRY,
)
ENGINE_BEHIND_SECONDS = Gauge(
    "gateway_engine_behind_seconds", "How far the embedded engine is behind with live audio.", registry=REGISTRY
)
SPEECH_API_SESSIONS = Counter(
    "gateway_speech_api_sessions",
    "Sessions of the served speech APIs that ended.",
    ["route", "outcome"],
    registry=REGISTRY,
)
SPEECH_API_ERRORS = Counter(
    "gateway_speech_api_errors",
    "Requests and messages that the served speech APIs refused.",
    ["route", "code"],
    registry=REGISTRY,
)
POST_CALL_TRANSCRIPTS = Counter(
    "gateway_post_call_transcripts", "Recordings of calls, by what came of them.", ["outcome"], registry=REGISTRY
)
JOURNAL_BYTES = Gauge("gateway_journal_bytes", "Disk that the journal takes.", registry=REGISTRY)
JOURNAL_WRITE_SECONDS = Histogram(
    "gateway_journal_write_seconds",
    "Time to write a batch of calls' audio.",
    buckets=_LATENCY_S,
    registry=REGISTRY,
)
JOURNAL_WRITE_ERRORS = Counter(
    "gateway_journal_write_errors", "Writes of a call's audio that failed.", registry=REGISTRY
)
JOURNAL_MISSED_SECONDS = Counter(
    "gateway_journal_missed_audio_seconds", "Audio that memory gave up before it could be written.", registry=REGISTRY
)
RECOVERY_WAITING = Gauge(
    "gateway_recovery_waiting", "Calls that are over and not yet transcribed as a whole.", registry=REGISTRY
)
RECOVERED_CALLS = Counter(
    "gateway_recovered_calls", "Calls that recovery ended, by what came of them.", ["outcome"], registry=REGISTRY
)
OUTBOX_EVENTS = Counter("gateway_outbox_events", "Durable events committed.", ["type"], registry=REGISTRY)
OUTBOX_PENDING = Gauge("gateway_outbox_pending", "Deliveries not yet made.", registry=REGISTRY)
OUTBOX_DEAD = Gauge("gateway_outbox_dead", "Deliveries given up, which can be retried by command.", registry=REGISTRY)
OUTBOX_OLDEST_AGE = Gauge(
    "gateway_outbox_oldest_age_seconds", "Age of the oldest event that waits for a receiver.", registry=REGISTRY
)
OUTBOX_COMMIT_SECONDS = Histogram(
    "gateway_outbox_commit_seconds", "From an event to its commit.", buckets=_LATENCY_S, registry=REGISTRY
)
OUTBOX_WRITE_ERRORS = Counter("gateway_outbox_write_errors", "Commits that failed.", registry=REGISTRY)
WEBHOOK_ATTEMPTS = Counter("gateway_webhook_attempts", "Attempts to deliver.", ["outcome"], registry=REGISTRY)
WEBHOOK_SECONDS = Histogram("gateway_webhook_seconds", "Time of one attempt.", buckets=_LATENCY_S, registry=REGISTRY)
WEBHOOK_CIRCUIT_OPEN = Gauge(
    "gateway_webhook_circuit_open", "1 while a receiver is down and only probed.", ["endpoint"], registry=REGISTRY
)
WEBHOOK_DISABLED = Gauge(
    "gateway_webhook_disabled", "1 for a receiver that wants no more events (410).", ["endpoint"], registry=REGISTRY
)
PARTIALS = Counter(
    "gateway_partials",
    "Partials offered to webhooks, each of which ended in one of these ways.",
    ["outcome"],
    registry=REGISTRY,
)
FEED_VIEWERS = Gauge("gateway_feed_viewers", "Viewers of the live feed.", registry=REGISTRY)
FEED_DROPPED = Counter(
    "gateway_feed_viewers_dropped", "Viewers that did not read what they were sent.", ["reason"], registry=REGISTRY
)
FEED_FINAL_SECONDS = Histogram(
    "gateway_feed_final_seconds",
    "From a final to its event on the way to a viewer.",
    buckets=(0.001, 0.002, *_LATENCY_S[:-1]),
    registry=REGISTRY,
)
ACCEPTING_CALLS = Gauge("gateway_accepting_calls", "1 while new calls are accepted.", registry=REGISTRY)
LOOP_LAG_SECONDS = Histogram(
    "gateway_event_loop_lag_seconds", "How late the event loop came to a timer.", buckets=_LATENCY_S, registry=REGISTRY
)
LOOP_LAG_MAX_SECONDS = Gauge(
    "gateway_event_loop_lag_max_seconds", "The latest of the last 20 such timers.", registry=REGISTRY
)
LOOP_LONGEST_BLOCK_SECONDS = Gauge(
    "gateway_event_loop_longest_block_seconds",
    "Longest time since the start in which the event loop came to nothing else, less at most 20 ms.",
    registry=REGISTRY,
)
LOOP_TASKS = Gauge("gateway_event_loop_tasks", "Tasks that are not done.", registry=REGISTRY)
ProcessCollector(registry=REGISTRY)  # process_resident_memory_bytes, process_open_fds and others; on Linux


def _tasks_now() -> int:
    """Counted when it is asked for: a task that nobody ends shows here, and nowhere else."""
    try:
        return len(asyncio.all_tasks())
    except RuntimeError:  # asked for outside the loop
        return 0


LOOP_TASKS.set_function(_tasks_now)

_HIDDEN = "[hidden]"
_FRAMES_SHOWN = 20


def metrics_page() -> bytes:
    """All metrics in Prometheus' text format."""
    return generate_latest(REGISTRY)


def hide_pii(_logger: object, _name: str, values: MutableMapping[str, Any]) -> MutableMapping[str, Any]:
    """Replace every value whose key begins with `pii_`."""
    for key in values:
        if key.startswith("pii_"):
            values[key] = _HIDDEN
    return values


def shape_exception(_logger: object, _name: str, values: MutableMapping[str, Any]) -> MutableMapping[str, Any]:
    """Say what was raised and where; its text and its variables may hold speech or secrets and stay out."""
    raised = values.pop("exc_info", None)
    if raised is True:
        raised = sys.exc_info()[1]
    if isinstance(raised, BaseException):
        leaves = _leaves(raised)
        values["raised"] = [type(each).__name__ for each in leaves]
        values["at"] = [
            f"{frame.filename}:{frame.lineno} {frame.name}"
            for each in leaves
            for frame in traceback.extract_tb(each.__traceback__, limit=-_FRAMES_SHOWN)
        ]
    return values


def _leaves(error: BaseException) -> list[BaseException]:
    if isinstance(error, BaseExceptionGroup):
        return [leaf for each in error.exceptions for leaf in _leaves(each)]
    return [error]


def configure_logging(level: str = "info", style: str = "auto", *, pii: bool = False) -> None:
    """
    Set up structlog and the standard library's logging.

    Args:
        level: least level that is written.
        style: `json`, `console`, or `auto` (console on a terminal).
        pii: write personal values instead of hiding them.
    """
    console = style == "console" or (style == "auto" and sys.stdout.isatty())
    processors: list[Any] = [
        structlog.contextvars.merge_contextvars,
        structlog.processors.add_log_level,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
        shape_exception,
    ]
    if not pii:
        processors.append(hide_pii)
    if console:
        processors.append(structlog.dev.ConsoleRenderer(colors=sys.stdout.isatty()))
    else:
        processors.append(structlog.processors.JSONRenderer())
    number = getattr(logging, level.upper())
    structlog.configure(
        processors=processors,
        wrapper_class=structlog.make_filtering_bound_logger(number),
        logger_factory=structlog.PrintLoggerFactory(),
        cache_logger_on_first_use=False,
    )
    # Libraries speak through logging. Their warnings matter, not their chatter.
    logging.captureWarnings(True)  # aiohttp's quote what clients sent, and would go to standard error
    root = logging.getLogger()
    root.setLevel(max(number, logging.WARNING))
    if not any(isinstance(handler, _LibraryHandler) for handler in root.handlers):
        root.addHandler(_LibraryHandler())


class _LibraryHandler(logging.Handler):
    """Makes log lines of what libraries say; their texts quote requests, addresses and results of tasks."""

    def emit(self, record: logging.LogRecord) -> None:
        raised = record.exc_info[1] if record.exc_info else None
        try:
            text = record.getMessage()
        except (TypeError, ValueError):
            text = str(record.msg)
        log = structlog.get_logger()
        if type(raised).__module__ == "aiohttp.http_exceptions":  # anybody can make as many of them as they like
            log.debug("http_request_malformed", exc_info=raised)
            return
        level = log.error if record.levelno >= logging.ERROR else log.warning
        level("library_warned", library=record.name, pii_text=text, exc_info=raised)
