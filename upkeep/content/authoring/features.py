"""Which feature of the app a source file belongs to, by its path alone.

What belongs here: the reading of paths: Gradle and Swift modules, source roots, packages, folders. What does not: what
the content already says about a place (`placement.py`).

In order: the segment after a marker such as `features/`; the module (what precedes `src/` or follows `Sources/`); the
first segment of the package that tells anything, after what all files have in common. Segments that stand in every app
(`ui`, `data`, `commonMain`) tell nothing. A module that holds most of the app in several packages is the app itself and
no feature: there the package decides. A file whose path tells nothing belongs to the app as a whole.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass
from itertools import takewhile

from upkeep.content.authoring.words import slug

APP = "app"
"""The feature of a file whose path tells nothing."""

MARKERS = frozenset({"feature", "features", "flow", "flows", "module", "modules", "packages"})
SOURCE_ROOTS = frozenset({"kotlin", "java", "swift", "sources"})
_SILENT_WORDS = """
    src main app apps lib libs library libraries com org net io in co dev me android androidmain ios iosmain jvm
    jvmmain desktopmain commonmain common core shared base util utils utility utilities helper helpers extension
    extensions ui uis data domain presentation view views viewmodel viewmodels screen screens page pages
    component components composable composables compose api impl internal di model models repository
    repositories usecase usecases interactor interactors fragment fragments activity activities widget widgets
    dialog dialogs analytics tracking tracker event events manager managers service services source sources
    kotlin java swift ts js web client mobile container containers hook hooks store stores state states
    navigation nav local remote network database db design theme resources res client kmp multiplatform multi
    platform debug release index
"""
SILENT = MARKERS.union(_SILENT_WORDS.split())
HOLLOW = frozenset(
    {
        "src",
        "main",
        "app",
        "common",
        "core",
        "shared",
        "base",
        "ui",
        "util",
        "utils",
        "api",
        "impl",
        "internal",
        "kotlin",
    }
    | {"java", "lib", "libs", "components"}
)
"""What tells nothing even behind a marker: `features/network` is a feature, `features/common` is none."""

DOMAINS = frozenset({"com", "org", "net", "io", "dev", "app", "me", "co", "in", "de", "fr", "eu", "uk"})
"""First segments of a package that is a domain turned round: the second is its owner."""

_AFFIX = re.compile(
    r"^(?:feature|feat|features|module|lib)[-_.]+|[-_.]+(?:feature|module|ui|impl|api|android|ios|data|domain)$"
)


PARTS = 3
"""Of how many packages a module consists that is an app and no feature."""


@dataclass(frozen=True)
class Feature:
    """A feature as a slug, and how many leading segments of the path its area has: `area` is their folder."""

    slug: str
    area: str


class Features:
    """Reads paths of one upstream. `paths` are all that are known: what their packages share is the app's own name, or,
    where nothing below it tells anything, the feature that the whole upstream is."""

    def __init__(self, paths: Iterable[str]) -> None:
        paths = list(paths)
        self._monolith = _monolith(paths)
        packages = {tuple(folders[start:]) for folders, start in map(_split, paths) if len(folders) > start}
        columns = zip(*packages, strict=False)
        self._shared = len(list(takewhile(lambda column: len(set(column)) == 1, columns)))
        self._app_is_shared = any(_told(name, SILENT) for package in packages for name in package[self._shared :])

    def of(self, path: str) -> Feature:
        folders, start = _split(path)
        places = [(index, HOLLOW) for index in _marked(folders)]
        modules = () if _module(folders, start) == self._monolith else _modules(folders, start)
        places += [(index, SILENT) for index in (*modules, *self._package(folders, start))]
        for index, silent in places:
            name = _told(folders[index], silent)
            if name:
                return Feature(slug(name), "/".join(folders[: index + 1]))
        return Feature(APP, "/".join(folders))

    def _package(self, folders: list[str], start: int) -> Iterable[int]:
        """Return the indexes of the package's segments that may name a feature, the best first."""
        owner = 2 if start and folders[start : start + 1] and folders[start].lower() in DOMAINS else 0
        own = min(start + max(self._shared, owner), len(folders))
        yield from range(own, len(folders))
        if not self._app_is_shared:
            yield from range(own - 1, start + owner - 1, -1)


def _told(folder: str, silent: Collection[str]) -> str:
    """Return what a folder's name tells without affixes like `feature-` and `-ui`, "" where that is nothing."""
    name = _AFFIX.sub("", folder)
    return "" if name.lower() in silent or name.isdigit() else name


def _split(path: str) -> tuple[list[str], int]:
    """Return the folders of a path, and at which index of them the package begins."""
    folders = path.split("/")[:-1]
    roots = [index for index, folder in enumerate(folders) if folder.lower() in SOURCE_ROOTS]
    if roots:
        return folders, roots[0] + 1
    return folders, folders.index("src") + 1 if "src" in folders else 0


def _marked(folders: list[str]) -> Iterable[int]:
    return (index + 1 for index, folder in enumerate(folders[:-1]) if folder.lower() in MARKERS)


def _monolith(paths: Sequence[str]) -> tuple[str, ...] | None:
    """Return the module that is the app itself: it has more than half of all files, and `PARTS` packages or more below
    what they have in common. An app of one package, or of modules of like size, has none."""
    split = [(folders, start) for folders, start in map(_split, paths) if len(folders) > start]
    modules = Counter(_module(folders, start) for folders, start in split)
    module, count = modules.most_common(1)[0] if modules else ((), 0)
    if not module or count * 2 <= len(paths):
        return None
    packages = {tuple(folders[start:]) for folders, start in split if _module(folders, start) == module}
    shared = len(list(takewhile(lambda column: len(set(column)) == 1, zip(*packages, strict=False))))
    parts = {next((told for name in package[shared:] if (told := _told(name, SILENT))), "") for package in packages}
    return module if len(parts - {""}) >= PARTS else None


def _module(folders: list[str], start: int) -> tuple[str, ...]:
    """Return the folders of a file's module, () where it is in none."""
    return tuple(folders[: max(_modules(folders, start), default=-1) + 1])


def _modules(folders: list[str], start: int) -> Iterable[int]:
    """Return the indexes of the module's segments, the last first."""
    end = folders.index("src") if "src" in folders[:start] else start - 1
    return range(end - 1, -1, -1)
