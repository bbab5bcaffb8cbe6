"""
What clients can be made from: the JSON Schema of the events, and the OpenAPI document of `/api`.

Both come from the types that make the answers, so they cannot say anything else. Sources: JSON Schema 2020-12; OpenAPI
3.1.0, which uses it as it is.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import msgspec

from gateway.events import CallEvent

_DIALECT = "https://json-schema.org/draft/2020-12/schema"
EVENT = "Event"


def event_types() -> list[type[CallEvent]]:
    """Every kind of event, in the order of their names."""
    return sorted(CallEvent.__subclasses__(), key=lambda each: each.type)


def event_schema() -> dict[str, Any]:
    """The JSON Schema of what webhooks and viewers get: one of all events."""
    components, event = _events("#/$defs/{name}")
    return {"$schema": _DIALECT, "title": "Events of calls", **event, "$defs": components}


def event_components() -> dict[str, Any]:
    """The same as components of an OpenAPI document; `Event` is one of all."""
    components, event = _events("#/components/schemas/{name}")
    return {**components, EVENT: event}


def components_of(types: Sequence[type]) -> dict[str, Any]:
    """Schemas of answers and requests by the names of their types."""
    _, components = msgspec.json.schema_components(types, ref_template="#/components/schemas/{name}")
    return components


def _events(reference: str) -> tuple[dict[str, Any], dict[str, Any]]:
    kinds = event_types()
    _, components = msgspec.json.schema_components(kinds, ref_template=reference)
    envelopes: dict[str, Any] = {}
    mapping: dict[str, str] = {}
    for kind in kinds:
        name = f"{kind.__name__}Event"
        envelopes[name] = _envelope(kind, reference.format(name=kind.__name__))
        mapping[kind.type] = reference.format(name=name)
    one_of = {
        "oneOf": [{"$ref": each} for each in mapping.values()],
        "discriminator": {"propertyName": "type", "mapping": mapping},
    }
    return {**components, **envelopes}, one_of


def _envelope(kind: type[CallEvent], data: str) -> Mapping[str, Any]:
    return {
        "type": "object",
        "description": " ".join((kind.__doc__ or "").split()),
        "properties": {
            "type": {"const": kind.type},
            "id": {"type": "string", "description": "the same at every attempt, and as `webhook-id`"},
            "timestamp": {"type": "string", "format": "date-time"},
            "data": {"$ref": data},
        },
        "required": ["type", "id", "timestamp", "data"],
    }
