"""Takes the pictures of the lineage for the README and the runbooks from a running UI.

    python docs/screenshot.py http://127.0.0.1:3000 [FOLDER]

`upkeep demo`, `upkeep demo rebase` and `upkeep demo sync` with one UPKEEP_HOME give every group something to show.

Needs playwright (a development dependency) and a Chromium: the one that CHROMIUM names, else /usr/bin/chromium.
"""

from __future__ import annotations

import os
import sys
from dataclasses import dataclass
from pathlib import Path

from playwright.sync_api import Browser, ViewportSize, sync_playwright

FOLDER = Path(__file__).parent / "images"
PAGE = "/locations/upkeep/asset-groups/"
LARGEST_BYTES = 300_000
SETTLED_MS = 4_000


@dataclass(frozen=True)
class Picture:
    """The lineage of one asset group. `last`: an asset that is drawn when all are; sizes in pixels."""

    file: str
    group: str
    last: str
    width: int
    height: int


PICTURES = (
    Picture("lineage.png", "content", last="pull_request", width=760, height=1900),
    Picture("forks.png", "forks", last="fork_delta", width=860, height=1340),
    Picture("sync.png", "sync", last="sync_health", width=880, height=1020),
)


def take(url: str, folder: Path) -> None:
    """Open each group's lineage at `url`, wait until it is drawn, and write it below `folder` as PNG."""
    folder.mkdir(parents=True, exist_ok=True)
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(
            executable_path=os.environ.get("CHROMIUM", "/usr/bin/chromium"),
            args=["--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage"],
        )
        try:
            for picture in PICTURES:
                _draw(browser, url, picture, folder / picture.file)
        finally:
            browser.close()


def _draw(browser: Browser, url: str, picture: Picture, file: Path) -> None:
    size: ViewportSize = {"width": picture.width, "height": picture.height}
    page = browser.new_page(viewport=size, color_scheme="light")
    # Downwards, so that names and checks can be read at the width of a README; the UI remembers it like this.
    page.add_init_script("localStorage.setItem('asset-graph-direction', JSON.stringify('vertical'))")
    page.goto(url + PAGE + picture.group, wait_until="networkidle")
    page.get_by_text("Hide navigation").click()
    page.reload(wait_until="networkidle")
    page.wait_for_selector(f"text={picture.last}", timeout=60_000)
    page.wait_for_timeout(SETTLED_MS)
    page.screenshot(path=file)
    page.close()
    if file.stat().st_size > LARGEST_BYTES:
        raise SystemExit(f"{file} has {file.stat().st_size} bytes, more than {LARGEST_BYTES}")
    print(f"{file}: {file.stat().st_size} bytes")


if __name__ == "__main__":
    take(sys.argv[1].rstrip("/"), Path(sys.argv[2]) if len(sys.argv) > 2 else FOLDER)
