"""Fixtures for every test: support modules are plug-ins, one a subject, in `tests/support/`."""

import os
import sys

# Where PYTHONDONTWRITEBYTECODE is set, as in many containers, each of the hundreds of processes that tests start would
# compile our modules anew, and each worker would rewrite every test's assertions.
os.environ.pop("PYTHONDONTWRITEBYTECODE", None)
sys.dont_write_bytecode = False

pytest_plugins = [
    "tests.support.tools",
    "tests.support.database",
    "tests.support.repositories",
    "tests.support.git_server",
    "tests.support.github",
    "tests.support.gitea",
    "tests.support.model_server",
    "tests.support.rebases",
    "tests.support.court",
    "tests.support.updates",
    "tests.hostile.table",
]
