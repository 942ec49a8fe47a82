"""A small content folder that is right in every respect, for tests to break in one.

What belongs here: the folder and ways to change it. What does not: judging it.
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

Files = dict[str, bytes]

LEGEND = """\
```mermaid
flowchart LR
  ui([Screen]) --> ev["analytics event name"]

  classDef event fill:#166534,stroke:#166534,color:#ffffff;
  class ev event;
```
"""

CHECKOUT_DIAGRAMS = f"""\
# Checkout diagrams

Green nodes are events.

{LEGEND}
## Funnel: paying

```mermaid
flowchart TD
  %%chalo:diagram-link ui_help -> title:Asking for help
  %%chalo:diagram-link ui_home -> flow:home
  ui_cart([Cart]) --> ev_opened["cart opened"]
  ev_opened -->|Pay| ev_paid["payment  done<br/>─────<br/>amount"]
  ev_opened --> ui_help([Help])
  ev_paid --> ui_home([Home])

  classDef event fill:#166534,stroke:#166534,color:#ffffff;
  class ev_opened,ev_paid event;
  class ui_cart,ui_help,ui_home ui;
```

## Asking for help

```mermaid
flowchart TD
  ui_help([Help]) --> ev_asked["help asked "]
  class ev_asked event;
```
"""

HOME_DIAGRAMS = """\
# Home

## Main

```mermaid
flowchart TD
  ev_home["home opened"]
  class ev_home event;
```
"""


def encode(value: Any) -> bytes:
    return (json.dumps(value, indent=2, ensure_ascii=False) + "\n").encode()


def checkout() -> dict[str, Any]:
    """events.json of the flow `checkout`. Its names have odd blanks, as real apps have."""
    return {
        "flowId": "checkout",
        "flowName": "Checkout",
        "description": "From the cart to the payment.",
        "propertyDefinitions": {"amount": {"type": "number", "description": "In paise."}, "source": {"type": "string"}},
        "stages": [{"name": "Cart", "description": "The cart.", "events": ["cart opened", "payment  done"]}],
        "events": [
            {"name": "cart opened", "component": "Cart", "description": "The cart is shown.", "properties": ["source"]},
            {
                "name": "payment  done",
                "component": "Pay",
                "description": "Paid.",
                "properties": [{"property": "amount", "context": "always"}, {"name": "source", "required": True}],
            },
            {"name": "help asked ", "component": "Help", "description": "Help was asked for.", "_bug": "blank"},
        ],
    }


def good_content() -> Files:
    """Two flows, one of them in a folder of another name than its catalogue key."""
    home = {
        "flowId": "home",
        "flowName": "Home",
        "description": "The home screen.",
        "events": [{"name": "home opened", "description": "The home screen is shown."}],
    }
    catalogue = {
        "pay": {"name": "Checkout", "description": "Paying.", "lastAudited": "2025-06-01"},
        "home": {"name": "Home", "description": "The home screen.", "lastAudited": "2025-06-01"},
    }
    return {
        "flows.json": encode({"_comment": "catalogue", "_version": "2.0", "flows": catalogue}),
        "flow-slug-map.json": encode({"_comment": "folders", "checkout": "pay"}),
        "checkout/events.json": encode(checkout()),
        "checkout/flow-diagrams.md": CHECKOUT_DIAGRAMS.encode(),
        "home/events.json": encode(home),
        "home/flow-diagrams.md": HOME_DIAGRAMS.encode(),
    }


def edited(path: str, change: Callable[[Any], None]) -> Files:
    """Return the good folder with one JSON file changed in place by a function."""
    files = good_content()
    value = json.loads(files[path])
    change(value)
    files[path] = encode(value)
    return files


def replaced(path: str, old: str, new: str) -> Files:
    """Return the good folder with a text replaced in one file, where it must stand."""
    files = good_content()
    text = files[path].decode()
    assert old in text
    files[path] = text.replace(old, new, 1).encode()
    return files


def write(files: Files, folder: Path) -> Path:
    for path, content in files.items():
        target = folder / path
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_bytes(content)
    return folder


def real_content() -> Path:
    """Return the real dashboard's content folder; skip where UPKEEP_DATA_DIR does not name the data."""
    data = os.environ.get("UPKEEP_DATA_DIR")
    if not data:
        pytest.skip("UPKEEP_DATA_DIR is not set: it names the folder with a real dashboard's content")
    return Path(data) / "dashboard" / "content" / "analytics"
