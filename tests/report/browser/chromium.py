"""A real browser for the pages: Debian's Chromium, without a window or a network."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

CHROMIUM, DRIVER = shutil.which("chromium"), shutil.which("chromedriver")
OPTIONS = (
    "--headless=new --no-sandbox --disable-gpu --disable-quic --no-first-run --disable-background-networking"
    " --disable-component-update --disable-sync"
).split()


class Browser:
    """One window, and what the tests ask of it.

    Args:
        driver: Of selenium.
        folder: Where pages are written.
    """

    def __init__(self, driver, folder: Path) -> None:
        self.driver = driver
        self._folder = folder

    def open(self, page: str, fragment: str = "", *, width: int = 1280, height: int = 900) -> None:
        """Show a page from the start, at a size."""
        file = self._folder / "page.html"
        if not file.exists() or file.read_text(encoding="utf-8") != page:
            file.write_text(page, encoding="utf-8")
        size = {"width": width, "height": height, "deviceScaleFactor": 1, "mobile": width < 600}
        self.command("Emulation.setDeviceMetricsOverride", **size)
        self.command("Emulation.setEmulatedMedia", media="", features=[])
        self.driver.get("about:blank")
        self.driver.get_log("browser")
        self.driver.get(file.as_uri() + fragment)

    def command(self, name: str, **values: object):
        """Ask the browser itself."""
        return self.driver.execute_cdp_cmd(name, values)

    def run(self, script: str, *values: object):
        """What a script in the page returns."""
        return self.driver.execute_script(script, *values)

    def wait(self, happened: Callable[[], object]) -> object:
        """What a question answers once that is true.

        Raises:
            selenium.common.TimeoutException: It never was in ten seconds.
        """
        # Only here, so that the tests can be collected where selenium is not installed.
        from selenium.webdriver.support.wait import WebDriverWait  # noqa: PLC0415

        return WebDriverWait(self.driver, 10).until(lambda _: happened())

    def press(self, *keys: str) -> None:
        """Press keys where the focus is."""
        # Only here, so that the tests can be collected where selenium is not installed.
        from selenium.webdriver.common.action_chains import ActionChains  # noqa: PLC0415

        ActionChains(self.driver).send_keys(*keys).perform()

    def complaints(self) -> list[str]:
        """What stands in the console since the page was opened."""
        return [entry["message"] for entry in self.driver.get_log("browser")]


@contextmanager
def chromium(folder: Path) -> Iterator[Browser]:
    """A browser with a profile of its own; keeps its pages in the folder."""
    from selenium import webdriver  # noqa: PLC0415 - may not be installed
    from selenium.webdriver.chrome.service import Service  # noqa: PLC0415

    options = webdriver.ChromeOptions()
    options.binary_location = CHROMIUM or ""
    for option in (*OPTIONS, f"--user-data-dir={folder / 'profile'}"):
        options.add_argument(option)
    options.set_capability("goog:loggingPrefs", {"browser": "ALL"})
    driver = webdriver.Chrome(options=options, service=Service(DRIVER, log_output=os.devnull))
    try:
        yield Browser(driver, folder)
    finally:
        driver.quit()
