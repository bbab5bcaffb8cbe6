"""What is measured: the loads, by name."""

from dataclasses import dataclass, replace

RAMP_S_PER_CALL = 0.005
DEAF_FROM_S = 40.0
"""So long it takes until what a viewer does not read fills the buffers between, and it is dropped."""
SWEEP = (50, 100, 200, 400, 600, 1000)


@dataclass(frozen=True, kw_only=True)
class Scenario:
    """
    One load.

    Args:
        name: as `--only` has it.
        calls, tracks: how many; tracks per call, in one socket.
        audio: what the speech service wants.
        seconds: the window to measure in.
        settle_s: from the last call's begin to the window.
        ramp_s: over which calls begin; None: 5 ms for each.
        finals_per_s: of all tracks together.
        viewers: of the live feed; they come after two windows without them, so that each call can be compared with
            itself. In a window of `DEAF_FROM_S` or more the last one does not read, and must be dropped.
        join_s: for viewers to come, between the windows without them and the one to measure in.
        has_baseline: whether the sketch can do it, too.
    """

    name: str
    calls: int
    tracks: int = 1
    audio: str = "mulaw-8000"
    seconds: float = 20.0
    settle_s: float = 3.0
    ramp_s: float | None = None
    finals_per_s: float = 0.0
    viewers: int = 0
    join_s: float = 3.0
    has_baseline: bool = True

    @property
    def dialling_s(self) -> float:
        """Over which the calls begin."""
        return self.calls * RAMP_S_PER_CALL if self.ramp_s is None else self.ramp_s

    @property
    def total_s(self) -> float:
        """The window, and what is measured before it."""
        return 3 * self.seconds + self.join_s if self.viewers else self.seconds

    @property
    def finals_every_s(self) -> float:
        """Pause between the finals of one track; 0: there are none."""
        return self.calls * self.tracks / self.finals_per_s if self.finals_per_s else 0.0

    @property
    def has_deaf_viewer(self) -> bool:
        """Whether one of the viewers does not read."""
        return self.viewers > 0 and self.seconds >= DEAF_FROM_S

    @property
    def is_of_sweep(self) -> bool:
        """Whether it is a point of the plot."""
        return self.name.startswith("load-")


START = "start"
"""Not a load: how long the commands take to start."""
SCENARIOS = (
    Scenario(name="mulaw", calls=400),
    Scenario(name="linear16", calls=400, audio="linear16-16000"),
    Scenario(name="two-tracks", calls=200, tracks=2),
    Scenario(name="thousand", calls=1000, seconds=60.0),
    Scenario(name="finals", calls=200, finals_per_s=100.0, has_baseline=False),
    Scenario(name="viewers", calls=200, finals_per_s=100.0, viewers=50, seconds=60.0, has_baseline=False),
    Scenario(name="rush", calls=1000, ramp_s=2.0, settle_s=0.5, seconds=3.0),
    *(Scenario(name=f"load-{calls}", calls=calls, seconds=10.0) for calls in SWEEP),
)
QUICK = (
    Scenario(name="mulaw", calls=20, seconds=2.0, settle_s=0.3, ramp_s=0.2),
    Scenario(name="two-tracks", calls=10, tracks=2, audio="linear16-16000", seconds=2.0, settle_s=0.3, ramp_s=0.2),
    Scenario(name="finals", calls=10, finals_per_s=10.0, seconds=3.0, settle_s=1.0, ramp_s=0.2, has_baseline=False),
    Scenario(
        name="viewers",
        calls=10,
        finals_per_s=10.0,
        viewers=5,
        seconds=2.0,
        settle_s=1.0,
        join_s=1.0,
        ramp_s=0.2,
        has_baseline=False,
    ),
    Scenario(name="rush", calls=100, ramp_s=0.2, settle_s=0.2, seconds=1.0),
)
NAMES = (*(each.name for each in SCENARIOS if not each.is_of_sweep), "load", START)
"""What `--only` takes; `load` is all points of the plot."""


def chosen(
    names: tuple[str, ...],
    *,
    quick: bool = False,
    calls: int | None = None,
    seconds: float | None = None,
    tracks: int | None = None,
    audio: str | None = None,
) -> list[Scenario]:
    """
    The loads to measure.

    Args:
        names: of `NAMES`; none: all, or, where something else is given but `seconds`, one load of just that.
        quick: the small ones.
        calls, seconds, tracks, audio: instead of the scenario's own.
    """
    known = QUICK if quick else SCENARIOS
    changes = {"calls": calls, "seconds": seconds, "tracks": tracks, "audio": audio}
    given = {name: value for name, value in changes.items() if value is not None}
    if not names and given.keys() - {"seconds"}:
        known = (replace(known[0], name="own"),)
    picked = [each for each in known if not names or ("load" if each.is_of_sweep else each.name) in names]
    return [replace(each, **given) for each in picked]  # type: ignore[arg-type]
