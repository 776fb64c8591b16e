"""Take screenshots of the report's page and the live page in headless Chromium or Chrome.

python launch.py --config=configs/dfm_vit.py
python docs/screenshots.py runs/dfm_vit-demo     # docs/page.png and docs/explore.png, of any finished run

On the live page the map of the first shortcut class is grafted into an image of the next class.
"""

import pathlib
import shutil
import subprocess
import sys

import fsjax

DOCS = pathlib.Path(__file__).parent
WIDTH, PAGE, LIVE = 1280, 1000, 900  # pixels: both widths, and the heights


def take(address: str, file: pathlib.Path, height: int) -> None:
    """Write a screenshot of an address as a PNG."""
    browser = next(filter(None, map(shutil.which, ("chromium", "google-chrome", "chrome"))))
    # Ten seconds of the page's own time, which stands still while it waits for answers.
    flags = ["--headless=new", "--no-sandbox", "--hide-scrollbars", "--virtual-time-budget=10000"]
    sizes = [f"--window-size={WIDTH},{height}", f"--screenshot={file}"]
    subprocess.run([browser, *flags, *sizes, address], check=True, stderr=subprocess.DEVNULL)


if __name__ == "__main__":
    workdir = pathlib.Path(sys.argv[1]).resolve()
    take((workdir / "report" / "index.html").as_uri(), DOCS / "page.png", PAGE)
    result = fsjax.load_result(workdir)
    kinds = [verdict.kind for verdict in result.verdicts]
    donor = kinds.index("shortcut") if "shortcut" in kinds else 0
    share = result.verdicts[donor].share or min(result.maps.shares)
    live = result.explore()
    state = f"recipient={(donor + 1) % len(kinds)}.0&donor={donor}.0&map={donor}&share={share}"
    take(f"{live.address}#{state}", DOCS / "explore.png", LIVE)
    live.close()
