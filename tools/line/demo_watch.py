"""Runs the demo's line under `winspect watch`, hears its verdicts as a PLC would, through mosquitto_sub, and ends with a
summary.

Which picture a verdict is about is found by time: the conveyor writes down when it stamped which picture, and a result
says when its frame was captured by the sender's clock. The truth stands in a picture's name: 07-good.jpg, 08-bad.jpg.
"""

import argparse
import collections
import datetime
import json
import os
import shutil
import signal
import statistics
import subprocess
import sys
import threading
import time

from processes import CONVEYOR, WINSPECT, end, end_all, free_port, listens, start, until

parser = argparse.ArgumentParser()
parser.add_argument("--seconds", type=float, default=0)
parser.add_argument("--no-tty", action="store_true")
parser.add_argument("--winclip", action="store_true")
arguments = parser.parse_args()

# Threads of this cloth are a few pixels wide: at 224 pixels their faults are lost (image AUROC 0.69 against 0.99 here).
DINO = ["--input-px", "448", "--block", "6", "--maps", "patch", "--reference", "demo/good"]
RECIPES = {
    False: ("../engines/dinov2-small-focus", 'input_px = 448\nblock = 6\nmaps = ["patch"]\nreferences = ["good"]\nthreshold = "auto"'),
    # Words alone know no scale of this part: the middle of the softmax, not calibrated.
    True: ("../engines/vit-b-16-plus-240", 'class_name = "woven textile"\nthreshold = 0.5'),
}
LINE = """prefix = "demo"
station = "box"
model = {model}
[recipe]
name = "textile"
{recipe}
[[camera]]
name = "top"
kind = "rtsp"
location = "{url}"
deadline_ms = {deadline}
[mqtt]
port = {port}
[evidence]
folder = "evidence"
"""


class Schedule:
    """When the conveyor showed which picture."""

    def __init__(self, path):
        self.path, self.read, self.spans = path, 0, []

    def picture(self, at):
        with open(self.path) as schedule:
            schedule.seek(self.read)
            while (line := schedule.readline()).endswith("\n"):
                self.read = schedule.tell()
                span = json.loads(line)
                self.spans.append((when(span["from"]), when(span["until"]), os.path.basename(span["picture"])))
        return next((name for begins, ends, name in reversed(self.spans) if begins <= at < ends), None)


def when(text):
    # Nanoseconds are more digits than datetime reads.
    seconds, _, fraction = text.rstrip("Z").partition(".")
    whole = datetime.datetime.fromisoformat(seconds + "+00:00").timestamp()
    return whole + float(f"0.{fraction or 0}")


class Seen:
    """What the broker told of each part, for the summary."""

    def __init__(self, schedule):
        self.schedule, self.scores, self.verdicts, self.totals = schedule, collections.defaultdict(list), collections.Counter(), []

    def add(self, line):
        result = json.loads(line)
        self.totals.append(result["latency_ms"]["total"])
        # Until the camera's first report of its clock a time is that of arrival: too late to find the picture by.
        by_sender = result["captured_by"] == "sender"
        part = self.schedule.picture(when(result["captured_at"])) if by_sender else None
        if part and result["score"] is not None:
            self.scores[part].append(result["score"])
            self.verdicts[("bad" if "bad" in part else "good", result["verdict"])] += 1


def auroc(scores):
    """By counting pairs; NaN while one kind is missing."""
    good = [s for part, s in scores.items() if "good" in part]
    bad = [s for part, s in scores.items() if "bad" in part]
    pairs = len(good) * len(bad)
    return sum((b > g) + (b == g) / 2 for b in bad for g in good) / pairs if pairs else float("nan")


def start_table():
    """The live table: `winspect watch`, with colours and counters where our output is a terminal."""
    watch = [WINSPECT, "watch", "demo/line.toml"]
    if not arguments.no_tty:
        return start(watch)
    table = start(watch, stdout=subprocess.PIPE)
    threading.Thread(target=lambda: [print(row, end="", flush=True) for row in table.stdout], daemon=True).start()
    return table


def run():
    shutil.rmtree("demo/evidence", ignore_errors=True)
    for stale in ("schedule.jsonl", "mosquitto.log"):
        open(f"demo/{stale}", "w").close()
    if os.path.exists("demo/box.sock"):
        os.remove("demo/box.sock")  # of a run that was killed
    port = free_port()
    start(["mosquitto", "-p", str(port)], stderr=open("demo/mosquitto.log", "w"))
    until(lambda: listens(port), 20, "demo: mosquitto did not listen (demo/mosquitto.log)")
    conveyor = start([CONVEYOR, "--port", "0", "--loop", "--fps", "4", "--frames-per-picture", "1",
                      "--schedule", "demo/schedule.jsonl", "demo/stream"], stdout=subprocess.PIPE)
    url = conveyor.stdout.readline().strip()
    model, recipe = RECIPES[arguments.winclip]
    with open("demo/line.toml", "w") as line:
        line.write(LINE.format(model=json.dumps(model), recipe=recipe, url=url, port=port,
                               deadline=5000 if arguments.winclip else 1000))
    listener = start(["mosquitto_sub", "-p", str(port), "-q", "1", "-t", "demo/box/result"], stdout=subprocess.PIPE)
    seen = Seen(Schedule("demo/schedule.jsonl"))
    daemon = start([WINSPECT, "run", "demo/line.toml"], stdout=subprocess.PIPE)
    reader = threading.Thread(target=lambda: [seen.add(line) for line in listener.stdout], daemon=True)
    print(f"demo: the camera is {url}, the broker 127.0.0.1:{port}, pictures of parts go to demo/evidence", flush=True)
    reader.start()
    until(lambda: daemon.poll() is not None or os.path.exists("demo/box.sock"), 600, "demo: the line did not start")
    table = None if daemon.poll() is not None else start_table()
    ends = time.monotonic() + arguments.seconds if arguments.seconds else float("inf")
    try:
        while daemon.poll() is None and time.monotonic() < ends:
            time.sleep(0.1)
    except KeyboardInterrupt:
        pass
    daemon.send_signal(signal.SIGTERM)
    counters, _ = daemon.communicate(timeout=30)
    time.sleep(0.5)
    if table:
        end(table)
    end(listener)
    reader.join(5)
    if daemon.returncode or not seen.scores:
        raise SystemExit(f"demo: the daemon ended with {daemon.returncode}; {len(seen.totals)} results came, "
                         f"{len(seen.scores)} of known pictures")
    return seen, json.loads(counters)


def control(parts):
    """The same pictures judged by random weights: what pixel statistics alone tell."""
    print("demo: judging the same pictures with random weights, as a control", flush=True)
    judged = subprocess.run([WINSPECT, "inspect", "--model", "engines/dinov2-small-random", *DINO, "demo/stream"],
                            stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True, check=True)
    scores = {os.path.basename(line["path"]): line["score"] for line in map(json.loads, judged.stdout.splitlines())}
    return {part: scores[part] for part in parts if part in scores}


def summarise(seen, counters):
    scores = {part: statistics.mean(values) for part, values in seen.scores.items()}
    random = control(scores)
    totals = sorted(seen.totals)
    kinds = collections.Counter("bad" if "bad" in part else "good" for part in scores)
    print(f"\nresults       {len(totals)} on {len(scores)} pictures ({kinds['good']} good, {kinds['bad']} with a defect)")
    print(f"counters      {json.dumps(counters)}")
    print("verdicts      " + ", ".join(f"{truth} judged {said}: {n}" for (truth, said), n in sorted(seen.verdicts.items())))
    print(f"image AUROC   {auroc(scores):.3f}; the DINOv2 graph with random weights: {auroc(random):.3f}")
    print(f"latency       p50 {totals[len(totals) // 2]:.1f} ms, p99 {totals[len(totals) * 99 // 100]:.1f} ms from arrival to verdict")
    print("evidence      demo/evidence")


for asked in (signal.SIGTERM, signal.SIGHUP):
    signal.signal(asked, signal.default_int_handler)
try:
    seen = run()
except KeyboardInterrupt:
    sys.exit("demo: interrupted")
finally:
    end_all()
summarise(*seen)
