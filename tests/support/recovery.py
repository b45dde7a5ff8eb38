"""Recovery times: how long after a kill the component served again, as its clients saw it.

Owns the arithmetic over kills and acknowledgements. Pure.

A component is back with the first acknowledgement of a message that was *sent* after the kill and
went through it: any message for the router (or everything), a message in a queue of that shard for
a shard, an answered question about topics for the coordinator. What was still in the pipes when the
signal came proves nothing.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

__all__ = ["Answer", "Kill", "Recovery", "recoveries", "slowest"]


class Kill(NamedTuple):
    """A component that was killed."""

    at_ns: int
    component: str
    """router, coordinator, shard-N, all, or a producer."""


class Answer(NamedTuple):
    """A request that was answered well."""

    asked_ns: int
    answered_ns: int
    component: str
    """The shard that stored it, or coordinator."""


class Recovery(NamedTuple):
    """How long one kill was felt; None if nothing was answered after it."""

    kill: Kill
    seconds: float | None
    alone: bool
    """No other kill came in between, so the time is this component's own."""


def recoveries(kills: Sequence[Kill], answers: Sequence[Answer]) -> list[Recovery]:
    """One entry for each kill of a broker's component, in their order."""
    ordered = sorted(answers, key=lambda answer: answer.answered_ns)
    found = []
    for index, kill in enumerate(kills):
        if kill.component.startswith("producer"):
            continue
        back = next((one for one in ordered if _proves(one, kill)), None)
        following = kills[index + 1].at_ns if index + 1 < len(kills) else None
        alone = back is not None and (following is None or following > back.answered_ns)
        seconds = (back.answered_ns - kill.at_ns) / 1e9 if back is not None else None
        found.append(Recovery(kill, seconds, alone and not _was_down(kills[:index], kill, ordered)))
    return found


def slowest(found: Sequence[Recovery]) -> dict[str, float]:
    """For each component the longest recovery that was its own, in seconds."""
    times: dict[str, float] = {}
    for one in found:
        if one.alone and one.seconds is not None:
            name = one.kill.component
            times[name] = max(times.get(name, 0.0), round(one.seconds, 3))
    return dict(sorted(times.items()))


def _proves(answer: Answer, kill: Kill) -> bool:
    if answer.asked_ns <= kill.at_ns:
        return False
    if kill.component in ("router", "all"):
        return answer.component != "coordinator"
    return answer.component == kill.component


def _was_down(earlier: Sequence[Kill], kill: Kill, ordered: Sequence[Answer]) -> bool:
    """Whether the kill before had not been recovered from when this one came."""
    before = next((one for one in reversed(earlier) if not one.component.startswith("prod")), None)
    if before is None:
        return False
    back = next((one for one in ordered if _proves(one, before)), None)
    return back is None or back.answered_ns > kill.at_ns
