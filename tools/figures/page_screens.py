"""Uses the page of a running line in chromium, and keeps every screen. tools/figures/page-screens calls it.

The parts are zippers of draw_zipper.py on their side. Each is shown to a `folder` camera, and announced by a trigger.
"""

import json
import os
import subprocess
import sys
import tempfile
import time
import urllib.request

import numpy as np
from PIL import Image, ImageDraw, ImageFilter, ImageOps

import draw_zipper
from webdriver import Browser
from processes import WINSPECT, end, end_all, free_port, listens, start, until

LINE = """prefix = "demo"
station = "press-3"
model = {model}
[recipe]
name = "zipper"
input_px = 280
references = [{good}]
threshold = "auto"
auto_factor = 1.5
[[camera]]
name = "top"
kind = "folder"
location = {shown}
fps = 10
loop = true
trigger = "command"
deadline_ms = 8000
mm_per_pixel = 0.1
[mqtt]
port = {port}
[page]
listen = "127.0.0.1:{page}"
[evidence]
folder = "evidence"
pass_every = 3
"""
SIZES = [(1280, 800), (800, 1280)]
SLOTS = 2  # files that the camera shows in turns; all have the same picture
MARKED = (9, 14, 20)  # parts with a chalk mark
PASSWORD = "correct horse"


class Show:
    """A line with its parts, and a browser before it."""

    def __init__(self, work, folder):
        self.work, self.folder, self.number = work, folder, 0
        self.random = np.random.default_rng(7)
        self.port, page = free_port(), free_port()
        self.broker = start(["mosquitto", "-p", str(self.port)], stderr=subprocess.DEVNULL)
        until(lambda: listens(self.port), 20, "page-screens: mosquitto did not listen")
        os.makedirs(f"{work}/good")
        os.makedirs(f"{work}/shown")
        for number in range(10):
            self.zipper().save(f"{work}/good/{number}.png")
        self.show(self.zipper())
        self.line = f"{work}/line.toml"
        model = json.dumps(os.path.abspath("engines/dinov2-small-focus"))
        with open(self.line, "w") as line:
            line.write(LINE.format(model=model, good=json.dumps(f"{work}/good"), shown=json.dumps(f"{work}/shown"),
                                   port=self.port, page=page))
        start([WINSPECT, "run", self.line])
        self.page = f"http://127.0.0.1:{page}"
        until(lambda: listens(page), 600, "page-screens: the line did not start")
        self.browser = Browser(self.page)

    def zipper(self, fault=None):
        picture, _ = draw_zipper.drawn(self.random, fault)
        return picture.transpose(Image.Transpose.ROTATE_90)

    def show(self, picture):
        """Lets the camera see this picture and no other."""
        for slot in range(SLOTS):
            picture.save(f"{self.work}/next.png")
            os.rename(f"{self.work}/next.png", f"{self.work}/shown/{slot}.png")

    def part(self, fault=None, change=None):
        """One part passes, and is judged."""
        picture = self.zipper(fault)
        self.show(change(picture) if change else picture)
        time.sleep(0.5)  # the camera shows it, and nothing else is on its way
        self.number += 1
        before = self.judged()
        command = json.dumps({"part_id": f"Z-{1040 + self.number}"})
        subprocess.run(["mosquitto_pub", "-p", str(self.port), "-q", "1", "-t", "demo/press-3/cmd/trigger", "-m", command], check=True)
        until(lambda: self.judged() > before, 30, f"page-screens: part {self.number} was not judged")

    def judged(self):
        """Number of all parts, and of those of a challenge, that have a verdict."""
        text = self.asked("/metrics")
        return float(next(row for row in text.splitlines() if row.startswith("winspect_results_total")).split()[-1])

    def asked(self, path):
        with urllib.request.urlopen(self.page + path, timeout=20) as answer:
            return answer.read().decode()

    def run(self, *arguments, **options):
        subprocess.run([WINSPECT, *arguments], check=True, stdout=subprocess.DEVNULL, **options)

    def user(self, name, role):
        self.run("user", "add", self.line, name, "--role", role, "--password-stdin", input=PASSWORD + "\n", text=True)

    def keep(self, name, at=None):
        """The screen that is open, in each size, from an element on."""
        for width, height in SIZES:
            self.browser.resize(width, height)
            for _ in range(2):  # pictures that load once they are seen move what is below them
                self.browser.script(f"document.querySelector({json.dumps(at or 'body')}).scrollIntoView()")
                time.sleep(0.5)
            self.browser.picture(f"{self.folder}/{name}-{width}.jpg")
        self.browser.resize(*SIZES[0])

    def keep_open(self, path, name, at=None):
        self.browser.open(path)
        self.keep(name, at)


def chalk(picture):
    """A mark that somebody made, and no fault."""
    at = picture.width // 3
    ImageDraw.Draw(picture).line([(at, 40), (at + 34, 62), (at + 60, 34)], fill=(226, 224, 214), width=4, joint="curve")
    return picture


def run(show):
    browser = show.browser
    browser.resize(*SIZES[0])
    show.user("anna", "admin")
    for name, role in (("otto", "operator"), ("sam", "setter"), ("vera", "view")):
        show.user(name, role)
    show.keep_open("/sign-in", "sign-in")
    browser.fill("input[name=name]", "anna")
    browser.fill("input[name=password]", PASSWORD)
    browser.click("main form button")
    browser.wait_for("#user", "anna")
    for number in range(1, 24):
        fault, change = ("oil" if number in (4, 17) else None), (chalk if number in MARKED else None)
        show.part(fault, change)
    show.part("oil")
    live(show)
    rejects(show)
    teach(show)
    shift_check(show)
    recipes(show)
    show.keep_open("/users", "users")
    lens(show)
    show.keep_open("/counters", "counters")
    show.keep_open("/counters/pareto", "pareto")
    show.keep_open("/account", "account")
    end(show.broker)
    browser.open("/health")
    browser.wait_for("#causes", "the broker is away")
    time.sleep(2)
    show.keep("health")


def live(show):
    browser = show.browser
    browser.open("/")
    seen = "const image = document.querySelector('.photo image'); return !!image && image.getBoundingClientRect().width > 200"
    until(lambda: browser.script(seen), 30, "page-screens: Live has no picture")
    time.sleep(2)
    show.keep("live")


def rejects(show):
    """Chalk marks are no fault: they are marked as false, and their effect is looked at."""
    browser = show.browser
    browser.open("/rejects?verdict=fail")
    rows = show.asked("/rejects/parts.csv?verdict=fail").splitlines()
    names = rows[0].split(",")
    parts = [dict(zip(names, row.split(","))) for row in rows[1:]]
    for part in parts:
        if part["part_id"] in [f"Z-{1040 + number}" for number in MARKED]:
            show.run("label", show.line, "--camera", "top", "--seq", part["seq"], "--as", "false_reject", "--candidate")
    show.keep_open("/rejects", "rejects")
    browser.click(".cards a")
    browser.wait_for("main h2", "(no. ")
    show.keep("part")
    browser.open("/false-rejects")
    browser.click("#group button")
    browser.wait_for(".group h2", "marked as false", 120)
    time.sleep(1)
    browser.open("/false-rejects")
    show.keep("false-rejects")
    browser.click(".try button")
    browser.wait_for(".proposal .bad-parts", "known bad", 240)
    show.keep("false-rejects-effect")


def teach(show):
    browser = show.browser
    browser.open("/teach")
    browser.fill("#new input[name=name]", "zipper-brown")
    browser.click("#new button")
    browser.wait_for("#recipe h2", "zipper-brown@1")
    for field, value in (("x", 20), ("y", 40), ("w", 560), ("h", 160)):
        browser.fill(f"#view [name={field}]", str(value))
    browser.click("#view button")
    browser.wait_for("#notice", "crop")
    show.keep("teach", "#recipe")
    browser.fill("#show-good input[name=parts]", "9")
    browser.click("#show-good button")
    for _ in range(8):
        show.part()
    show.part(change=ImageOps.invert)
    browser.wait_for("#lesson", "TAUGHT", 120)
    show.keep("teach-parts", "#show")
    browser.click("#show-bad button")
    show.part("oil")
    browser.wait_for("#threshold", "found", 120)
    show.keep("teach-threshold", "#threshold")


def shift_check(show):
    browser = show.browser
    browser.open("/shift-check")
    browser.fill("#start input[name=bad]", "2")
    browser.fill("#start input[name=good]", "3")
    browser.click("#start button")
    browser.wait_for("#check-parts", "of 2")
    for fault in ("oil", "oil", None, None, None):
        show.part(fault)
    browser.wait_for("#forms", "Did the gate remove")
    show.keep("shift-check")
    browser.click("#gate-yes button")
    browser.wait_for("#sign", "Sign")
    browser.click("#sign button")
    browser.wait_for("#check-passed", "PASSED")
    browser.click("#checks a")
    browser.wait_for(".record", "PASSED")
    show.keep("record")


def recipes(show):
    browser = show.browser
    browser.open("/recipes")
    browser.click("#take button")
    browser.wait_for("#holder", "anna")
    show.keep("recipes")
    browser.click("#release button")
    browser.wait_for("#take", "Take control")


def lens(show):
    """Grease on the lens: parts pass, and the screen tells."""
    for _ in range(25):
        show.part()

    def smudged(picture):
        soft = picture.filter(ImageFilter.GaussianBlur(6))
        mask = Image.new("L", picture.size)
        mask.paste(255, (330, 20, 470, 110))
        return Image.composite(soft, picture, mask.filter(ImageFilter.GaussianBlur(12)))

    show.browser.open("/lens")
    for _ in range(80):
        show.part(change=smudged)
        if "NOT AS IT WAS TAUGHT" in show.browser.text("#lens-top"):
            break
    time.sleep(2)
    show.keep("lens")


try:
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as work:
        show = Show(work, sys.argv[1])
        try:
            run(show)
        finally:
            show.browser.end()
finally:
    end_all()
