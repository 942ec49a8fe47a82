"""`upkeep init` and `upkeep config`: writing, checking and describing upkeep.yaml."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Annotated

import typer

from upkeep.errors import ConfigError

app = typer.Typer(help="Check and describe upkeep.yaml.", no_args_is_help=True)

Json = Annotated[bool, typer.Option("--json", help="Print the result as JSON.")]

_TEMPLATE = """\
# Upkeep's configuration. `upkeep config check` validates it, `upkeep config schema` describes every key.
# ${{NAME}} reads the environment, or the .env beside this file. Secrets may stand here only so.

home: {home}                 # database, mirrors, work trees, reports (also: UPKEEP_HOME)
database_url: ${{UPKEEP_DATABASE_URL}}   # unset: an embedded PostgreSQL under home

forges:
  here: {{kind: local}}                                # the embedded forge: bare repositories, `upkeep pr list`
  # github: {{kind: github, host: github.com}}         # {gh}
  # gitea: {{kind: gitea, url: "https://git.example", token: "${{GITEA_TOKEN}}", orgs: [me]}}   # docs/gitea.md

agents:
  scan: {{engine: scan}}                               # offline, deterministic, no model
  # codex: {{engine: codex, model: gpt-5.2, effort: high, api_key: "${{OPENAI_API_KEY}}", budget_usd: 1.00}}   # {codex}

watches: {{}}
  # my-app:
  #   upstream: {{path: ~/src/my-app, branch: main}}   # a working copy that Upkeep may pull; or url: its own mirror
  #   target: {{url: "https://github.com/me/dashboard.git", base: main, forge: github, repo: me/dashboard}}
  #   content: content/analytics
  #   agent: scan
  #   poll_minutes: 10
  #   scan: {{kotlin: {{calls: [track, logEvent], event: 0, properties: 1}}}}

forks: {{}}
  # my-fork:                                           # rebased on its upstream every day: docs/forks.md
  #   path: ~/src/my-fork                              # a working copy with the remotes `origin` and `upstream`
  #   trunk: integration                               # the branch with your patches
  #   upstream_branch: main
  #   mirror_branch: main                              # a plain copy of upstream's branch in your fork
  #   gates: ["make test"]                             # run in the sandbox before anything is pushed
  #   forge: github
  #   repo: me/my-fork
  #   schedule: "0 5 * * *"

repositories: {{}}
  # my-repo: {{path: ~/src/my-repo, domain: docs, fix: true}}   # workplans in step with the hub: docs/sync.md

web: {{}}
  # port: 8700                                         # the REST API of `upkeep up` and `upkeep web`: docs/api.md
  # hosts: [hub.example.com]                           # names by which requests come through a proxy
"""


def init(
    path: Annotated[Path, typer.Argument(help="Where to write it.")] = Path("upkeep.yaml"),
    force: Annotated[bool, typer.Option("--force", help="Replace a file that is there.")] = False,
) -> None:
    """Write a commented upkeep.yaml for this machine.

    Example: `upkeep init`, then edit the file, then `upkeep config check`.
    """
    from upkeep.config import Settings

    gh, codex = shutil.which("gh"), shutil.which("codex")
    text = _TEMPLATE.format(
        home=Settings.model_fields["home"].default,
        gh="gh is installed; log in with `gh auth login`, or set token: ${GH_TOKEN}" if gh else "needs gh installed",
        codex="codex is installed" if codex else "needs codex: npm install -g @openai/codex",
    )
    try:
        with path.open("w" if force else "x", encoding="utf-8") as file:
            file.write(text)
    except FileExistsError as error:
        raise ConfigError(
            f"{path} exists already", code="config.exists", remedy="Edit it, or give --force to replace it."
        ) from error
    except OSError as error:
        raise ConfigError(
            f"{path} cannot be written: {error.strerror}", code="config.unwritable", remedy="Choose another path."
        ) from error
    print(f"wrote {path}")
    print("next: edit its watches and forks, then run `upkeep config check` and `upkeep doctor`")


@app.command()
def check(json: Json = False) -> None:
    """Validate upkeep.yaml; every fault is named with its line.

    Example: `upkeep --config ./upkeep.yaml config check`
    """
    from cli.output import emit_json
    from upkeep.config import load

    settings = load()
    names = {
        section: sorted(getattr(settings, section))
        for section in ("forges", "agents", "watches", "forks", "repositories")
    }
    if json:
        emit_json({"file": str(settings.source) if settings.source else None, "home": str(settings.home), **names})
        return
    print(f"{settings.source or 'no upkeep.yaml found, defaults apply'}: valid")
    print(f"  home: {settings.home}")
    for section, entries in names.items():
        if entries:
            print(f"  {section}: {', '.join(entries)}")


@app.command()
def schema() -> None:
    """Print the JSON Schema of upkeep.yaml, for editors and CI.

    Example: `upkeep config schema > upkeep.schema.json`
    """
    from cli.output import emit_json
    from upkeep.config import schema as document

    emit_json(document())
