"""What a scenario showed, and the table of all of them."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True)
class Outcome:
    """
    Args:
        fault: what was broken.
        shown: what was seen, in words and figures.
        ok: whether that is what was promised.
        figures: the figures alone.
        faults: what was not as promised.
    """

    fault: str
    shown: str
    ok: bool
    figures: Mapping[str, float] = field(default_factory=dict)
    faults: tuple[str, ...] = ()

    @classmethod
    def of(cls, result: "Outcome | Mapping[str, Any]") -> "Outcome":
        """From whatever a scenario returns; those that are dicts have the same keys, `figures` and `faults` at will."""
        if isinstance(result, Outcome):
            return result
        return cls(
            fault=str(result["fault"]),
            shown=str(result["shown"]),
            ok=bool(result["ok"]),
            figures=result.get("figures", {}),
            faults=tuple(map(str, result.get("faults", ()))),
        )


def table(outcomes: Iterable[Outcome]) -> str:
    """As the README shows it."""
    rows = [f"| {each.fault} | {each.shown} | {'yes' if each.ok else 'NO'} |" for each in outcomes]
    return "\n".join(["| fault | shown | as promised |", "|---|---|---|", *rows])
