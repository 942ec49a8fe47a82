"""The inventory over HTTP, by lists that were read from a forge."""

from __future__ import annotations

import pytest

from tests.support.api import Api
from tests.support.api import api as api
from tests.support.gitea import TOKEN_VARIABLE, Gitea
from upkeep.sync import stocktaking
from upkeep.sync.inventory import Inventory

FORGE = "forges:\n  coulomb: {{kind: gitea, url: {url}, orgs: [coulomb]}}\n"


def test_before_anything_was_configured_or_read_it_says_so(api: Api) -> None:
    assert api.problem("GET", "/inventory", 404)["code"] == "config.nothing_to_list"
    api.config.write_text(api.config.read_text() + FORGE.format(url="https://forge.example"))
    assert api.problem("GET", "/inventory", 404)["code"] == "inventory.none"
    assert api.problem("GET", "/inventory?forge=nope", 404)["code"] == "config.unknown_forge"
    api.problem("GET", "/inventory", 401, token=None)


def test_it_is_the_published_model_and_asks_no_forge(api: Api, gitea: Gitea, monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in gitea.env.items():
        monkeypatch.setenv(name, value)
    token = f'token: "${{{TOKEN_VARIABLE}}}", '
    text = api.config.read_text() + FORGE.format(url=f'"{gitea.url}"').replace("orgs:", token + "orgs:")
    api.config.write_text(text)
    gitea.lists("coulomb/new")
    api.get("/repos/")
    taken = stocktaking.take(api.hub.settings, api.database)
    first = api.ask("GET", "/inventory?forge=coulomb")
    assert Inventory.model_validate(first.json()) == taken
    assert [one["full_name"] for one in first.json()["unregistered"]] == ["coulomb/new"]
    gitea.lists("coulomb/newer")
    again = api.ask("GET", "/inventory?forge=coulomb", headers={"If-None-Match": first.headers["etag"]})
    assert again.status_code == 304
