"""A real run's report in a real browser, at a phone's, a tablet's and a desk's width, light and dark."""

import base64
import io
import itertools
import json
import os
import select
import shutil
import subprocess
import sys
import time

import numpy as np
import pytest
from PIL import Image

from train import train

pytestmark = pytest.mark.slow
WIDTHS = (380, 900, 1600)
FLAGS = (
    *("--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--remote-debugging-pipe"),
    *("--disable-background-networking", "--disable-component-update", "--disable-sync", "--hide-scrollbars"),
)
MEASURE = """({
    loaded: document.readyState,
    missing: [...document.images].filter(i => !i.complete || !i.naturalWidth).map(i => i.alt),
    images: document.images.length,
    wide: document.documentElement.scrollWidth,
    hidden: [...document.images].filter(i => !i.getBoundingClientRect().width).length,
    sticking_out: [...document.querySelectorAll('main *')].filter(e => !e.closest('.scroll, pre')
        && e.getBoundingClientRect().right > innerWidth + 1).map(e => e.outerHTML.slice(0, 80)),
    smallest: Math.min(...[...document.querySelectorAll('p, td, th, b, span, small, figcaption, pre')].map(
        e => parseFloat(getComputedStyle(e).fontSize))),
    fetched: performance.getEntriesByType('resource').map(e => e.name).filter(n => !n.startsWith('data:')),
})"""


class Browser:
    """Chromium spoken to over two pipes, by its own protocol: JSON messages that end with a zero byte."""

    def __init__(self, program, profile):
        command_in, self._out = os.pipe()
        self._in, reply_out = os.pipe()

        # The browser reads from 3 and writes to 4, whatever numbers the pipes have here.
        wire = (
            "import fcntl, os, sys; a, b = (fcntl.fcntl(int(one), fcntl.F_DUPFD, 10) for one in sys.argv[1:3]); "
            "os.dup2(a, 3); os.dup2(b, 4); os.execv(sys.argv[3], sys.argv[3:])"
        )
        self._process = subprocess.Popen(
            [
                *(sys.executable, "-c", wire),
                *(str(command_in), str(reply_out), program, *FLAGS, f"--user-data-dir={profile}"),
            ],
            pass_fds=(command_in, reply_out),
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        os.close(command_in)
        os.close(reply_out)
        self._numbers, self._rest, self.events = itertools.count(1), b"", []
        target = self.ask("Target.createTarget", url="about:blank")["targetId"]
        self._session = self.ask("Target.attachToTarget", targetId=target, flatten=True)["sessionId"]
        for domain in ("Page", "Runtime", "Log", "Network"):
            self.ask(f"{domain}.enable")

    _session = None

    def ask(self, method, **parameters):
        number = next(self._numbers)
        message = {"id": number, "method": method, "params": parameters}
        message |= {"sessionId": self._session} if self._session else {}
        os.write(self._out, json.dumps(message).encode() + b"\0")
        return self._read(lambda reply: reply.get("id") == number)["result"]

    def _read(self, wanted, seconds=60):
        end = time.monotonic() + seconds
        while True:
            while b"\0" not in self._rest:
                assert select.select([self._in], [], [], max(0, end - time.monotonic()))[0], "no answer"
                part = os.read(self._in, 1 << 20)
                assert part, "the browser has gone"
                self._rest += part
            line, _, self._rest = self._rest.partition(b"\0")
            message = json.loads(line)
            assert "error" not in message, message
            if wanted(message):
                return message
            self.events.append(message)

    def open(self, address, *, width, scheme="light"):
        """Load a page; returns what MEASURE finds in it, and what it complained about."""
        self.events.clear()
        self.ask("Emulation.setDeviceMetricsOverride", width=width, height=900, deviceScaleFactor=1, mobile=False)
        self.ask("Emulation.setEmulatedMedia", features=[{"name": "prefers-color-scheme", "value": scheme}])
        self.ask("Page.navigate", url=address)
        if not any(event.get("method") == "Page.loadEventFired" for event in self.events):
            self.events.append(self._read(lambda event: event.get("method") == "Page.loadEventFired"))
        found = self.ask("Runtime.evaluate", expression=MEASURE, returnByValue=True)["result"]["value"]
        complaints = ("Runtime.exceptionThrown", "Runtime.consoleAPICalled", "Log.entryAdded", "Network.loadingFailed")
        found["complaints"] = [event["params"] for event in self.events if event.get("method") in complaints]
        return found

    def screenshot(self):
        found = self.ask("Page.captureScreenshot", format="png", captureBeyondViewport=True)
        return np.asarray(Image.open(io.BytesIO(base64.b64decode(found["data"]))).convert("RGB"))

    def close(self):
        self._process.terminate()
        self._process.wait(30)
        os.close(self._in)
        os.close(self._out)


@pytest.fixture(scope="module")
def browser(tmp_path_factory):
    program = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
    if program is None:
        pytest.skip("there is no Chromium: apt-get install chromium")
    browser = Browser(program, tmp_path_factory.mktemp("profile"))
    yield browser
    browser.close()


@pytest.fixture(scope="module")
def report(tmp_path_factory):
    runs = tmp_path_factory.mktemp("runs (v=2) [é] #1")
    train(["data=fashion_mnist", "augment=light", "data.per_class=64", "data.batch_size=64", "model.width=4",
           "trainer.max_epochs=2", "trainer.limit_test_batches=20", "trainer.limit_val_batches=10",
           f"paths.runs={runs}"])  # fmt: skip
    (page,) = runs.glob("*/*/report.html")
    return page


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", WIDTHS)
def test_the_report_opens_without_an_error_or_a_missing_picture(browser, report, width, scheme):
    found = browser.open(report.as_uri(), width=width, scheme=scheme)
    assert found["loaded"] == "complete" and found["complaints"] == [] and found["fetched"] == []
    assert found["images"] >= 5 + 24 and found["missing"] == [] and found["hidden"] == 0
    assert found["wide"] <= width and found["sticking_out"] == [], "nothing has to be scrolled sideways"
    assert found["smallest"] >= 11
    pixels = browser.screenshot()
    assert pixels.shape[1] == width
    corner = pixels[5, 2].mean()
    assert corner > 230 if scheme == "light" else corner < 40


def test_what_is_wrong_is_found(browser, report, tmp_path):
    """The same questions to a page that was damaged, so that their silence means something."""
    text = report.read_text(encoding="utf-8")
    first, _, rest = text.partition("data:image/png;base64,")
    broken = tmp_path / "broken.html"
    broken.write_text(f"{first}data:image/png;base64,AAAA{rest}".replace("<main>", "<main><script>1</script>"))
    found = browser.open(broken.as_uri(), width=380)
    assert found["missing"] == ["loss curve"]
    assert any("Content Security Policy" in str(one) for one in found["complaints"])
    broken.write_text(text.replace("<main>", '<main><img alt="far" src="https://example.invalid/a.png">'))
    found = browser.open(broken.as_uri(), width=380)
    assert "far" in found["missing"] and found["complaints"]
    broken.write_text(text.replace("<main>", '<main><p style="width: 900px">wide</p>'))
    found = browser.open(broken.as_uri(), width=380)
    assert found["wide"] > 380 and found["sticking_out"]
