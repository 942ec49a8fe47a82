"""Rules over the rows of a whole repository, once files and hub are merged.

What belongs here: what can be wrong between rows that are each right: gone from the files, done too soon, depending on
nothing. What does not: one row against its file (`plan.py`).
"""

from __future__ import annotations

import uuid
from collections.abc import Iterator, Mapping

from upkeep.sync.block import Block
from upkeep.sync.findings import Code, Finding
from upkeep.sync.records import CLOSED, Task, Workstream

Places = Mapping[uuid.UUID, tuple[str, Block]]
"""Where each row that a file has stands: path and block."""


def gone(streams: Mapping[uuid.UUID, Workstream], tasks: Mapping[uuid.UUID, Task], places: Places) -> Iterator[Finding]:
    """Open rows whose file or block is gone."""
    for stream in streams.values():
        if not stream.present and stream.status not in CLOSED:
            yield Finding(
                code=Code.FILE_GONE,
                severity="warning",
                file=stream.file,
                message=f"the hub has {stream.local_id} as {stream.status}, and no file has it any more",
                fix="Restore the file; or, if it is given up, restore it as archived and then delete it.",
                subject=stream.local_id,
            )
    for task in tasks.values():
        home = streams.get(task.workstream)
        if task.present or task.status in CLOSED or home is None or not home.present:
            continue
        yield Finding(
            code=Code.NOT_IN_FILE,
            severity="warning",
            file=home.file,
            line=places[home.id][1].line if home.id in places else None,
            message=f"the hub has {task.local_id} ({task.title}) as {task.status}, and the file has it no more",
            fix=f"Restore the block, or run `upkeep tasks set {task.local_id} cancelled`.",
            subject=task.local_id,
        )


def lifecycle(
    streams: Mapping[uuid.UUID, Workstream], tasks: Mapping[uuid.UUID, Task], places: Places
) -> Iterator[Finding]:
    """Workplans whose status does not fit their tasks'."""
    by_stream: dict[uuid.UUID, list[Task]] = {}
    for task in tasks.values():
        if task.present:
            by_stream.setdefault(task.workstream, []).append(task)
    for number, (path, block) in places.items():
        stream = streams.get(number)
        within = by_stream.get(number, [])
        if stream is None or not within:
            continue
        left = sorted(task.local_id for task in within if task.status not in CLOSED)
        if stream.status in CLOSED and left:
            yield Finding(
                code=Code.DONE_TOO_SOON,
                severity="error",
                file=path,
                line=block.line_of("status"),
                message=f"{stream.local_id} is {stream.status}, and {_few(left)} not",
                fix="Finish or cancel the tasks, or write `status: active` and a newer `updated:`.",
                subject=stream.local_id,
            )
        elif stream.status == "active" and not left:
            yield Finding(
                code=Code.NOT_YET_DONE,
                severity="warning",
                file=path,
                line=block.line_of("status"),
                message=f"all tasks of {stream.local_id} are done or cancelled, and it is still active",
                fix="Write `status: done`, or add what is left to do.",
                subject=stream.local_id,
            )


def dependencies(tasks: Mapping[uuid.UUID, Task], places: Places) -> Iterator[Finding]:
    """`depends_on` that names no task, the task itself, or a circle."""
    by_name = {task.local_id: task for task in tasks.values()}
    circular = cycles({task.local_id: task.depends_on for task in tasks.values() if task.present})
    for number, (path, block) in places.items():
        task = tasks.get(number)
        if task is None:
            continue
        unknown = [name for name in task.depends_on if name not in by_name]
        says = []
        if unknown:
            says.append((f"{task.local_id} depends on {', '.join(unknown)}, which nobody knows", "Correct the id."))
        if task.local_id in circular:
            says.append((f"{task.local_id} depends on itself, by {circular[task.local_id]}", "Break the circle."))
        for message, fix in says:
            yield Finding(
                code=Code.DEPENDENCY,
                severity="warning",
                file=path,
                line=block.line_of("depends_on"),
                message=message,
                fix=fix,
                subject=task.local_id,
            )


def cycles(edges: Mapping[str, tuple[str, ...]]) -> dict[str, str]:
    """Every name that lies on a circle, with one circle in words. Works without recursion: chains may be long."""
    found: dict[str, str] = {}
    done: set[str] = set()
    for start in edges:
        path: list[str] = []
        stack = [(start, iter(edges[start]))] if start not in done else []
        on_path = {start: 0}
        path.append(start)
        while stack:
            name, rest = stack[-1]
            following = next((each for each in rest if each in edges), None)
            if following is None:
                stack.pop()
                done.add(name)
                on_path.pop(name, None)
                path.pop()
            elif following in on_path:
                circle = path[on_path[following] :]
                found.update({each: " → ".join([*circle, following]) for each in circle if each not in found})
            elif following not in done:
                on_path[following] = len(path)
                path.append(following)
                stack.append((following, iter(edges[following])))
    return found


def _few(names: list[str]) -> str:
    shown = ", ".join(names[:3])
    more = f" and {len(names) - 3} more" if len(names) > 3 else ""
    return f"{shown}{more} {'are' if len(names) > 1 else 'is'}"
