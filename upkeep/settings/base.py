"""What every section is made of: names, paths, and that an unknown key is a fault."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Annotated

from pydantic import AfterValidator, BaseModel, ConfigDict, StringConstraints, ValidationInfo

Name = Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]{0,99}$")]
"""Names of watches, forks, repositories, forges, agents: they become partition keys, git refs and folder names."""


def _absolute(path: Path, info: ValidationInfo) -> Path:
    base = (info.context or {}).get("folder") or Path.cwd()
    return Path(os.path.normpath(base / path.expanduser()))


LocalPath = Annotated[Path, AfterValidator(_absolute)]


class Section(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)
