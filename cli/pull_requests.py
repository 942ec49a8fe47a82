"""`upkeep pr`: what a forge's web pages are for, on the local forge."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

if TYPE_CHECKING:
    from upkeep.forges.base import PullRequest
    from upkeep.forges.local import LocalForge

app = typer.Typer(
    help="Pull requests on the local forge: list, show, merge, close, label. Those on GitHub are on GitHub.",
    no_args_is_help=True,
)

Number = Annotated[int, typer.Argument(min=1, metavar="NUMBER", help="The pull request's number.")]
Repo = Annotated[str | None, typer.Option("--repo", help="The repository; may be left out where there is only one.")]
ForgeName = Annotated[str | None, typer.Option("--forge", help="The local forge; may be left out for the only one.")]
Json = Annotated[bool, typer.Option("--json", help="Print the result as JSON.")]


@app.command("list")
def show_list(
    state: Annotated[Literal["open", "closed", "merged", "all"], typer.Option("--state", help="Which ones.")] = "open",
    label: Annotated[str | None, typer.Option("--label", help="Only those with this label.")] = None,
    repo: Repo = None,
    forge: ForgeName = None,
    json: Json = False,
) -> None:
    """List pull requests, newest first.

    Examples: `upkeep pr list` · `upkeep pr list --state all --json` · `upkeep pr list --label fork-delta`
    """
    with _local_forge(forge) as local:
        repos = [repo] if repo is not None else local.repositories()
        found = [one for name in repos for one in local.pull_requests(name) if state in ("all", one.state)]
    if label is not None:
        found = [one for one in found if label.lower() in map(str.lower, one.labels)]
    if json:
        from cli.output import emit_json

        emit_json([one.model_dump(mode="json") for one in found])
        return
    if not found:
        what = "pull requests" if state == "all" else f"{state} pull requests (`--state all` shows every one)"
        print(f"no {what}")
        return
    _print_table(found)


@app.command()
def show(
    number: Number,
    repo: Repo = None,
    forge: ForgeName = None,
    diff: Annotated[bool, typer.Option("--diff", help="Print the change itself, too.")] = False,
    json: Json = False,
) -> None:
    """Show one pull request: where it stands, what it says, what persons said.

    Examples: `upkeep pr show 2` · `upkeep pr show 2 --diff`
    """
    from upkeep.forges.text import visible

    with _local_forge(forge) as local:
        repo = _repo(local, repo)
        one = local.pull_request(repo, number)
        notes = local.notes(repo, number)
        patch = _patch(local, one) if diff else None
    if json:
        from cli.output import emit_json

        emit_json({**one.model_dump(mode="json"), "notes": notes, **({"diff": patch} if diff else {})})
        return
    print(f"{one.repo} #{one.number} [{one.state}] {visible(one.title)}")
    print(
        f"{one.head_branch} ({one.head_sha[:12]}) → {one.base_branch}, by {one.author}, {one.updated_at:%Y-%m-%d %H:%M}"
    )
    if one.labels:
        print(f"labels: {visible(', '.join(one.labels))}")
    print(f"\n{visible(one.body).rstrip()}")
    for note in notes:
        print(f"\n{note['at'][:16]} {note['author']} {_SAID[note['kind']]} {visible(note['body'])}".rstrip())
    if patch is not None:
        print(f"\n{visible(patch).rstrip()}")


@app.command()
def merge(
    number: Number,
    strategy: Annotated[
        Literal["merge", "squash", "rebase"], typer.Option("--strategy", help="How; a squash drops the trailers.")
    ] = "merge",
    repo: Repo = None,
    forge: ForgeName = None,
    json: Json = False,
) -> None:
    """Merge a pull request into its base branch.

    Examples: `upkeep pr merge 2` · `upkeep pr merge 2 --strategy squash`
    """
    with _local_forge(forge) as local:
        _print_outcome(local.merge(_repo(local, repo), number, by=_me(), strategy=strategy), json)


@app.command()
def close(number: Number, repo: Repo = None, forge: ForgeName = None, json: Json = False) -> None:
    """Close a pull request unmerged. Upkeep will not propose the same upstream commit again.

    Example: `upkeep pr close 2`
    """
    with _local_forge(forge) as local:
        _print_outcome(local.close(_repo(local, repo), number, by=_me()), json)


@app.command()
def reopen(number: Number, repo: Repo = None, forge: ForgeName = None, json: Json = False) -> None:
    """Open a closed pull request again.

    Example: `upkeep pr reopen 2`
    """
    with _local_forge(forge) as local:
        _print_outcome(local.reopen(_repo(local, repo), number, by=_me()), json)


@app.command()
def comment(
    number: Number,
    text: Annotated[str, typer.Argument(help="What to say.")],
    review: Annotated[bool, typer.Option("--review", help="Record it as a review.")] = False,
    repo: Repo = None,
    forge: ForgeName = None,
    json: Json = False,
) -> None:
    """Comment on a pull request. The next update builds on one that a person commented on, instead of replacing it.

    Example: `upkeep pr comment 2 "Please keep the old description"`
    """
    with _local_forge(forge) as local:
        kind: Literal["comment", "review"] = "review" if review else "comment"
        _print_outcome(local.comment(_repo(local, repo), number, by=_me(), body=text, kind=kind), json)


@app.command()
def label(
    number: Number,
    labels: Annotated[list[str] | None, typer.Argument(metavar="LABEL…", help="Labels to add.")] = None,
    remove: Annotated[list[str] | None, typer.Option("--remove", help="A label to take off; may be repeated.")] = None,
    repo: Repo = None,
    forge: ForgeName = None,
    json: Json = False,
) -> None:
    """Add labels to a pull request, or take some off.

    Examples: `upkeep pr label 2 urgent` · `upkeep pr label 2 --remove urgent`
    """
    with _local_forge(forge) as local:
        changed = local.label(_repo(local, repo), number, add=labels or (), remove=remove or ())
    if json:
        from cli.output import emit_json

        emit_json(changed)
        return
    from upkeep.forges.text import visible

    print(f"{changed.repo} #{changed.number} has the labels: {visible(', '.join(changed.labels)) or '(none)'}")


_SAID = {
    "comment": "said:",
    "review": "reviewed:",
    "closed": "closed it",
    "reopened": "opened it again",
    "merged": "merged it",
}


@contextmanager
def _local_forge(name: str | None) -> Iterator[LocalForge]:
    """The forge of that name, or the only local one. Raises ConfigError."""
    from upkeep.config import load
    from upkeep.database import schema
    from upkeep.database.server import connect
    from upkeep.errors import ConfigError
    from upkeep.forges.registry import open_local
    from upkeep.settings.forges import LocalForgeSettings

    settings = load()
    local = [key for key, chosen in settings.forges.items() if isinstance(chosen, LocalForgeSettings)]
    if name is None and len(local) == 1:
        name = local[0]
    if name not in local:
        wanted = "several local forges are configured" if name is None else f"there is no local forge {name!r}"
        raise ConfigError(wanted, code="config.unknown_forge", remedy=f"Give --forge with one of: {', '.join(local)}.")
    with connect(settings.home, settings.database_url) as database:
        schema.ensure(database)
        yield open_local(name, settings, database)


def _repo(local: LocalForge, repo: str | None) -> str:
    from upkeep.errors import ForgeError

    if repo is not None:
        return repo
    known = local.repositories()
    if len(known) == 1:
        return known[0]
    if not known:
        raise ForgeError(
            f"the local forge {local.name} has no pull requests yet",
            code="forge.not_found",
            remedy="`upkeep demo` makes some, `upkeep update WATCH` one of yours.",
        )
    raise ForgeError(
        f"the local forge {local.name} has several repositories",
        code="forge.ambiguous",
        remedy=f"Give --repo with one of: {', '.join(known)}.",
    )


def _patch(local: LocalForge, one: PullRequest) -> str:
    """What it would change, or did, against the base where the branch left it."""
    repository = local.repository(one.repo)
    base = repository.resolve(f"{one.merge_commit_sha}^" if one.merge_commit_sha else f"refs/heads/{one.base_branch}")
    head = repository.resolve(one.head_sha)
    start = repository.merge_base(base, head) if base and head else None
    if start is None or head is None:
        return "(the branch is gone)"
    return repository.patch(start, head).decode(errors="replace")


def _me() -> str:
    import getpass

    return getpass.getuser()


def _print_outcome(one: PullRequest, json: bool) -> None:
    if json:
        from cli.output import emit_json

        emit_json(one)
        return
    into = f" into {one.base_branch} as {one.merge_commit_sha[:12]}" if one.merge_commit_sha else ""
    print(f"{one.repo} #{one.number} is {one.state}{into}")


def _print_table(found: list[PullRequest]) -> None:
    from rich.table import Table
    from rich.text import Text

    from cli.output import stdout
    from upkeep.forges.text import visible

    table = Table(box=None, pad_edge=False, header_style="dim")
    for heading in ("repository", "#", "state", "title", "branch", "updated"):
        table.add_column(heading, overflow="fold" if heading in ("title", "branch") else "ellipsis")
    for one in found:
        cells: list[Any] = [
            one.repo,
            one.number,
            one.state,
            one.title,
            one.head_branch,
            f"{one.updated_at:%Y-%m-%d %H:%M}",
        ]
        table.add_row(*(Text(visible(str(cell)).replace("\n", " ")) for cell in cells))
    stdout().print(table)
