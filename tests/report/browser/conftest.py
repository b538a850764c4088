"""One browser for all tests of the page."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import pytest

from tests.report.browser.chromium import CHROMIUM, DRIVER, Browser, chromium


@pytest.fixture(scope="session")
def browser(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Browser]:
    if CHROMIUM is None or DRIVER is None:
        pytest.skip("needs Chromium and its driver: apt-get install chromium chromium-driver")
    pytest.importorskip("selenium.webdriver", reason="needs the package selenium")
    with chromium(tmp_path_factory.mktemp("browser")) as one:
        yield one


@pytest.fixture
def saved(browser: Browser) -> Callable[[], str]:
    """The text of the file that the page saved last."""

    def read() -> str:
        return browser.driver.execute_async_script(
            "const done = arguments[0]; window.savedBlob.text().then(done)"
        )

    return read
