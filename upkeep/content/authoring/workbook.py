"""The content folder while it is being edited, and the record of what was done.

What belongs here: current texts by path, the view of them, the parts of the summary. What does not: any decision.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from datetime import date

from upkeep.content.edit import Editor
from upkeep.content.folder import CATALOGUE, DIAGRAMS, EVENTS, Content
from upkeep.content.jsontext import JsonSyntaxError, load, pointer_of
from upkeep.content.summary import EventRef, RenamedEvent, UnassignedEvent, UpdateSummary


class Workbook:
    """Edits one content folder. Paths are relative to it.

    `content` is the view of the files as they are now; it is made anew after each change of a file.
    """

    def __init__(self, files: Mapping[str, bytes], today: date) -> None:
        self._before = dict(files)
        self._now = dict(files)
        self._view: Content | None = None
        self._touched: dict[str, None] = {}
        self.today = today
        self.flows_added: list[str] = []
        self.added: list[EventRef] = []
        self.changed: list[EventRef] = []
        self.renamed: list[RenamedEvent] = []
        self.removed: list[EventRef] = []
        self.unassigned: list[UnassignedEvent] = []
        self._doubts: dict[str, None] = {}

    @property
    def content(self) -> Content:
        if self._view is None:
            self._view = Content(self._now)
        return self._view

    def text(self, path: str) -> str | None:
        """Return a file's text, None where there is no such file or it is not UTF-8."""
        data = self._now.get(path)
        try:
            return None if data is None else data.decode()
        except UnicodeDecodeError:
            return None

    def write(self, path: str, text: str) -> bool:
        """Give a file its new text; tell whether that changes it."""
        data = text.encode()
        if self._now.get(path) == data:
            return False
        self._now[path] = data
        self._view = None
        return True

    def edit_json(self, path: str, edit: Callable[[str], str]) -> bool:
        """Change a JSON file; one that cannot be read, or is no object, is left alone and doubted."""
        text = self.text(path)
        if text is None:
            self.doubt(f"{path} cannot be read, so it was left as it is.")
            return False
        try:
            if not isinstance(load(text)[0], dict):
                self.doubt(f"{path} is no JSON object, so it was left as it is.")
                return False
            return self.write(path, edit(text))
        except JsonSyntaxError as error:
            self.doubt(f"{path} is no valid JSON ({error.message}, line {error.line}), so it was left as it is.")
            return False

    def edit_flow(self, slug: str, edit: Callable[[str], str]) -> bool:
        """Change a flow's events.json and remember the flow as touched."""
        changed = self.edit_json(f"{slug}/{EVENTS}", edit)
        if changed:
            self._touched[slug] = None
        return changed

    def diagrams(self, slug: str) -> str | None:
        return self.text(f"{slug}/{DIAGRAMS}")

    def write_diagrams(self, slug: str, text: str) -> None:
        if self.write(f"{slug}/{DIAGRAMS}", text):
            self._touched[slug] = None

    def touch(self, slug: str) -> None:
        self._touched[slug] = None

    def doubt(self, sentence: str) -> None:
        self._doubts[sentence] = None

    def audit(self) -> None:
        """Date the touched flows in the catalogue, where its entries have dates."""
        catalogue = self.content.catalogue
        dated = any(isinstance(entry, dict) and "lastAudited" in entry for entry in catalogue.values())
        today = self.today.isoformat()
        touched = (flow for slug, flow in self.content.flows.items() if slug in self._touched)
        entries = {flow.key: catalogue.get(flow.key) for flow in touched if flow.key is not None}
        keys = [key for key, entry in entries.items() if isinstance(entry, dict) and entry.get("lastAudited") != today]
        if keys and dated:
            self.edit_json(CATALOGUE, lambda text: _dated(text, keys, today))

    def changes(self) -> Iterator[tuple[str, bytes | None]]:
        for path in sorted({*self._before, *self._now}):
            if self._before.get(path) != self._now.get(path):
                yield path, self._now.get(path)

    def summary(self) -> UpdateSummary:
        changed = [slug for slug in self._touched if slug not in self.flows_added]
        nothing = not any(True for _ in self.changes())
        return UpdateSummary(
            no_change=nothing,
            reason="the upstream change adds, renames or removes no event that the content does not already reflect"
            if nothing
            else "",
            summary="" if nothing else self._told(),
            flows_changed=sorted(changed),
            flows_added=list(self.flows_added),
            events_added=self.added,
            events_changed=self.changed,
            events_renamed=self.renamed,
            events_removed=self.removed,
            unassigned=self.unassigned,
            doubts=list(self._doubts),
        )

    def _told(self) -> str:
        counts = [
            (len(self.added), "added"),
            (len(self.renamed), "renamed"),
            (len(self.changed), "changed"),
            (len(self.removed), "removed"),
        ]
        parts = [f"{count} {'event' if count == 1 else 'events'} {what}" for count, what in counts if count]
        if self.flows_added:
            parts.append(f"{len(self.flows_added)} {'flow' if len(self.flows_added) == 1 else 'flows'} added")
        if self.unassigned:
            parts.append(f"{len(self.unassigned)} left unassigned")
        return f"Written by rules from the static scan: {', '.join(parts) or 'references corrected'}."


def _dated(text: str, keys: list[str], today: str) -> str:
    editor = Editor(text)
    for key in keys:
        editor.set_member(pointer_of("flows", key), "lastAudited", today)
    return editor.text()
