"""Takes the picture of the lineage for the README from a running UI.

    python docs/screenshot.py http://127.0.0.1:3000 [FILE]

Needs playwright (a development dependency) and a Chromium: the one that CHROMIUM names, else /usr/bin/chromium.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path

from playwright.sync_api import Page, sync_playwright

DEFAULT = Path(__file__).parent / "images" / "lineage.png"
SIZE = {"width": 760, "height": 1900}
PAGE = "/locations/upkeep/asset-groups/content"
LARGEST_BYTES = 300_000


def take(url: str, file: Path) -> None:
    """Open the group's lineage at `url`, wait until it is drawn, and write it to `file` as PNG."""
    file.parent.mkdir(parents=True, exist_ok=True)
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(
            executable_path=os.environ.get("CHROMIUM", "/usr/bin/chromium"),
            args=["--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage"],
        )
        try:
            page = browser.new_page(viewport=SIZE, color_scheme="light")
            # Downwards, so that names and checks can be read at the width of a README; the UI remembers it like this.
            page.add_init_script("localStorage.setItem('asset-graph-direction', JSON.stringify('vertical'))")
            page.goto(url + PAGE, wait_until="networkidle")
            page.get_by_text("Hide navigation").click()
            page.reload(wait_until="networkidle")
            _settle(page)
            page.screenshot(path=file)
        finally:
            browser.close()
    if file.stat().st_size > LARGEST_BYTES:
        raise SystemExit(f"{file} has {file.stat().st_size} bytes, more than {LARGEST_BYTES}")
    print(f"{file}: {file.stat().st_size} bytes")


def _settle(page: Page) -> None:
    page.wait_for_selector("text=pull_request", timeout=60_000)
    page.wait_for_timeout(4_000)


if __name__ == "__main__":
    take(sys.argv[1].rstrip("/"), Path(sys.argv[2]) if len(sys.argv) > 2 else DEFAULT)
