"""Headless Chromium that writes down what a page must not do."""

import os
import shutil

from selenium import webdriver
from selenium.webdriver.chrome.service import Service

BROWSER = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
DRIVER = shutil.which("chromedriver")
_WATCH = """
window.violations = [];
document.addEventListener("securitypolicyviolation", (e) => violations.push(e.violatedDirective + " " + e.blockedURI));
"""


def open_browser() -> webdriver.Chrome:
    """A browser whose pages list violations of their policy in `window.violations`."""
    options = webdriver.ChromeOptions()
    options.binary_location = BROWSER
    sandbox = ["--no-sandbox"] if os.geteuid() == 0 else []
    for one in ("--headless=new", "--disable-gpu", "--disable-dev-shm-usage", *sandbox):
        options.add_argument(one)
    options.set_capability("goog:loggingPrefs", {"browser": "ALL"})
    browser = webdriver.Chrome(options, Service(DRIVER))
    browser.execute_cdp_cmd("Page.addScriptToEvaluateOnNewDocument", {"source": _WATCH})
    browser.set_script_timeout(30)
    return browser


def set_screen(browser: webdriver.Chrome, width: int, height: int, scheme: str = "light") -> None:
    """A screen of this size, for someone who prefers this scheme."""
    size = {"width": width, "height": height, "deviceScaleFactor": 1, "mobile": width < 500}
    browser.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", size)
    features = [{"name": "prefers-color-scheme", "value": scheme}]
    browser.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": features})
