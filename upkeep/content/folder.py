"""The content folder as values: its files, and a typed view of catalogue, slug map, flows and events.

What belongs here: reading, and the mapping rule. What does not: judging (`validate.py`), writing (`edit.py`), what
stands inside a diagrams file (`diagrams.py`).

A folder is a `Mapping[str, bytes]`: paths relative to the content folder, with "/", and what the files hold. It comes
from a disk (`read_folder`), from a git revision, or from a test. The view never raises on what the files hold: a part
that cannot be read is missing from it, and the validator says why.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, Literal

from upkeep.content.diagrams import DiagramFile, parse_diagrams
from upkeep.content.jsontext import Document, JsonSyntaxError, load, locate, parse, pointer_of
from upkeep.errors import UpkeepError
from upkeep.lines import LineIndex

CATALOGUE = "flows.json"
SLUG_MAP = "flow-slug-map.json"
UNASSIGNED = "unassigned.json"
EVIDENCE = "_evidence.json"
EVENTS = "events.json"
DIAGRAMS = "flow-diagrams.md"

MAX_FILE_BYTES = 16 * 1024 * 1024
MAX_FILES = 20_000
MAX_TOTAL_BYTES = 512 * 1024 * 1024
MAX_DEPTH = 16

RefusalReason = Literal["link_leaves_folder", "broken_link", "not_a_file", "too_large", "bad_file_name", "unreadable"]


@dataclass(frozen=True, slots=True)
class Refusal:
    """An entry of a folder that was not read. `detail` completes the sentence "<path> …"."""

    path: str
    reason: RefusalReason
    detail: str


class ContentFiles(dict[str, bytes]):
    """Files by path, and the entries beside them that were not read: a mapping that remembers what it left out, so
    that no caller can lose a symbolic link on the way to the validator."""

    def __init__(self, files: Mapping[str, bytes] | None = None, refused: tuple[Refusal, ...] = ()) -> None:
        super().__init__(files or {})
        self.refused = refused


def read_folder(path: Path) -> ContentFiles:
    """Read every file under a folder, sorted by path.

    Links are followed where they stay inside. What leaves the folder, is no regular file, is larger than
    `MAX_FILE_BYTES`, or lies deeper than `MAX_DEPTH` is not read but listed in `refused`. Raises `UpkeepError`
    (`content.no_folder`, `content.too_large`) where there is no such folder or it holds more than `MAX_FILES` files or
    `MAX_TOTAL_BYTES` bytes.
    """
    if not path.is_dir():
        what = "is not a folder" if path.exists() else "does not exist"
        raise UpkeepError(
            f"{path} {what}", remedy="Name the folder that holds flows.json.", code="content.no_folder", path=str(path)
        )
    files: dict[str, bytes] = {}
    refused: list[Refusal] = []
    total = 0
    for name, entry in _walk(path, refused):
        content = _read_file(name, entry, refused)
        if content is None:
            continue
        files[name] = content
        total += len(content)
        if len(files) > MAX_FILES or total > MAX_TOTAL_BYTES:
            raise UpkeepError(
                f"{path} holds more than {MAX_FILES:,} files or {MAX_TOTAL_BYTES // 2**20} MB",
                remedy="Name the content folder itself (the one with flows.json), not a folder around it.",
                code="content.too_large",
            )
    return ContentFiles(dict(sorted(files.items())), tuple(sorted(refused, key=lambda item: item.path)))


def _walk(root: Path, refused: list[Refusal]) -> Iterator[tuple[str, Path]]:
    """Yield `(relative name, path)` of all entries that are not folders and stay inside."""
    inside = root.resolve()
    pending = [(root, "", 1)]
    while pending:
        folder, prefix, depth = pending.pop()
        try:
            entries = sorted(os.scandir(folder), key=lambda entry: entry.name)
        except OSError as error:
            refused.append(Refusal(prefix.rstrip("/"), "unreadable", f"cannot be read: {error.strerror}"))
            continue
        for entry in entries:
            name, path = prefix + entry.name, Path(entry.path)
            refusal = _refuse_name(name) or (_refuse_link(name, path, inside) if entry.is_symlink() else None)
            if refusal is None and entry.is_dir() and depth >= MAX_DEPTH:
                refusal = Refusal(name, "too_large", f"lies deeper than {MAX_DEPTH} folders")
            if refusal is not None:
                refused.append(refusal)
            elif entry.is_dir():
                pending.append((path, name + "/", depth + 1))
            else:
                yield name, path


def _refuse_name(name: str) -> Refusal | None:
    try:
        name.encode()
    except UnicodeEncodeError:
        shown = name.encode("utf-8", "surrogateescape").decode("utf-8", "backslashreplace")
        return Refusal(shown, "bad_file_name", "has a name that is not UTF-8")
    return None


def _refuse_link(name: str, path: Path, inside: Path) -> Refusal | None:
    try:
        target = path.resolve(strict=True)
    except (OSError, RuntimeError):
        return Refusal(name, "broken_link", "is a link to nothing")
    if not target.is_relative_to(inside):
        return Refusal(name, "link_leaves_folder", "is a link to something outside of the content folder")
    return None


def _read_file(name: str, path: Path, refused: list[Refusal]) -> bytes | None:
    try:
        status = path.stat()
        if not stat.S_ISREG(status.st_mode):
            refused.append(Refusal(name, "not_a_file", "is neither a file nor a folder"))
        elif status.st_size > MAX_FILE_BYTES:
            refused.append(Refusal(name, "too_large", f"is larger than {MAX_FILE_BYTES // 2**20} MB"))
        else:
            return path.read_bytes()
    except OSError as error:
        refused.append(Refusal(name, "unreadable", f"cannot be read: {error.strerror}"))
    return None


@dataclass(frozen=True)
class TextFile:
    """A file of the folder. `text` is None where `decode_error` says why."""

    path: str
    raw: bytes

    @cached_property
    def _decoded(self) -> tuple[str | None, UnicodeDecodeError | None]:
        try:
            return self.raw.decode("utf-8"), None
        except UnicodeDecodeError as error:
            return None, error

    @property
    def text(self) -> str | None:
        return self._decoded[0]

    @property
    def decode_error(self) -> UnicodeDecodeError | None:
        return self._decoded[1]

    @cached_property
    def lines(self) -> LineIndex:
        """Lines of the text ("" where it has none)."""
        return LineIndex(self.text or "")


@dataclass(frozen=True)
class JsonFile(TextFile):
    """A JSON file. `value` is None where `error` or `decode_error` says why (or where the file says `null`)."""

    @cached_property
    def _loaded(self) -> tuple[Any, bool, JsonSyntaxError | None]:
        if self.text is None:
            return None, False, None
        try:
            value, repeated = load(self.text)
        except JsonSyntaxError as error:
            return None, False, error
        return value, repeated, None

    @property
    def value(self) -> Any:
        return self._loaded[0]

    @property
    def repeats_keys(self) -> bool:
        return self._loaded[1]

    @property
    def error(self) -> JsonSyntaxError | None:
        return self._loaded[2]

    @property
    def readable(self) -> bool:
        return self.decode_error is None and self.error is None

    @cached_property
    def document(self) -> Document:
        """The tree with places, read on first use only; raises `JsonSyntaxError` where the file is not JSON."""
        return parse(self.text or "")

    def position(self, pointer: str) -> tuple[int, int]:
        """Return line and column of what a pointer names (see `Document.position`) in a readable file."""
        return self.lines.position(locate(self.text or "", pointer))


@dataclass(frozen=True, slots=True)
class Event:
    """An event as its flow documents it. `pointer` leads to it in the flow's events.json."""

    name: str
    index: int
    data: Mapping[str, Any]

    @property
    def pointer(self) -> str:
        return f"/events/{self.index}"


@dataclass(frozen=True)
class Flow:
    """One folder with an events.json. `key` is its key in the catalogue, None where the catalogue does not list it.

    `data` is the whole object of events.json ({} where that is unreadable or no object); `events` are its well-formed
    events (an object with a text as name) in the order of the file.
    """

    slug: str
    key: str | None
    file: JsonFile
    diagrams_file: TextFile | None

    @cached_property
    def data(self) -> dict[str, Any]:
        value = self.file.value
        return value if isinstance(value, dict) else {}

    @cached_property
    def event_objects(self) -> list[tuple[int, dict[str, Any]]]:
        """Entries of `events` that are objects, well-formed or not, each with its index."""
        listed = self.data.get("events")
        return [
            (index, item)
            for index, item in enumerate(listed if isinstance(listed, list) else [])
            if isinstance(item, dict)
        ]

    @cached_property
    def named_objects(self) -> list[tuple[int, dict[str, Any]]]:
        """The well-formed ones: what `events` says, without an object of ours for each."""
        return [pair for pair in self.event_objects if isinstance(name := pair[1].get("name"), str) and name]

    @cached_property
    def events(self) -> tuple[Event, ...]:
        return tuple(Event(item["name"], index, item) for index, item in self.named_objects)

    @cached_property
    def names(self) -> frozenset[str]:
        return frozenset(item["name"] for _, item in self.named_objects)

    @cached_property
    def trimmed_names(self) -> frozenset[str]:
        """Names without outer blanks: what a node's label can show, since Mermaid trims labels."""
        return frozenset(name.strip() for name in self.names)

    @cached_property
    def diagrams(self) -> DiagramFile | None:
        """What flow-diagrams.md holds; None where there is no such file or it is not UTF-8."""
        text = self.diagrams_file.text if self.diagrams_file is not None else None
        return parse_diagrams(text) if text is not None else None


class Content:
    """The typed view of a folder. Everything is computed from `files` on first use."""

    def __init__(self, files: Mapping[str, bytes]) -> None:
        self.files = files

    @cached_property
    def json_files(self) -> dict[str, JsonFile]:
        """Every file that the format has as JSON, by path, sorted."""
        wanted = {CATALOGUE, SLUG_MAP, UNASSIGNED, EVIDENCE} & set(self.files)
        wanted.update(path for path in self.files if path.count("/") == 1 and path.endswith("/" + EVENTS))
        return {path: JsonFile(path, self.files[path]) for path in sorted(wanted)}

    @cached_property
    def catalogue(self) -> dict[str, Any]:
        """The object `flows` of flows.json: catalogue key to its entry."""
        return _object(_object(self._value(CATALOGUE)).get("flows"))

    @cached_property
    def slug_map(self) -> dict[str, str]:
        """Folder slug to catalogue key, as written, without comments."""
        entries = _object(self._value(SLUG_MAP))
        return {slug: key for slug, key in entries.items() if not slug.startswith("_") and isinstance(key, str)}

    @cached_property
    def slugs(self) -> dict[str, str]:
        """Folder slug to catalogue key under the mapping rule: a key with no entry stands for a folder of its own
        name."""
        mapped = set(self.slug_map.values())
        return {
            **self.slug_map,
            **{key: key for key in self.catalogue if key not in mapped and key not in self.slug_map},
        }

    @cached_property
    def folders(self) -> frozenset[str]:
        """Names of the folders directly under the content folder."""
        return frozenset(path.split("/", 1)[0] for path in self.files if "/" in path)

    @cached_property
    def flows(self) -> dict[str, Flow]:
        """Flows by slug, sorted: every folder that has an events.json, listed in the catalogue or not."""
        return {
            slug: Flow(slug, self.slugs.get(slug), self.json_files[f"{slug}/{EVENTS}"], self._diagrams(slug))
            for slug in sorted(self.folders)
            if f"{slug}/{EVENTS}" in self.json_files
        }

    @cached_property
    def unassigned(self) -> list[dict[str, Any]]:
        """The entries of unassigned.json that are objects."""
        listed = _object(self._value(UNASSIGNED)).get("events")
        return [item for item in listed if isinstance(item, dict)] if isinstance(listed, list) else []

    @cached_property
    def evidence(self) -> dict[str, Any]:
        """The object of _evidence.json."""
        return _object(self._value(EVIDENCE))

    @property
    def names(self) -> frozenset[str]:
        """Event names of all flows."""
        return frozenset[str]().union(*(flow.names for flow in self.flows.values()))

    def slug_of(self, key: str) -> str:
        """Return the folder that a catalogue key stands for (the first, where several map to it)."""
        return next((slug for slug, mapped in self.slug_map.items() if mapped == key), key)

    def _value(self, path: str) -> Any:
        file = self.json_files.get(path)
        return file.value if file is not None else None

    def _diagrams(self, slug: str) -> TextFile | None:
        raw = self.files.get(f"{slug}/{DIAGRAMS}")
        return TextFile(f"{slug}/{DIAGRAMS}", raw) if raw is not None else None


def event_pointer(index: int, *parts: str | int) -> str:
    """Return the pointer of an event of events.json, or of something in it."""
    return pointer_of("events", index, *parts)


def _object(value: Any) -> dict[str, Any]:
    return value if isinstance(value, dict) else {}
