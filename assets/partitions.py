"""How assets are cut into partitions: one key a watch, one a fork, one a managed repository.

What belongs here: partition definitions, and making checks that have them. What does not: assets. Watches and forks
are static partitions, because a run of a name that nobody configured must be refused before it starts. Repositories
are registered while Dagster runs, so theirs are dynamic: `sensors/sync.py` and `sensors/events.py` keep them equal to
the registry.
"""

import warnings
from collections.abc import Iterator
from contextlib import contextmanager

from dagster import DynamicPartitionsDefinition, PreviewWarning, StaticPartitionsDefinition

from upkeep.config import Settings

REPOSITORIES = "repositories"

repository_partitions = DynamicPartitionsDefinition(name=REPOSITORIES)
"""One partition a managed repository, by its slug."""


def watch_partitions(settings: Settings) -> StaticPartitionsDefinition:
    """One partition a configured watch, in alphabetical order."""
    return StaticPartitionsDefinition(sorted(settings.watches))


def fork_partitions(settings: Settings) -> StaticPartitionsDefinition:
    """One partition a configured fork, in alphabetical order."""
    return StaticPartitionsDefinition(sorted(settings.forks))


@contextmanager
def partitioned_checks() -> Iterator[None]:
    """Where checks with a `partitions_def` are made. Without it a check has one result for all partitions, and cannot
    load the record of its own. Dagster 1.13 calls the argument a preview."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "Specifying a partitions_def on an AssetCheckSpec", PreviewWarning)
        yield
