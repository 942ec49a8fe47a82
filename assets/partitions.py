"""How assets are cut into partitions: one key a watch, one a fork.

What belongs here: partition definitions made from settings. What does not: assets. Watches and forks are static
partitions, because a run of a name that nobody configured must be refused before it starts.
"""

from dagster import StaticPartitionsDefinition

from upkeep.config import Settings


def watch_partitions(settings: Settings) -> StaticPartitionsDefinition:
    """One partition a configured watch, in alphabetical order."""
    return StaticPartitionsDefinition(sorted(settings.watches))


def fork_partitions(settings: Settings) -> StaticPartitionsDefinition:
    """One partition a configured fork, in alphabetical order."""
    return StaticPartitionsDefinition(sorted(settings.forks))
