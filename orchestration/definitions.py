"""What Dagster loads: `build_defs` over the configuration that is found from where the process stands."""

from dagster import Definitions, definitions

from orchestration.build import build_defs
from upkeep.config import load


@definitions
def defs() -> Definitions:
    return build_defs(settings=load())
