"""Where the author's own lists and the change differ: what a reviewer should look at twice.

What belongs here: the pure comparison of a summary with a delta. What does not: either of them (`summary.py`,
`compare.py`), and showing it (`proposal.py`).

Only what came and went is compared, a rename as both: whether an entry counts as changed, or as renamed rather than
replaced, is a matter of view.
"""

from __future__ import annotations

from dataclasses import dataclass

from upkeep.content.compare import ContentDelta
from upkeep.content.summary import UpdateSummary

Event = tuple[str, str]
"""Slug of the flow, and name."""


@dataclass(frozen=True)
class Differences:
    """Events by flow and name, sorted. `claimed_…`: the author says so and the change has it not. `unsaid_…`: the other
    way round."""

    claimed_added: tuple[Event, ...] = ()
    claimed_removed: tuple[Event, ...] = ()
    unsaid_added: tuple[Event, ...] = ()
    unsaid_removed: tuple[Event, ...] = ()


def differences(summary: UpdateSummary, delta: ContentDelta) -> Differences:
    """Compare what the author says came and went with what did."""
    said_added = {(each.flow, each.name) for each in summary.events_added}
    said_added |= {(each.flow, each.after) for each in summary.events_renamed}
    said_removed = {(each.flow, each.name) for each in summary.events_removed}
    said_removed |= {(each.flow, each.before) for each in summary.events_renamed}
    added = {(flow.slug, name) for flow in delta.flows for name in flow.events_added}
    added |= {(flow.slug, each.after) for flow in delta.flows for each in flow.events_renamed}
    removed = {(flow.slug, name) for flow in delta.flows for name in flow.events_removed}
    removed |= {(flow.slug, each.before) for flow in delta.flows for each in flow.events_renamed}
    return Differences(
        claimed_added=tuple(sorted(said_added - added)),
        claimed_removed=tuple(sorted(said_removed - removed)),
        unsaid_added=tuple(sorted(added - said_added)),
        unsaid_removed=tuple(sorted(removed - said_removed)),
    )
