"""The configuration that the demos share: one file, a section a play.

What belongs here: where it lies, and that somebody's own is never touched. What does not: what a section says (each
play's own module).
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from upkeep.config import Settings

_HEADER = "# Written by `upkeep demo`; `upkeep init --force` replaces it by one of your own.\n"


def configure(home: Path, play: str, section: str) -> tuple[Settings, Path]:
    """Write the demos' configuration with the section of `play`, and those of plays before: into the current folder, so
    that the next commands find it, unless somebody's own is there. Return what it says and where it lies."""
    from upkeep.config import FILE_NAME, find, load

    sections = home / "demo" / "configuration"
    sections.mkdir(parents=True, exist_ok=True)
    (sections / f"{play}.yaml").write_text(section)
    texts = [file.read_text() for file in sorted(sections.glob("*.yaml"))]
    found = find()
    ours = found is not None and found.read_text().startswith(_HEADER)
    path = Path.cwd() / FILE_NAME if found is None else found if ours else home / "demo" / FILE_NAME
    path.write_text("".join([_HEADER, f"home: {home}\n", *texts]))
    os.environ["UPKEEP_CONFIG"] = str(path)
    return load(path), path
