"""Who takes part in a soak: the broker, a PLC's sender and auditor (mosquitto_pub and mosquitto_sub, processes of their
own), and the daemon.
"""

import glob
import json
import os
import pwd
import random
import signal
import subprocess
import sys
import threading
import time

from processes import WINSPECT, end, free_port, listens, start, until
from soak_content import Sent
from soak_pictures import Read

TOPICS = "soak/box"
CAMERAS = ("belt", "snow", "pair")  # what a trigger names; `pair` is two cameras that see the same part
STOP_MAX_S = 20  # systemd/winspect@.service gives 30
FAKETIME = glob.glob("/usr/lib/*/faketime/libfaketime.so.1")  # moves the daemon's clock alone
BROKER = """listener {port} 127.0.0.1
allow_anonymous true
user {user}
persistence true
persistence_location {folder}/
autosave_interval 1
autosave_on_changes true
max_queued_messages 0
"""


def say(words):
    print(f"soak: {words}", file=sys.stderr, flush=True)


class Broker:
    """mosquitto, whose state outlives it in a file."""

    def __init__(self, folder):
        self.port, self.folder = free_port(), folder
        self.log = open(f"{folder}/log", "w")
        with open(f"{folder}/conf", "w") as conf:
            conf.write(BROKER.format(port=self.port, folder=folder, user=pwd.getpwuid(os.getuid()).pw_name))
        self.start()

    def start(self):
        self.child = start(["mosquitto", "-c", f"{self.folder}/conf"], stdout=self.log, stderr=self.log)
        until(lambda: listens(self.port), 20, "soak: mosquitto did not listen")

    def stop(self):
        self.child.terminate()
        self.child.wait(20)
        end(self.child)

    def kill(self):
        end(self.child)

    def forget(self):
        for name in os.listdir(self.folder):
            if name.startswith("mosquitto.db"):
                os.remove(f"{self.folder}/{name}")

    def publish(self, topic, payload, *more):
        """By a process of its own, as long as it takes."""
        command = ["mosquitto_pub", "-p", str(self.port), "-q", "1", "-V", "5", "-t", f"{TOPICS}/{topic}", *more]
        command.append("-s" if payload else "-n")
        subprocess.run(command, input=payload, timeout=20, check=False, stderr=subprocess.DEVNULL)


def slow_sync(folder):
    """The library that makes a disk slow (slow_sync.c); None without a C compiler."""
    library = f"{folder}/slow_sync.so"
    source = os.path.join(os.path.dirname(__file__), "slow_sync.c")
    try:
        subprocess.run(["cc", "-shared", "-fPIC", source, "-o", library, "-ldl"], check=True, stderr=subprocess.DEVNULL)
    except (OSError, subprocess.CalledProcessError):
        return None
    return library


class Sender:
    """A PLC that triggers: mosquitto_pub with a session of its own; its debug lines say what the broker acknowledged."""

    def __init__(self, port, audit, rate, seed):
        self.port, self.audit, self.rate, self.random = port, audit, rate, random.Random(seed)
        self.name, self.number, self.over = f"s{seed}", 0, False
        self.only = None  # cameras that are named, if not all
        self.process = None
        self.thread = threading.Thread(target=self.run, daemon=True)
        self.thread.start()

    def open(self):
        command = ["stdbuf", "-oL", "mosquitto_pub", "-p", str(self.port), "-d", "-l", "-c", "-i", "soak-sender",
                   "-q", "1", "-V", "5", "-x", "86400", "-t", f"{TOPICS}/cmd/trigger"]
        self.process = start(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL)
        self.lines, self.by_packet = 0, {}
        threading.Thread(target=self.confirm, args=(self.process, self.by_packet), daemon=True).start()

    def confirm(self, process, by_packet):
        for line in process.stdout:
            if "received PUBACK (Mid: " in line:
                packet = int(line.split("(Mid: ")[1].split(",")[0])
                self.audit.confirmed.add(by_packet[packet])

    def trigger(self, camera=None):
        """A good trigger: of one camera or all, with its time or without."""
        self.number += 1
        key = f"{self.name}-{self.number}"
        command = {"id": key, "part_id": key}
        if camera or self.only or self.random.random() < 0.7:
            command["camera"] = camera or self.random.choice(self.only or CAMERAS)
        has_time = camera is not None or self.random.random() < 0.5
        if has_time:
            now = time.time()
            command["at"] = f"{time.strftime('%Y-%m-%dT%H:%M:%S', time.gmtime(now))}.{int(now * 1000) % 1000:03}Z"
        self.audit.sent[key] = Sent(time.monotonic(), has_time, command.get("camera"))
        return key, json.dumps(command)

    def run(self):
        planned = time.monotonic()
        while not self.over:
            if self.process is None or self.process.poll() is not None:
                self.open()
            key, command = self.trigger()
            self.lines += 1
            self.by_packet[(self.lines - 1) % 65535 + 1] = key
            try:
                self.process.stdin.write(command + "\n")
                self.process.stdin.flush()
            except BrokenPipeError:
                say("the sender died; another one follows")
                continue
            planned = max(planned + 1 / self.rate, time.monotonic() + 0.7 / self.rate)  # parts do not bunch up
            time.sleep(max(0, planned - time.monotonic()))

    def finish(self):
        self.over = True
        self.thread.join(60)
        self.process.stdin.close()
        try:
            self.process.wait(30)
        except subprocess.TimeoutExpired:
            say("the sender does not end")


class Auditor:
    """Who collects results: mosquitto_sub with a session that outlives it."""

    def __init__(self, port, audit):
        self.port, self.audit = port, audit
        threading.Thread(target=self.run, daemon=True).start()

    def run(self):
        topics = ("plc", "plc/late", "result", "result/late", "ack/+", "birth", "reject", "metrics", "probe")
        asked = [word for topic in topics for word in ("-t", f"{TOPICS}/{topic}")]
        while True:
            listener = start(["mosquitto_sub", "-p", str(self.port), "-c", "-i", "soak-auditor", "-q", "1", "-V", "5",
                              "-x", "86400", "-k", "5", "-F", "%t %p", *asked], stdout=subprocess.PIPE)
            for line in listener.stdout:
                self.audit.hear(line.removeprefix(TOPICS + "/"))
            listener.wait()
            time.sleep(0.5)


class Eyes:
    """Who looks at the heat maps: each shows the code of the part that was judged."""

    def __init__(self, port, audit):
        self.port, self.audit = port, audit
        threading.Thread(target=self.run, daemon=True).start()

    def run(self):
        while True:
            listener = start(["mosquitto_sub", "-p", str(self.port), "-V", "5", "-k", "5", "-F", "%t %x",
                              "-t", f"{TOPICS}/heatmap/+"], stdout=subprocess.PIPE)
            for line in listener.stdout:
                self.look(*line.split())
            listener.wait()
            time.sleep(0.5)

    def look(self, topic, digits):
        try:
            read = Read(bytes.fromhex(digits))
        except (ValueError, IndexError, KeyError) as error:
            self.audit.wrong.append(f"{topic} is no heat map: {error!r}")
            return
        if read.width == read.height:  # the picture of a camera that shows no code is larger
            self.audit.see(read)


class Daemon:
    def __init__(self, folder, config, slow_sync=None):
        self.folder, self.config, self.slow_sync = folder, config, slow_sync
        self.child, self.born, self.rss, self.lives = None, 0, [], []

    def start(self):
        self.log = open(f"{self.folder}/{self.config}.log", "a")
        # The monotonic clock, by which deadlines go, is not moved: no step moves it.
        clock = {"FAKETIME_TIMESTAMP_FILE": f"{self.folder}/clock", "FAKETIME_CACHE_DURATION": "1",
                 "FAKETIME_DONT_FAKE_MONOTONIC": "1"} if FAKETIME else {}
        disk = {"SLOW_SYNC_FILE": f"{self.folder}/sync_ms"} if self.slow_sync else {}
        loaded = ([FAKETIME[0]] if FAKETIME else []) + ([self.slow_sync] if self.slow_sync else [])
        self.child = start([WINSPECT, "run", f"{self.folder}/{self.config}.toml"], stdout=subprocess.PIPE,
                           stderr=self.log, env=os.environ | clock | disk | {"LD_PRELOAD": ":".join(loaded)})
        self.born, self.rss = time.monotonic(), []

    def is_running(self):
        return self.child is not None and self.child.poll() is None

    def kill(self):
        self.keep_rss()
        end(self.child)

    def stop(self):
        """Its counters; whoever calls judges the exit code and the time that it took."""
        self.keep_rss()
        self.child.send_signal(signal.SIGTERM)
        began = time.monotonic()
        try:
            out, _ = self.child.communicate(timeout=STOP_MAX_S)
        except subprocess.TimeoutExpired:
            end(self.child)
            return None, f"the daemon did not end within {STOP_MAX_S} s of SIGTERM"
        code = self.child.returncode
        end(self.child)
        took = time.monotonic() - began
        return (json.loads(out) if code == 0 else None), None if code == 0 else f"exit code {code} after {took:.1f} s"

    def sample(self):
        """Memory now, in MB, once the first seconds are over."""
        try:
            with open(f"/proc/{self.child.pid}/statm") as statm:
                mb = int(statm.read().split()[1]) * os.sysconf("SC_PAGE_SIZE") / 1e6
        except (OSError, AttributeError, IndexError):
            return None
        if time.monotonic() - self.born > 15:
            self.rss.append(round(mb, 1))
        return mb

    def keep_rss(self):
        if self.rss:
            self.lives.append({"s": round(time.monotonic() - self.born), "from": self.rss[0], "to": self.rss[-1],
                               "max": max(self.rss)})

    def rss_mb(self):
        if not self.lives:
            return None
        return {"start": self.lives[0]["from"], "end": self.lives[-1]["to"],
                "max": max(life["max"] for life in self.lives), "longest_life": max(self.lives, key=lambda life: life["s"])}
