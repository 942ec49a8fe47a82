"""What the sync system's events become: materializations of its assets, with the metadata that a run would give them.

What belongs here: which event materializes what. What does not: reading events (`events.py`) and metadata
(`assets/sync_metadata.py`).

A sync materializes the repository's workplans, report and timestamps. A check of all repositories materializes the
timestamps of those that it confirmed, and sync health. Of these two there are many, and only the newest says anything:
they carry a tag by which the older ones are forgotten (`orchestration/retention.py`). An inventory materializes the
inventory.
"""

from collections.abc import Iterator, Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

from dagster import (
    AssetCheckEvaluation,
    AssetCheckResult,
    AssetKey,
    AssetMaterialization,
    DagsterInstance,
    MetadataValue,
)
from sqlalchemy.orm import Session

from assets import inventory, inventory_metadata, sync
from assets import sync_metadata as metadata
from assets.partitions import REPOSITORIES
from sensors.events import AssetEvent, Told, known_runs
from sensors.sync import plan_partitions
from upkeep.database.events import Event
from upkeep.sync import attempts, health, recorded, registry, stocktaking, survey
from upkeep.sync.attempts import Attempt, Check
from upkeep.sync.registry import Managed

KEEP_TAG = "upkeep/keep"
NEWEST = "newest"
"""Of `KEEP_TAG`: once a newer one is there, this one may go."""

DATA_VERSION_TAG = "dagster/data_version"


def translate(session: Session, instance: DagsterInstance, found: Sequence[Event] | None) -> Told:
    """The asset events of these events; None: of what the registry says now."""
    managed = {one.slug: one for one in registry.every(session)}
    told = Told(partitions=plan_partitions(instance.get_dynamic_partitions(REPOSITORIES), list(managed)))
    if found is None:
        told.asset_events += _present(session, list(managed.values()))
        return told
    ours = known_runs(instance, found)
    without_a_run = [event for event in found if event.run_id not in ours]
    listings = [event for event in without_a_run if event.subject.startswith(stocktaking.SUBJECT_PREFIX)]
    if listings:
        told.asset_events += _inventory(session)
    records = [attempts.read(event) for event in without_a_run if event not in listings]
    for record in records:
        if isinstance(record, Attempt):
            told.asset_events += _attempt(session, record, managed.get(record.repository))
        elif isinstance(record, Check):
            told.asset_events += _confirmed(session, record)
    if any(record is None for record in records):
        told.asset_events.append(_registry(list(managed.values())))
    told.asset_events += _health(session)
    return told


def _present(session: Session, managed: Sequence[Managed]) -> Iterator[AssetEvent]:
    for one in managed:
        if one.last_attempt_at is not None:
            attempt = Attempt(
                repository=one.slug,
                run_id=None,
                trigger="before",
                last_attempt_at=one.last_attempt_at,
                last_state_synced_at=one.last_state_synced_at,
                reason=one.last_attempt_reason,
            )
            yield _materialized(sync.SYNC_TIMESTAMPS, metadata.of_timestamps(attempt), one.slug)
    yield _registry(managed)
    yield from _health(session)
    yield from _inventory(session)


def _attempt(session: Session, attempt: Attempt, managed: Managed | None) -> Iterator[AssetEvent]:
    slug = attempt.repository
    # Only the newest attempt's findings are kept.
    newest = managed is not None and managed.last_attempt_at == attempt.last_attempt_at
    findings = recorded.last_findings(session, slug) if newest else ()
    if attempt.workstreams is not None:
        yield _materialized(sync.WORKPLANS, metadata.of_workplans(attempt), slug, version=attempt.head)
    report = metadata.of_report(attempt, findings)
    yield _materialized(sync.CONSISTENCY_REPORT, report, slug, version=attempt.head)
    yield _materialized(sync.SYNC_TIMESTAMPS, metadata.of_timestamps(attempt), slug)


def _confirmed(session: Session, check: Check) -> Iterator[AssetEvent]:
    # Those that an earlier check confirmed and a later one again are found by the later one alone.
    for slug in survey.confirmed(session, check.confirmed_at):
        yield _materialized(sync.SYNC_TIMESTAMPS, metadata.of_confirmation(check), slug, keep=NEWEST)


def _registry(managed: Sequence[Managed]) -> AssetEvent:
    return _materialized(sync.REPOSITORIES, metadata.of_registry(managed))


def _health(session: Session) -> Iterator[AssetEvent]:
    now = datetime.now(UTC)
    found = health.list_repositories(session, now)
    yield _materialized(sync.SYNC_HEALTH, metadata.of_health(found, now), keep=NEWEST)
    yield _evaluated(sync.stale(found))
    yield _evaluated(sync.consistent(found))


def _inventory(session: Session) -> Iterator[AssetEvent]:
    now = datetime.now(UTC)
    found = stocktaking.kept(session, now=now)
    if found is not None:
        yield _materialized(inventory.INVENTORY, inventory_metadata.of_inventory(found, now))
        yield from map(_evaluated, inventory.checks(found, now))


def _materialized(
    key: AssetKey,
    shown: Mapping[str, Any],
    partition: str | None = None,
    *,
    version: str | None = None,
    keep: str | None = None,
) -> AssetMaterialization:
    tags = {DATA_VERSION_TAG: version, KEEP_TAG: keep}
    return AssetMaterialization(
        asset_key=key,
        partition=partition,
        metadata=shown,
        tags={name: value for name, value in tags.items() if value is not None},
    )


def _evaluated(result: AssetCheckResult) -> AssetCheckEvaluation:
    assert result.asset_key is not None
    assert result.check_name is not None
    shown: Mapping[str, MetadataValue[Any]] = result.metadata
    return AssetCheckEvaluation(
        asset_key=result.asset_key,
        check_name=result.check_name,
        passed=result.passed,
        severity=result.severity,
        description=result.description,
        metadata=shown,
    )
