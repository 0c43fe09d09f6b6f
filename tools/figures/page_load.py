"""Measures the page of a line with many parts: fills a line's history at full speed with evidence on, then uses the page.

    page_load.py MODEL_FOLDER PARTS [CSV]

While parts come, the daemon's memory, store and evidence are noted (CSV; printed in steps). At 100,000 parts, or at the end of a
shorter run, the line is paused, and what people do is timed: a search through all stored parts, a screen's first paint, a click
until the browser has painted its effect, a scrape of /metrics; then once more with the line at full speed beside it.
"""

import csv
import http.client
import json
import os
import pathlib
import subprocess
import sys
import tempfile
import time

import numpy as np

from page_line import ENDS, zippers
from webdriver import Browser
from processes import WINSPECT, end_all, free_port, listens, start, until

LINE = """prefix = "plant"
station = "box"
model = {model}
[recipe]
name = "zipper"
input_px = 70
references = [{good}]
threshold = "auto"
[[camera]]
name = "top"
kind = "folder"
location = {parts}
fps = {fps}
loop = true
deadline_ms = 2000
""" + ENDS + "mb = 200\npass_every = 50\n"
SEARCHED_AT = 100_000
SLOW_LINK = 1_000_000  # bytes a second
PASSWORD = "correct horse"
SCREENS = ["/", "/rejects", "/teach", "/false-rejects", "/shift-check", "/lens", "/counters", "/recipes", "/health", "/users"]
SEARCHES = {
    "newest rejects": "verdict=fail",
    "a part by its id": "verdict=any&part_id=Z-1",
    "a recipe that nobody has": "verdict=any&recipe=none",
    "undecided parts": "verdict=undecided",
    "the oldest hour": "verdict=fail&until=1970-01-02",
    "false rejects": "verdict=any&label=false_reject",
}
REPEATS = 21


def line_in(folder, model, fps):
    zippers(folder, 200, (96, 240))
    port, page = free_port(), free_port()
    (folder / "line.toml").write_text(LINE.format(
        model=json.dumps(str(model)), good=json.dumps(str(folder / "good")), parts=json.dumps(str(folder / "parts")),
        port=port, page=page, fps=fps))
    return port, page


class Line:
    """A running line, its page, and what it costs."""

    def __init__(self, folder, model, fps):
        self.folder = folder
        self.port, self.page = line_in(folder, model, fps)
        start(["mosquitto", "-p", str(self.port)], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        until(lambda: listens(self.port), 20, "mosquitto did not listen")
        user = [WINSPECT, "user", "add", str(folder / "line.toml"), "anna", "--role", "admin", "--password-stdin"]
        subprocess.run(user, check=True, input=PASSWORD + "\n", text=True, stdout=subprocess.DEVNULL)
        log = (folder / "log").open("w")
        self.daemon = start([WINSPECT, "run", str(folder / "line.toml")], stdout=log, stderr=log)
        until(lambda: listens(self.page), 120, "the line did not start")
        self.link = http.client.HTTPConnection("127.0.0.1", self.page, timeout=60)

    def asked(self, path):
        try:
            self.link.request("GET", path)
            answer = self.link.getresponse()
        except http.client.RemoteDisconnected:  # the page ended a link that was not used
            self.link.request("GET", path)
            answer = self.link.getresponse()
        body = answer.read()
        if answer.status != 200:
            raise SystemExit(f"{path}: {answer.status} {body[:200]}")
        return body.decode()

    def parts(self):
        rows = self.asked("/metrics").splitlines()
        return int(float(next(row for row in rows if row.startswith("winspect_results_total")).split()[-1]))

    def cost(self):
        """Parts, resident memory and its anonymous share, the store, the evidence; MB."""
        status = pathlib.Path(f"/proc/{self.daemon.pid}/status").read_text()
        memory = {row.split()[0]: int(row.split()[1]) / 1024 for row in status.splitlines() if row.startswith(("VmRSS", "RssAnon"))}
        store = sum(file.stat().st_size for file in self.folder.glob("box.db*"))
        kept = sum(self.evidence())
        return {"parts": self.parts(), "rss_mb": memory["VmRSS:"], "anonymous_mb": memory["RssAnon:"],
                "store_mb": store / 2**20, "evidence_mb": kept / 2**20}

    def evidence(self):
        for place, _, files in os.walk(self.folder / "evidence"):
            for file in files:
                try:
                    yield os.stat(os.path.join(place, file)).st_size
                except FileNotFoundError:
                    pass  # it was pruned meanwhile

    def command(self, name):
        subprocess.run(["mosquitto_pub", "-p", str(self.port), "-q", "1", "-t", f"plant/box/cmd/{name}", "-m", "{}"], check=True)
        time.sleep(1)


def timed(what, times):
    times = np.array(times) * 1e3
    print(f"{what:42} median {np.median(times):7.1f} ms, 90 % {np.quantile(times, 0.9):7.1f}, most {times.max():7.1f}", flush=True)


def clocked(work):
    began = time.perf_counter()
    work()
    return time.perf_counter() - began


def use(line, how):
    print(f"-- {how}, {line.parts()} parts", flush=True)
    for words, query in SEARCHES.items():
        timed(f"search: {words}", [clocked(lambda: line.asked(f"/rejects?{query}")) for _ in range(REPEATS)])
    timed("/metrics", [clocked(lambda: line.asked("/metrics")) for _ in range(200)])
    line_file = str(line.folder / "line.toml")
    for words, flags in (("by place", ["--by", "place"]), ("by shift", ["--by", "shift"])):
        ask = [WINSPECT, "history", line_file, *flags]
        took = [clocked(lambda: subprocess.run(ask, check=True, stdout=subprocess.DEVNULL)) for _ in range(5)]
        timed(f"winspect history {words}", took)


PAINTED = """const paint = performance.getEntriesByName('first-contentful-paint')[0];
return paint ? paint.startTime / 1000 : null"""


def painted(browser):
    """Seconds from the start of the navigation, redirects and all, until something is painted."""
    found = []
    until(lambda: found.append(browser.script(PAINTED)) or found[-1] is not None, 20, "nothing was painted")
    return found[-1]


def paints(browser, how):
    for path in SCREENS:
        took = []
        for _ in range(5):
            browser.devtools("Network.clearBrowserCache")
            browser.open(path)
            took.append(painted(browser))
        timed(f"first paint of {path}, {how}", took)


def browse(line):
    browser = Browser(f"http://127.0.0.1:{line.page}")
    try:
        browser.resize(1280, 800)
        browser.open("/sign-in")
        browser.fill("input[name=name]", "anna")
        browser.fill("input[name=password]", PASSWORD)
        browser.click("main form button")
        browser.wait_for("#user", "anna")
        paints(browser, "loopback")
        browser.devtools("Network.enable")
        slow = {"offline": False, "latency": 0, "downloadThroughput": SLOW_LINK, "uploadThroughput": SLOW_LINK}
        browser.devtools("Network.emulateNetworkConditions", **slow)
        paints(browser, "1 MB/s")
        browser.devtools("Network.emulateNetworkConditions", **(slow | {"downloadThroughput": -1, "uploadThroughput": -1}))
        clicks(line, browser)
    finally:
        browser.end()


def clicks(line, browser):
    def click(selector):
        browser.click(selector)
        return painted(browser)

    tabs, opened, labelled = [], [], []
    for _ in range(REPEATS):
        browser.open("/")
        tabs.append(click("nav a[href='/counters']"))
        browser.open("/rejects?verdict=fail")
        opened.append(click(".cards a"))
        labelled.append(click("button[value=not_sure]"))
    timed("click on a tab until its screen is painted", tabs)
    timed("click on a reject until it is painted", opened)
    timed("click on 'not sure' until it is painted", labelled)


def fill(line, wanted, rows):
    step = max(10_000, wanted // 20)
    began, told = time.monotonic(), 0
    while True:
        time.sleep(1)
        parts = line.parts()
        if parts < min(told + step, wanted):
            continue
        told = parts
        rows.append(line.cost() | {"s": time.monotonic() - began})
        print(", ".join(f"{name} {value:.0f}" for name, value in rows[-1].items()), flush=True)
        if parts >= wanted:
            return


def main():
    model, wanted = pathlib.Path(sys.argv[1]).resolve(), int(sys.argv[2])
    rows = []
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as folder:
        try:
            line = Line(pathlib.Path(folder), model, 0)
            fill(line, min(wanted, SEARCHED_AT), rows)
            line.command("pause")
            use(line, "the line is paused")
            browse(line)
            line.command("resume")
            use(line, "the line at full speed")
            if wanted > SEARCHED_AT:
                fill(line, wanted, rows)
        finally:
            end_all()
    if len(sys.argv) > 3:
        with open(sys.argv[3], "w", newline="") as out:
            writer = csv.DictWriter(out, rows[0])
            writer.writeheader()
            writer.writerows(rows)


main()
