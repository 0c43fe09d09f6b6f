"""Looks at the page of a running line in chromium, and writes what is seen. tools/figures/page-screens calls it."""

import json
import os
import subprocess
import sys
import tempfile
import time
import urllib.request

from PIL import Image

sys.path.insert(0, os.path.join(os.path.dirname(__file__), "..", "line"))
from processes import WINSPECT, end, end_all, free_port, listens, start, until  # noqa: E402

LINE = """prefix = "demo"
station = "press-3"
model = {model}
[recipe]
name = "textile"
input_px = 448
block = 6
maps = ["patch"]
references = [{good}]
threshold = "auto"
[[camera]]
name = "top"
kind = "folder"
location = {stream}
fps = 1
loop = true
deadline_ms = 5000
[mqtt]
port = {port}
[page]
listen = "127.0.0.1:{page}"
"""
FLAGS = ["--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking",
         "--disable-component-update", "--disable-sync", "--hide-scrollbars", "--force-device-scale-factor=1"]
SIZES = [(1280, 800), (800, 1280)]


def asked(page, path):
    with urllib.request.urlopen(f"http://127.0.0.1:{page}{path}", timeout=10) as answer:
        return answer.read().decode()


def seen(page, path, size, file):
    """One screenshot, with a profile of its own."""
    with tempfile.TemporaryDirectory() as folder:
        png = f"{folder}/screen.png"
        subprocess.run(["chromium", *FLAGS, f"--user-data-dir={folder}/profile", f"--window-size={size[0]},{size[1]}",
                        f"--screenshot={png}", "--timeout=3000", f"http://127.0.0.1:{page}{path}"],
                       check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, timeout=60)
        Image.open(png).convert("RGB").save(file, quality=82, optimize=True)


def run(folder, sizes):
    with tempfile.TemporaryDirectory() as work:
        port, page = free_port(), free_port()
        broker = start(["mosquitto", "-p", str(port)], stderr=subprocess.DEVNULL)
        until(lambda: listens(port), 20, "page-screens: mosquitto did not listen")
        root = os.getcwd()
        with open(f"{work}/line.toml", "w") as line:
            line.write(LINE.format(model=json.dumps(f"{root}/engines/dinov2-small-focus"), good=json.dumps(f"{root}/demo/good"),
                                   stream=json.dumps(f"{root}/demo/stream"), port=port, page=page))
        start([WINSPECT, "run", f"{work}/line.toml"])
        until(lambda: listens(page), 600, "page-screens: the line did not start")
        until(lambda: "no. 24" in asked(page, "/"), 120, "page-screens: 24 parts did not come")
        # A reject tells more than a good part.
        until(lambda: 'class="verdict bad"' in asked(page, "/") and "<image" in asked(page, "/"), 60,
              "page-screens: no part failed")
        for size in sizes:
            seen(page, "/", size, f"{folder}/page-live{suffix(size, sizes)}.jpg")
            seen(page, "/counters", size, f"{folder}/page-counters{suffix(size, sizes)}.jpg")
        end(broker)
        until(lambda: "NO BROKER" in asked(page, "/health"), 30, "page-screens: the broker's loss was not told")
        time.sleep(2)
        for size in sizes:
            seen(page, "/health", size, f"{folder}/page-health{suffix(size, sizes)}.jpg")


def suffix(size, sizes):
    return f"-{size[0]}" if len(sizes) > 1 else ""


try:
    if len(sys.argv) > 1:
        run(sys.argv[1], SIZES)
    else:
        run("docs", SIZES[:1])
finally:
    end_all()
