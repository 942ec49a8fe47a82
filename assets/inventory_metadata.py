"""The inventory as metadata of its asset: numbers that plot, and a table a section.

What belongs here: pure functions from the record to Dagster metadata. What does not: taking it. What a forge says is
shown as plain text, never as Markdown.
"""

from collections.abc import Mapping
from datetime import datetime
from typing import Any

from dagster import MetadataValue

from assets.metadata import table
from upkeep.forges.base import ForgeRepository
from upkeep.forges.text import cut, visible
from upkeep.sync import ages
from upkeep.sync.inventory import Inventory


def of_inventory(found: Inventory, now: datetime) -> Mapping[str, Any]:
    numbers = {
        "repositories": sum(each.repositories for each in found.forges),
        "registered": len(found.registered),
        "unregistered": len(found.unregistered),
        "hub_only": len(found.hub_only),
        "ignored": len(found.ignored),
        "undecided": len(found.undecided),
    }
    return {
        **numbers,
        "complete": MetadataValue.bool(found.complete),
        "gaps": "; ".join(_shown(gap) for each in found.forges for gap in each.gaps) or "none",
        "listed_at": MetadataValue.timestamp(min(each.listed_at for each in found.forges)),
        "unregistered_repositories": table(
            ("repository", "forge", "last push", "created", "size KiB", "language", "remarks", "description"),
            (_unregistered(one, now) for one in found.unregistered),
        ),
        "registered_repositories": table(
            ("repository", "on the forge", "age", "synced", "renamed from"),
            (
                (
                    *(one.repo_slug, _shown(one.repository.full_name), one.age),
                    *(ages.words(one.last_state_synced_at, now), _shown(one.renamed_from or "")),
                )
                for one in found.registered
            ),
        ),
        "hub_only_repositories": table(
            ("repository", "path", "why"),
            ((one.repo_slug, _shown(one.path), _shown(one.why)) for one in found.hub_only),
        ),
    }


def _unregistered(one: ForgeRepository, now: datetime) -> tuple[str | int, ...]:
    remarks = [name for name in ("archived", "fork", "mirror", "private") if getattr(one, name)]
    return (
        *(_shown(one.full_name), one.forge, ages.words(one.pushed_at, now), ages.words(one.created_at, now)),
        *(one.size_kib, _shown(one.language), ", ".join(remarks), _shown(one.description)),
    )


def _shown(text: str) -> str:
    """On one line, without what cannot be seen or stored."""
    return visible(cut(text, 200)).replace("\n", " ")
