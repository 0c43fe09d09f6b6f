"""Measures what viewers of the page cost the verdicts: a real line of 16 cameras, with and without 5 viewers, in turns.

Each camera shows drawn zippers, one in two seconds, each at another moment, so that parts seldom wait for each other and
the tail is what disturbs them. A turn has no viewer, the next one five: four that read all that a browser reads (the screen, each
update, each new picture), and one that asks and never reads. They run at nice 19, as most viewers run on another machine.
What is compared is `latency_ms.total` of each result. Writes a row for each pair of turns, and the ratio of the quantiles of all.
"""

import http.client
import json
import os
import pathlib
import random
import re
import socket
import subprocess
import sys
import tempfile
import threading
import time

import numpy as np

from page_line import ENDS, zippers
from processes import WINSPECT, end_all, free_port, listens, start, until

CAMERAS, VIEWERS, PERIOD_S = 16, 4, 2
SETTLE_S = 3  # of each turn, left out: viewers come and go
CAMERA = """live = true
endless = true
launch = \"\"\"
multifilesrc location="PARTS" loop=true caps=image/png,framerate=1/{period} ! pngdec ! clocksync ts-offset={offset}
  ! videoconvert
\"\"\"

[parameters.offset]
type = "whole"
low = 0
high = 10000000000
default = "0"
about = "nanoseconds after the others"

[parameters.period]
type = "whole"
low = 1
high = 3600
default = "2"
about = "seconds between two pictures"
"""
LINE = """prefix = "plant"
station = "box"
model = {model}
[recipe]
name = "zipper"
input_px = {pixels}
references = [{good}]
threshold = "auto"
auto_factor = 1.3
{cameras}
""" + ENDS + "pass_every = 20\n"


class Viewer(threading.Thread):
    """Reads the page as a browser does, until it is told to stop."""

    def __init__(self, page):
        super().__init__(daemon=True)
        self.page, self.is_over, self.pictures, self.updates, self.seen = page, threading.Event(), 0, 0, set()

    def run(self):
        link = http.client.HTTPConnection("127.0.0.1", self.page, timeout=30)

        def get(path):
            link.request("GET", path)
            return link.getresponse().read()

        text = get("/").decode()
        version = int(re.search(r'data-version="(\d+)"', text)[1])
        while not self.is_over.is_set():
            for address in re.findall(r'(?:href|src)="(/picture/[^"]+)"', text):
                if address not in self.seen:
                    self.seen.add(address)
                    get(address)
                    self.pictures += 1
            update = json.loads(get(f"/updates/live?since={version}"))
            version, self.updates = update["version"], self.updates + 1
            text = "".join(fragment["html"] for fragment in update["fragments"])


def viewers(page, orders):
    """A process of viewers at nice 19: `on` and `off` come by its standard input, what they read goes out."""
    os.nice(19)
    there, stalled = [], None
    for order in orders:
        if order.strip() == "on":
            there = [Viewer(page) for _ in range(VIEWERS)]
            for viewer in there:
                viewer.start()
            stalled = socket.create_connection(("127.0.0.1", page))
            stalled.settimeout(0.5)
            try:
                stalled.sendall(b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n" * 20_000)
            except OSError:
                pass  # the buffers of both ends are full, as they should be
        else:
            for viewer in there:
                viewer.is_over.set()
            stalled.close()
            print(sum(viewer.updates for viewer in there), sum(viewer.pictures for viewer in there), flush=True)


def line_in(folder, model, pixels):
    """Writes pictures and the line's file; the ports of broker and page."""
    zippers(folder, 40)
    (folder / "zippers.toml").write_text(CAMERA.replace("PARTS", str(folder / "parts" / "%03d.png")))
    cameras = "".join(
        f'[[camera]]\nname = "c{number}"\nkind = "zippers.toml"\n'
        f"offset = {number * PERIOD_S * 10**9 // CAMERAS}\nperiod = {PERIOD_S}\nstall_s = 30\ndeadline_ms = 2000\n"
        for number in range(CAMERAS))
    port, page = free_port(), free_port()
    (folder / "line.toml").write_text(LINE.format(
        model=json.dumps(str(model)), good=json.dumps(str(folder / "good")), cameras=cameras, port=port, page=page, pixels=pixels))
    return port, page


def listen(port):
    """Results as they come: (moment, result)."""
    results = []
    plc = start(["mosquitto_sub", "-p", str(port), "-q", "1", "-t", "plant/box/result"], stdout=subprocess.PIPE)

    def read():
        for row in plc.stdout:
            results.append((time.monotonic(), json.loads(row)))

    threading.Thread(target=read, daemon=True).start()
    return results


def quantiles(results):
    took = np.array([result["latency_ms"]["total"] for result in results])
    return np.quantile(took, [0.5, 0.9, 0.99])


def unlike(turns, repeats=2000):
    """The middle 95 % of the ratio of p99 with viewers to p99 without, by drawing pairs of turns anew (bootstrap)."""
    ratios = []
    for _ in range(repeats):
        pairs = random.choices(turns, k=len(turns))
        alone, viewed = (np.concatenate([[r["latency_ms"]["total"] for r in pair[side]] for pair in pairs]) for side in (0, 1))
        ratios.append(np.quantile(viewed, 0.99) / np.quantile(alone, 0.99))
    return np.quantile(ratios, [0.025, 0.975])


def measure(folder, model, pixels, pairs, turn_s):
    port, page = line_in(folder, model, pixels)
    (folder / "broker").write_text(f"listener {port} 127.0.0.1\nallow_anonymous true\nset_tcp_nodelay true\n")
    start(["mosquitto", "-c", str(folder / "broker")], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    until(lambda: listens(port), 10, "the broker does not listen")
    results = listen(port)
    start([WINSPECT, "run", str(folder / "line.toml")], stdout=subprocess.DEVNULL, stderr=(folder / "log").open("w"))
    until(lambda: len(results) >= 4 * CAMERAS, 120, f"{(folder / 'log').read_text()[-2000:]}\nno results came")
    crowd = start([sys.executable, "-B", __file__, "--viewers", str(page)], stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    turns, read = [], [0, 0]
    for pair in range(pairs):
        heard = {}
        # The order turns round with each pair: what drifts meets both alike.
        for is_viewed in ((False, True) if pair % 2 == 0 else (True, False)):
            if is_viewed:
                crowd.stdin.write("on\n")
                crowd.stdin.flush()
            time.sleep(SETTLE_S)
            began = time.monotonic()
            time.sleep(turn_s)
            ended = time.monotonic()
            if is_viewed:
                crowd.stdin.write("off\n")
                crowd.stdin.flush()
                read = [sum(both) for both in zip(read, map(int, crowd.stdout.readline().split()))]
            heard[is_viewed] = [result for at, result in list(results) if began <= at < ended]
        turns.append((heard[False], heard[True]))
        alone, viewed = quantiles(heard[False]), quantiles(heard[True])
        print(f"pair {pair + 1:2}: p50, p90, p99 alone {alone.round(1)} ms of {len(heard[False])} parts, "
              f"with viewers {viewed.round(1)} ms of {len(heard[True])}", flush=True)
    report(turns, read, [result for _, result in results])


def report(turns, read, results):
    alone, viewed = (quantiles([result for pair in turns for result in pair[side]]) for side in (0, 1))
    low, high = unlike(turns)
    print(f"all:     alone {alone.round(1)}, with viewers {viewed.round(1)} ms; ratios {(viewed / alone).round(3)}; "
          f"that of p99 is {low:.3f} to {high:.3f} (95 %)")
    print(f"the viewers read {read[0]} updates and {read[1]} pictures")
    by_camera = {}
    for result in results:
        by_camera.setdefault(result["camera"], []).append(result["seq"])
    lost = sum(seqs[-1] - seqs[0] + 1 - len(set(seqs)) for seqs in by_camera.values())
    undecided = sum(result["verdict"] == "undecided" for result in results)
    print(f"{len(results)} results of {len(by_camera)} cameras, {lost} lost, {undecided} undecided")


def main():
    if sys.argv[1] == "--viewers":
        viewers(int(sys.argv[2]), sys.stdin)
        return
    model, pixels, pairs, turn_s = pathlib.Path(sys.argv[1]).resolve(), int(sys.argv[2]), int(sys.argv[3]), int(sys.argv[4])
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as folder:
        try:
            measure(pathlib.Path(folder), model, pixels, pairs, turn_s)
        finally:
            end_all()


main()
