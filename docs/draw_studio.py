"""Pictures of the studio for its page, from real runs: `python docs/draw_studio.py RUNS`.

RUNS holds the runs whose names stand in `PICTURES`, a comparison `formats` and a ledger `rates`;
the words that made them stand at the end of docs/evidence/studio.md.
Needs playwright, Pillow, Chromium.
"""

import shutil
import subprocess
import sys
from pathlib import Path

FIGURES = Path(__file__).parent / "figures"
BROWSERS = ("chromium", "chromium-browser", "google-chrome")
PICTURES = {
    "runs": ("/", 1280, 640, "light", ".spark path"),
    "phone": ("/", 390, 700, "dark", ".spark path"),
    "run": ("/run/wide-e4m3", 1280, 1320, "light", ".three canvas"),
    "curves": (
        "/curves?run=wide-e4m3&run=e5m2-shadow&run=sweep-lr-0.01&smooth=some",
        *(1280, 860, "dark", "canvas"),
    ),
    "comparison": ("/comparison/formats", 1280, 1180, "light", "canvas"),
    "ideas": ("/idea/rates", 1280, 820, "light", "canvas"),
    "formats": ("/formats?names=e4m3,e5m2,e3m4&x=0.3", 1280, 1150, "light", "canvas"),
    "text": (
        "/text?run=wide-e4m3&precision=e2m5&text=to%20be%20or%20not%20to",
        *(1280, 1150, "light", "canvas"),
    ),
}
"""Name -> address, width, height, scheme, and what must be there before the picture is taken."""


def main(runs: str) -> None:
    from playwright.sync_api import sync_playwright

    browser_path = next(filter(None, map(shutil.which, BROWSERS)))
    words = [sys.executable, "-m", "altgrad", "studio", runs, "--port", "0"]
    with subprocess.Popen(words, stdout=subprocess.PIPE, text=True) as studio:
        assert studio.stdout is not None
        address, _, token = studio.stdout.readline().strip().partition("#")
        with sync_playwright() as playwright:
            browser = playwright.chromium.launch(
                executable_path=browser_path, args=["--no-sandbox"]
            )
            for name, picture in PICTURES.items():
                draw(browser, address.rstrip("/"), token, name, *picture)
            browser.close()
        studio.terminate()


def draw(browser, address, token, name, place, width, height, scheme, wanted) -> None:
    context = browser.new_context(viewport={"width": width, "height": height}, color_scheme=scheme)
    page = context.new_page()
    page.goto(f"{address}{place}#{token}")
    page.locator(wanted).first.wait_for(timeout=120_000)
    page.wait_for_timeout(2500)
    path = FIGURES / f"studio_{name}.png"
    page.screenshot(path=path)
    make_small(path)
    context.close()
    print(path)


def make_small(path: Path) -> None:
    """256 colours are enough for a page, and a third of the bytes: its most frequent ones, exactly,
    so that paper stays paper and a line keeps the colour that tells what it is."""
    import numpy as np
    from PIL import Image

    made = np.array(Image.open(path).convert("RGB")).astype(int)
    colours, place, counts = np.unique(
        made.reshape(-1, 3), axis=0, return_inverse=True, return_counts=True
    )
    frequent = colours[np.argsort(-counts)[:256]]
    nearest = ((colours[:, None] - frequent) ** 2).sum(-1).argmin(1)
    small = Image.fromarray(nearest[place].reshape(made.shape[:2]).astype(np.uint8), "P")
    small.putpalette(frequent.astype(np.uint8).tobytes())
    small.save(path, optimize=True)


if __name__ == "__main__":
    main(sys.argv[1])
