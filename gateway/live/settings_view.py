"""The effective settings for the console: secrets masked, and where each comes from."""

from collections.abc import Iterator, Mapping
from typing import Any

import msgspec
from aiohttp import web
from pydantic import BaseModel
from pydantic.fields import FieldInfo

from gateway.config import Settings
from gateway.config_sources import ENV_PREFIX, ORIGINS, effective
from gateway.live.access import Access

DEFAULT = "default"


class Setting(msgspec.Struct, frozen=True, kw_only=True):
    """
    One setting.

    `name` is its path in the file, such as `stt.drain_s`, with the names of profiles in it and the numbers of webhooks
    from 0. `environment` is null for what no variable can set. `value` and `default` are masked where they are secret.
    `origin`: `default`, `file`, `environment` or `command line`; what comes from several has the strongest.
    """

    name: str
    environment: str | None
    value: Any
    default: Any
    origin: str
    description: str


class SettingsView:
    """
    Serves the settings.

    Args:
        settings: all of them; they do not change while the gateway runs.
        access: who may see them.
    """

    def __init__(self, settings: Settings, access: Access) -> None:
        self._access = access
        tree = effective(settings)
        self._tree = msgspec.json.encode(tree)
        self._rows = msgspec.json.encode({"settings": list(rows(settings, tree))})

    def add_to(self, app: web.Application) -> None:
        app.router.add_get("/api/settings", self.tree)
        app.router.add_get("/api/settings/rows", self.rows)

    async def tree(self, request: web.Request) -> web.Response:
        """As `gateway config` shows them."""
        self._access.require(request)
        return web.Response(body=self._tree, content_type="application/json")

    async def rows(self, request: web.Request) -> web.Response:
        """The same, one by one, with what is known about each."""
        self._access.require(request)
        return web.Response(body=self._rows, content_type="application/json")


def rows(settings: Settings, tree: Mapping[str, Any]) -> Iterator[Setting]:
    """
    Every setting, in the order of the settings table.

    Args:
        tree: what may be shown of them (`config_sources.effective`).
    """
    for path, field, value in _leaves(settings, tree, ()):
        name = ".".join(path)
        has_variable = path[0] != "webhooks"  # several receivers are for the file
        yield Setting(
            name=name,
            environment=f"{ENV_PREFIX}{'__'.join(path).upper()}" if has_variable else None,
            value=value,
            default=_default(field),
            origin=_origin(name, settings.origins),
            description=field.description or "",
        )


def _leaves(
    model: BaseModel, tree: Mapping[str, Any], path: tuple[str, ...]
) -> Iterator[tuple[tuple[str, ...], FieldInfo, Any]]:
    for name, field in type(model).model_fields.items():
        here, value, shown = (*path, name), getattr(model, name), tree[name]
        inner = _models(value)
        if isinstance(value, BaseModel):
            yield from _leaves(value, shown, here)
        elif inner:
            for key, each in inner.items():
                branch = shown[key] if isinstance(value, Mapping) else shown[int(key)]
                yield from _leaves(each, branch, (*here, key))
        else:
            yield here, field, shown


def _models(value: Any) -> dict[str, BaseModel]:
    """The members of a collection of settings by their names or numbers; of anything else none."""
    if isinstance(value, Mapping):
        return {key: each for key, each in value.items() if isinstance(each, BaseModel)}
    if isinstance(value, tuple):
        return {str(number): each for number, each in enumerate(value) if isinstance(each, BaseModel)}
    return {}


def _default(field: FieldInfo) -> Any:
    if field.is_required():
        return None
    value = field.get_default(call_default_factory=True, validated_data={})
    return msgspec.to_builtins(value, enc_hook=str)


def _origin(name: str, origins: Mapping[str, str]) -> str:
    """A table, such as the options of a profile, may be given as a whole or entry by entry, by several."""
    found = [
        origin
        for path, origin in origins.items()
        if path == name or path.startswith(f"{name}.") or name.startswith(f"{path}.")
    ]
    return max(found, key=ORIGINS.index, default=DEFAULT)
