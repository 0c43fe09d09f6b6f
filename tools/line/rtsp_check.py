"""Runs what tools/line/rtsp-check describes, counts as a foreign client sees it, and judges the run in one JSON line."""

import argparse
import collections
import json
import os
import signal
import subprocess
import sys
import tempfile
import threading
import time

from processes import CONVEYOR, WINSPECT, end, end_all, free_port, listens, start, until

SETTLED_S, GROWTH_MAX_MB = 60, 20  # memory may grow by so much after so long
AWAY_S = 3  # how long a killed server stays away
RESTART_NEEDS_S = 15  # away, back-off, the first key frame
KEYS = ("schema seq run_id part_id station camera verdict evaluation score threshold margin captured_at captured_by "
        "latency_ms deadline_ms deadline_met reject_in_ms recipe model backend reason defects map historical "
        "given_up_before").split()


def say(words):
    print(f"rtsp-check: {words}", file=sys.stderr, flush=True)


parser = argparse.ArgumentParser(prog="tools/line/rtsp-check")
parser.add_argument("--seconds", type=int, required=True)
parser.add_argument("--restarts", type=int, required=True)
parser.add_argument("pictures")
arguments = parser.parse_args()
seconds, restarts = arguments.seconds, arguments.restarts
if restarts < 0 or seconds < RESTART_NEEDS_S * (restarts + 1):
    say(f"{restarts} restarts need --seconds {RESTART_NEEDS_S * (max(restarts, 0) + 1)} or more, got {seconds}")
    sys.exit(64)


class Heard:
    """What the foreign client heard; filled by one thread, read after it has ended."""

    def __init__(self):
        self.results, self.invalid, self.states, self.stopped = 0, 0, [], False
        self.captured_by, self.seqs = collections.Counter(), collections.Counter()

    def take(self, line):
        topic, _, payload = line.rstrip("\n").partition(" ")
        if topic.endswith("/availability"):
            self.stopped = payload == "stopped"
        elif topic.endswith("/status"):
            self.states.append(json.loads(payload)["state"])
            say(f"camera {self.states[-1]}")
        else:
            self.results += 1
            self.invalid += not self.is_next(payload)

    def is_next(self, payload):
        try:
            result = json.loads(payload)
            missing = [key for key in KEYS if key not in result]
            of, seq = (result["run_id"], result["camera"]), result["seq"]
        except (ValueError, KeyError, TypeError) as error:
            say(f"no result: {error!r}: {payload[:200]}")
            return False
        before, self.seqs[of] = self.seqs[of], seq
        self.captured_by[result.get("captured_by")] += 1
        if missing or seq != before + 1:
            say(f"seq {seq} after {before}, missing keys: {missing}")
        return not missing and seq == before + 1


def changes(states):
    """How often it went, and how often it was back."""
    pairs = list(zip(states, states[1:]))
    gone = ("offline", "stalled")
    return sum(a == "online" and b in gone for a, b in pairs), sum(a in gone and b == "online" for a, b in pairs)


def rss_mb(pid):
    with open(f"/proc/{pid}/statm") as statm:
        return int(statm.read().split()[1]) * os.sysconf("SC_PAGE_SIZE") / 1e6


def model(folder):
    if os.path.exists("engines/dinov2-small-focus/model.toml"):
        return os.path.abspath("engines/dinov2-small-focus"), 'input_px = 224\nblock = 9\nmaps = ["patch"]'
    subprocess.run([WINSPECT, "model", "import", "tests/golden/dinov2-tiny", f"{folder}/model"],
                   check=True, stdout=sys.stderr)
    return f"{folder}/model", "input_px = 70\nblock = 4"


def references():
    ends = (".png", ".jpg", ".jpeg", ".bmp", ".tif", ".tiff", ".webp")
    found = sorted(name for name in os.listdir(arguments.pictures) if name.lower().endswith(ends))
    return [os.path.abspath(os.path.join(arguments.pictures, name)) for name in found[:2]]


def conveyor(port):
    server = start([CONVEYOR, "--port", str(port), "--loop", "--fps", "10",
                    arguments.pictures], stdout=subprocess.PIPE)
    return server, server.stdout.readline().strip()


def watch(daemon, server, rtsp_port):
    """The run: kills and restarts the server on time; the daemon's memory after SETTLED_S and at the end."""
    began, settled, away_since = time.monotonic(), None, None
    kills = [seconds * (k + 1) / (restarts + 1) for k in range(restarts)]
    while (now := time.monotonic() - began) < seconds:
        if daemon.poll() is not None:
            raise SystemExit(f"rtsp-check: the daemon ended with {daemon.returncode} after {now:.0f} s")
        if away_since is None and kills and now >= kills[0]:
            kills.pop(0)
            say(f"killing the RTSP server at {now:.0f} s, {rss_mb(daemon.pid):.1f} MB")
            end(server)
            away_since = now
        if away_since is not None and now >= away_since + AWAY_S:
            server, _ = conveyor(rtsp_port)
            away_since = None
        if settled is None and now >= SETTLED_S:
            settled = rss_mb(daemon.pid)
        time.sleep(0.2)
    return settled, rss_mb(daemon.pid)


def check(folder):
    model_folder, recipe = model(folder)
    broker_port, rtsp_port = free_port(), free_port()
    start(["mosquitto", "-p", str(broker_port)], stderr=subprocess.DEVNULL)
    until(lambda: listens(broker_port), 20, "rtsp-check: mosquitto did not listen")
    listener = start(["mosquitto_sub", "-p", str(broker_port), "-q", "1", "-F", "%t %p", "-t", "check/box/availability",
                      "-t", "check/box/camera/+/status", "-t", "check/box/result", "-t", "check/box/result/late"],
                     stdout=subprocess.PIPE)
    heard = Heard()
    reader = threading.Thread(target=lambda: [heard.take(line) for line in listener.stdout], daemon=True)
    reader.start()
    server, url = conveyor(rtsp_port)
    with open(f"{folder}/line.toml", "w") as line:
        line.write(f'prefix = "check"\nstation = "box"\nmodel = {json.dumps(model_folder)}\n'
                   f'[recipe]\nname = "check"\n{recipe}\nreferences = {json.dumps(references())}\nthreshold = "auto"\n'
                   f'[[camera]]\nname = "top"\nkind = "rtsp"\nlocation = "{url}"\n'
                   f'[mqtt]\nport = {broker_port}\nheatmaps = "none"\n')
    daemon = start([WINSPECT, "run", f"{folder}/line.toml"], stdout=subprocess.PIPE)
    settled, rss_end = watch(daemon, server, rtsp_port)
    daemon.send_signal(signal.SIGTERM)
    counters = json.loads(daemon.communicate(timeout=30)[0])
    until(lambda: heard.stopped, 10, "rtsp-check: the client did not hear that the line stopped")
    end(listener)
    reader.join()

    lost, back = changes(heard.states)
    outcomes = counters["cameras"]["top"]
    growth = None if settled is None else rss_end - settled
    ok = (daemon.returncode == 0 and counters["balanced"] and outcomes["judged"] > 0 and heard.invalid == 0
          and counters["results"] == counters["acknowledged"] == heard.results and lost == back == restarts
          and (growth is None or growth <= GROWTH_MAX_MB))
    return {"seconds": seconds, "restarts": restarts, "captured": outcomes.pop("captured"), "outcomes": outcomes,
            "balanced": counters["balanced"], "results": counters["results"], "acknowledged": counters["acknowledged"],
            "received": heard.results, "invalid": heard.invalid, "captured_by": heard.captured_by, "lost_told": lost,
            "back_told": back, "rss_mb_60s": rounded(settled), "rss_mb_end": rounded(rss_end),
            "rss_growth_mb": rounded(growth), "ok": ok}


def rounded(mb):
    return None if mb is None else round(mb, 1)


for asked in (signal.SIGTERM, signal.SIGHUP):
    signal.signal(asked, signal.default_int_handler)
try:
    with tempfile.TemporaryDirectory() as folder:
        verdict = check(folder)
except KeyboardInterrupt:
    sys.exit("rtsp-check: interrupted")
finally:
    end_all()
print(json.dumps(verdict), flush=True)
sys.exit(not verdict["ok"])
