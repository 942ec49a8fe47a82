"""Fixtures for every test: support modules are plug-ins, one a subject, in `tests/support/`."""

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
