"""
Where the settings come from, and how they are shown.

Sources, later ones win: defaults, the TOML file, `GATEWAY_…` environment variables (`__` separates levels), flags.
Every fault is reported at once, by name and without the value, so that a misspelled secret does not end up in a log.
"""

import json
import os
import tomllib
from collections.abc import Iterable, Iterator, Mapping
from difflib import get_close_matches
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ValidationError

from gateway.config import Settings, SttProfile, masked
from gateway.errors import ConfigError

ENV_PREFIX = "GATEWAY_"
ORIGINS = ("file", "environment", "command line")
"""Where settings come from, the strongest last."""
CONFIG_VARIABLE = "GATEWAY_CONFIG"  # where the file is; read by the command line


def load(
    file: Path | None = None, environ: Mapping[str, str] | None = None, flags: Mapping[str, Any] | None = None
) -> Settings:
    """
    Read the settings from file, environment and flags; later ones win.

    Args:
        file: TOML; none: only environment and flags.
        environ: the process's own by default.
        flags: nested like the file; values that are None were not given.

    Raises:
        ConfigError: with every fault found, one line each, values left out.
    """
    environ = os.environ if environ is None else environ
    trees = dict(zip(ORIGINS, (_read_file(file), _read_environment(environ), flags or {}), strict=True))
    merged: dict[str, Any] = {}
    for tree in trees.values():
        merged = merge(merged, tree)
    try:
        settings = Settings(**merged)
    except ValidationError as error:
        raise ConfigError([_fault(item) for item in error.errors(include_input=False, include_url=False)]) from None
    settings.note_origins({path: origin for origin, tree in trees.items() for path in _paths(tree)})
    return settings


def _paths(tree: Mapping[str, Any], path: str = "") -> Iterator[str]:
    """What a tree of settings gives, as `stt.drain_s`; None is not given."""
    for name, value in tree.items():
        here = f"{path}{name}"
        if isinstance(value, Mapping):
            yield from _paths(value, f"{here}.")
        elif value is not None:
            yield here


def assigned(assignments: Iterable[str]) -> dict[str, Any]:
    """
    The tree of `stt.drain_s=5`, `webhook.events=["*"]` and the like.

    Raises:
        ConfigError: one is not of the form NAME=VALUE.
    """
    tree: dict[str, Any] = {}
    for text in assignments:
        path, equals, value = text.partition("=")
        if not equals:
            raise ConfigError([f"--set wants NAME=VALUE, not {text!r}"])
        branch: Any = _value(value)
        for name in reversed(path.split(".")):
            branch = {name: branch}
        tree = merge(tree, branch)
    return tree


def table() -> str:
    """Every setting with its environment name, default and meaning, as a Markdown table."""
    rows = ["| setting | environment | default | meaning |", "|---|---|---|---|"]
    rows += _rows(Settings, ())
    return "\n".join(rows)


def _rows(model: type[BaseModel], path: tuple[str, ...]) -> Iterator[str]:
    for name, field in model.model_fields.items():
        here = (*path, name)
        if name == "profiles":
            yield from _rows(SttProfile, (*here, "NAME"))
        elif name == "webhooks":
            yield f"| `webhooks` | none | none | {field.description} |"
        elif isinstance(field.annotation, type) and issubclass(field.annotation, BaseModel):
            yield from _rows(field.annotation, here)
        else:
            default = "none" if field.is_required() or field.default is None else f"`{_shown(field.default)}`"
            yield f"| `{'.'.join(here)}` | `{ENV_PREFIX}{'__'.join(here).upper()}` | {default} | {field.description} |"


def _shown(default: Any) -> str:
    if isinstance(default, str | Path):
        return str(default)
    return json.dumps(default)


def effective(settings: Settings) -> dict[str, Any]:
    """The settings as JSON-ready data, secrets masked."""
    data: dict[str, Any] = _shown_tree(json.loads(settings.model_dump_json()))
    return data


def _shown_tree(value: Any) -> Any:
    if isinstance(value, list):
        return [_shown_tree(each) for each in value]
    if isinstance(value, dict):
        return {name: _shown_tree(masked(name, each)) for name, each in value.items()}
    return value


def _read_file(file: Path | None) -> dict[str, Any]:
    if file is None:
        return {}
    try:
        return tomllib.loads(file.read_text())
    except OSError as error:
        raise ConfigError([f"{file}: {error.strerror}"]) from None
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise ConfigError([f"{file}: not TOML: {error}"]) from None


def _read_environment(environ: Mapping[str, str]) -> dict[str, Any]:
    """`GATEWAY_STT__DEFAULT=local` becomes {"stt": {"default": "local"}}; lists may be JSON; empty is not given."""
    data: dict[str, Any] = {}
    for name, text in environ.items():
        if not name.upper().startswith(ENV_PREFIX) or name.upper() == CONFIG_VARIABLE or text == "":
            continue
        *parents, leaf = name[len(ENV_PREFIX) :].lower().split("__")
        table = data
        for parent in parents:
            table = table.setdefault(parent, {})
            if not isinstance(table, dict):
                raise ConfigError([f"{name}: {parent} is set as a whole, too"])
        table[leaf] = _value(text)
    return data


def _value(text: str) -> Any:
    if text[:1] in ("[", "{"):
        try:
            return json.loads(text)
        except ValueError:
            return text  # the field's own check says what it should have been
    return text


def merge(lower: Mapping[str, Any], upper: Mapping[str, Any]) -> dict[str, Any]:
    """Lay one tree of settings over another; None in the upper one is not given."""
    merged = dict(lower)
    for key, value in upper.items():
        if value is None:
            continue
        below = merged.get(key)
        merged[key] = merge(below if isinstance(below, Mapping) else {}, value) if isinstance(value, Mapping) else value
    return merged


def _fault(item: Mapping[str, Any]) -> str:
    path = ".".join(str(part) for part in item["loc"])
    if item["type"] == "extra_forbidden":
        return f"{path}: there is no such setting{_suggestion(path)}"
    text = str(item["msg"]).removeprefix("Value error, ")
    return f"{path}: {text}" if path else text


def _suggestion(path: str) -> str:
    """Which setting may have been meant by one that does not exist."""
    names = [row.split("`")[1] for row in _rows(Settings, ())]
    profile = path.split(".")[2] if path.startswith("stt.profiles.") else "NAME"
    names = [name.replace("NAME", profile) for name in names]
    return "".join(f"; did you mean {name}?" for name in get_close_matches(path, names, n=1, cutoff=0.75))
