"""How big the page of many deals is, and how quickly it opens, sorts and filters in a browser.

    python benchmarks/html.py --deals 10000

Makes up a company with five CRMs, draws its page and opens it in Debian's Chromium. Prints
bytes, and milliseconds in the browser: until the lists work, and for each thing a reader does
(the middle of five times). Needs chromium, chromium-driver and selenium.
"""

from __future__ import annotations

import argparse
import gzip
import sys
import tempfile
import time
from pathlib import Path
from statistics import median

sys.path.insert(0, str(Path(__file__).parents[1]))

from crmkit.report.render.html import pipeline_html
from tests.report.browser.chromium import Browser, chromium
from tests.report.report_of import page_of
from tests.report.sample import rates, sample, settings

TIMES = 5
_SELECT = (
    "const s = document.querySelector('#explorer select[data-filter=owner]');"
    "s.selectedIndex = 1 + (s.selectedIndex % 6); s.dispatchEvent(new Event('change'));"
)
ACTIONS = {
    "sort by amount": "document.querySelector('#explorer th.c-amount button').click();",
    "sort by name": "document.querySelector('#explorer th.c-name button').click();",
    "filter by owner": _SELECT,
    "search": (
        "const i = document.querySelector('#explorer input'); i.value = i.value ? '' : 'helios';"
        "i.dispatchEvent(new Event('input'));"
    ),
    "open a figure": (
        "history.replaceState(null, '', '#deals?status=open');"
        "dispatchEvent(new HashChangeEvent('hashchange'));"
    ),
    "next page": "document.querySelector('#explorer .pager button:last-child').click();",
}


def page(count: int) -> str:
    """The page of so many made-up records."""
    rows, links = sample(count)
    config = settings()
    report, deals, left_out = page_of(rows, links, rates(), config)
    started = time.perf_counter()
    document = pipeline_html(report, deals, left_out)
    print(f"deals in the page {len(deals):,}; drawn in {time.perf_counter() - started:.1f} s")
    return document


def measure(browser: Browser, document: str) -> None:
    """Open the page and do what a reader does."""
    opened = []
    for _ in range(TIMES):
        browser.open(document)
        opened.append(
            browser.run("return performance.getEntriesByType('navigation')[0].domContentLoadedEventEnd")
        )
    print(f"{'until the lists work':24}{median(opened):8.0f} ms")
    for name, script in ACTIONS.items():
        # Layout is asked for, so that it is part of the time.
        timed = (
            f"const t = performance.now(); {script} document.body.offsetHeight; return performance.now() - t"
        )
        times = [browser.run(timed) for _ in range(TIMES)]
        print(f"{name:24}{median(times):8.1f} ms, first {times[0]:.1f}")
    heap = browser.run("return performance.memory ? performance.memory.usedJSHeapSize : 0")
    print(f"{'memory of the script':24}{heap / 1e6:8.1f} MB")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--deals", type=int, default=10_000)
    parser.add_argument("--keep", type=Path, help="Write the page here too.")
    chosen = parser.parse_args()
    document = page(chosen.deals)
    if chosen.keep:
        chosen.keep.write_text(document, encoding="utf-8")
    size = len(document.encode())
    print(f"size {size / 1e6:.2f} MB, {len(gzip.compress(document.encode())) / 1e6:.2f} MB compressed")
    with tempfile.TemporaryDirectory() as folder, chromium(Path(folder)) as browser:
        measure(browser, document)


if __name__ == "__main__":
    main()
