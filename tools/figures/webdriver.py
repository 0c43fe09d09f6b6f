"""Debian's chromium, driven through chromedriver as a person would drive it: JSON over HTTP."""

import base64
import json
import os
import subprocess
import sys
import tempfile
import urllib.error
import urllib.request

sys.path.insert(0, os.path.join(os.path.dirname(__file__), "..", "line"))
from processes import free_port, listens, start, until  # noqa: E402

FLAGS = ["--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--disable-dev-shm-usage", "--no-first-run",
         "--disable-background-networking", "--disable-component-update", "--disable-sync", "--hide-scrollbars"]


class Browser:
    """A browser with one window and an empty profile, at a page's address."""

    def __init__(self, page):
        port = free_port()
        self.page, self.profile = page, tempfile.TemporaryDirectory(ignore_cleanup_errors=True)
        home = {"HOME": self.profile.name, "XDG_CACHE_HOME": self.profile.name}
        start(["chromedriver", f"--port={port}"], env=os.environ | home, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        until(lambda: listens(port), 20, "chromedriver did not listen")
        self.session = f"http://127.0.0.1:{port}/session"
        options = {"binary": "/usr/bin/chromium", "args": [*FLAGS, f"--user-data-dir={self.profile.name}/chromium"]}
        wanted = {"capabilities": {"alwaysMatch": {"goog:chromeOptions": options}}}
        self.session += "/" + self.post("", wanted)["sessionId"]

    def post(self, path, body):
        request = urllib.request.Request(self.session + path, json.dumps(body).encode(), {"content-type": "application/json"})
        try:
            with urllib.request.urlopen(request, timeout=120) as answer:
                return json.load(answer)["value"]
        except urllib.error.HTTPError as error:
            raise SystemExit(f"{path} {body}: {error.read().decode()[:600]}") from error

    def end(self):
        """Ends chromium with all its processes, which killing chromedriver does not."""
        request = urllib.request.Request(self.session, method="DELETE")
        urllib.request.urlopen(request, timeout=30).close()

    def devtools(self, command, **params):
        return self.post("/goog/cdp/execute", {"cmd": command, "params": params})

    def resize(self, width, height):
        self.devtools("Emulation.setDeviceMetricsOverride", width=width, height=height, deviceScaleFactor=1, mobile=False)

    def open(self, path):
        self.post("/url", {"url": self.page + path})

    def script(self, script):
        return self.post("/execute/sync", {"script": script, "args": []})

    def text(self, selector):
        return self.script(f"return document.querySelector({json.dumps(selector)})?.innerText ?? ''")

    def element(self, selector):
        found = self.post("/element", {"using": "css selector", "value": selector})
        return "/element/" + next(iter(found.values()))

    def click(self, selector):
        self.post(self.element(selector) + "/click", {})

    def fill(self, selector, text):
        element = self.element(selector)
        self.post(element + "/clear", {})
        self.post(element + "/value", {"text": text})

    def wait_for(self, selector, words, timeout_s=60):
        until(lambda: words in self.text(selector), timeout_s, f"{words!r} did not come in {selector}: {self.text(selector)[:200]!r}")

    def picture(self, file):
        """What is seen, as a JPEG file."""
        shot = self.devtools("Page.captureScreenshot", format="jpeg", quality=62)
        with open(file, "wb") as out:
            out.write(base64.b64decode(shot["data"]))
