"""Dagster's own folder, `<home>/dagster`, and the instance that lives there.

What belongs here: making that folder so that every process finds the same instance. What does not: what the instance is
made of (`dagster.yaml` at the root, `storage.py`).
"""

import os
from pathlib import Path

from dagster import DagsterInstance

from resources.runs import keep_connections
from upkeep.config import Settings
from upkeep.errors import ConfigError

ROOT = Path(__file__).resolve().parents[1]
INSTANCE_FILE = "dagster.yaml"
WORKSPACE = ROOT / "workspace.yaml"


def dagster_home(settings: Settings) -> Path:
    """`<home>/dagster`, made where it is missing, holding a link to the root's `dagster.yaml`. A file that a person put
    there instead is left alone."""
    folder = settings.home / "dagster"
    link, target = folder / INSTANCE_FILE, ROOT / INSTANCE_FILE
    try:
        folder.mkdir(parents=True, exist_ok=True)
        if link.is_symlink() and link.readlink() == target:
            return folder
        if link.is_symlink() or not link.exists():
            # Replaced in one step: several processes may start at once, and none may see it missing.
            fresh = folder / f".{INSTANCE_FILE}.{os.getpid()}"
            fresh.unlink(missing_ok=True)
            fresh.symlink_to(target)
            fresh.replace(link)
    except OSError as error:
        raise ConfigError(
            f"Dagster's folder {folder} cannot be made: {error.strerror}",
            code="config.home",
            remedy="Check that `home` in upkeep.yaml (or UPKEEP_HOME) names a folder that this account may write.",
        ) from error
    return folder


def enter(settings: Settings) -> None:
    """Point this process and its children at the instance and at the home of `settings`."""
    os.environ["DAGSTER_HOME"] = str(dagster_home(settings))
    os.environ["UPKEEP_HOME"] = str(settings.home)
    if settings.source is not None:
        os.environ["UPKEEP_CONFIG"] = str(settings.source)


def open_instance(settings: Settings, *, brief: bool = False) -> DagsterInstance:
    """The instance that daemon, webserver and commands share. Use it as a context.

    `brief`: for one run, after which the process ends: its connections are kept.
    """
    enter(settings)
    instance = DagsterInstance.get()
    if brief:
        keep_connections(instance)
    return instance
