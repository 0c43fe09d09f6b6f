"""Runs the line that tools/soak describes, breaks what is around it, and judges. Who takes part is in
soak_parties.py, what is broken in soak_faults.py, the books are soak_audit.py and soak_content.py, the networks are
soak_link.py and soak_camera.py.
"""

import argparse
import collections
import gc
import glob
import json
import math
import os
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time

from processes import CONVEYOR, WINSPECT, end, end_all, free_port, listens, start, until
import soak_pictures
from soak_audit import Audit, Faults
from soak_camera import Way
from soak_content import FPS, FRAMES_A_PICTURE, Belt, Line, first_of_schedule
from soak_faults import Breaks
from soak_history import FULL_FROM, History, not_kept, rows_of
from soak_link import Link
from soak_parties import CAMERAS, FAKETIME, Auditor, Broker, Daemon, Eyes, Sender, say, slow_sync

DEADLINE_S = 2.0
GATE_S = 2.5  # from the frame to the gate
# Faults that need nothing special of the machine.
EVERYWHERE = ("broker_kill", "broker_restart", "broker_frozen", "session_lost", "link_cut", "link_half_open",
              "link_cut_after_publish", "link_slow", "link_far", "daemon_kill", "daemon_frozen", "daemon_stop",
              "daemon_stop_without_broker", "camera_gone", "camera_still", "camera_clock", "damaged_stream",
              "refused_for_a_while", "large_pictures", "bad_commands_come", "same_commands_come", "slow_reader",
              "select_recipe", "challenge")
RECOVERY_MAX_S = 25  # back-off of 10 s, the next try, what waited
TAKEN_OVER_S = 30  # a daemon whose name was taken waits so long before it takes it back
STORE_MB = 160  # of the disk that is filled up
KEEP_MB = 64  # of delivered parts
RECIPE = """name = "{name}"
revision = {revision}
input_px = 70
block = 4
references = ["good.png"]
threshold = 0.05
crop = [{crop}]
"""
LINE = """prefix = "soak"
station = "box"
model = "model"
recipes = ["bolt.toml"]
recipe = "nut.toml"
{cameras}
[mqtt]
port = {port}
client_id = "{client}"
reject_window_ms = 3000
timed_reject = true
plc = true
heatmaps = "all"
[store]
file = "store/{store}.db"
keep_mb = {keep_mb}
"""
CAMERA = """[[camera]]
name = "{name}"
{source}
trigger = "command"
ring_mb = {ring_mb}
queue = 64
deadline_ms = {deadline_ms}
"""
RECIPES = {"nut": 1, "bolt": 4}
# What a camera needs that sees by itself that something passes.
COMMAND = 'trigger = "command"\nring_mb = 16\n'
PRESENCE = 'trigger = "presence"\npresence = { area = [32, 48, 192, 192] }\n'


def camera(name, source, gate=True, ring_mb=16):
    text = CAMERA.format(name=name, source=source, ring_mb=ring_mb, deadline_ms=int(1000 * DEADLINE_S))
    return text + (f"reject_after_ms = {int(1000 * GATE_S)}\n" if gate else "")


def arguments():
    parser = argparse.ArgumentParser(prog="tools/soak")
    parser.add_argument("--seconds", type=int, default=60)
    parser.add_argument("--rate", type=float, default=20, help="triggers a second")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--kills", type=int, default=0, metavar="N",
                        help="kill -9 of the daemon N times and nothing else, as long as it takes (not --seconds)")
    parser.add_argument("--only", metavar="FAULTS", help="these faults alone, with commas between them")
    parser.add_argument("--flip", type=int, default=0, metavar="N",
                        help="turns N results from fail to pass on their way, to see that the books notice")
    return parser.parse_args()


class Soak(Breaks):
    def __init__(self, asked, folder, broker_folder):
        self.asked, self.folder, self.random = asked, folder, random.Random(asked.seed)
        self.faults = Faults()
        self.belt, self.passage, self.schedules = Belt(), Belt(), {}
        self.bad_ends, self.unrecovered, self.left_out, self.recoveries = [], [], [], {}
        self.seconds = None  # that the run took, once it is over
        self.camera_port, self.gate_port, self.bad_commands, self.commands = free_port(), free_port(), 0, 0
        self.cameras, self.recipe = CAMERAS, "nut"
        self.broker = Broker(broker_folder)
        self.link = Link(free_port(), self.broker.port)
        self.way = Way(free_port(), self.camera_port, asked.seed)
        line = Line("box", [f"{name}@{revision}" for name, revision in RECIPES.items()], DEADLINE_S)
        self.audit = Audit(self.faults, line, GATE_S, self.belt, self.passage, self.link.opened)
        self.write_files()
        self.set_clock(0)
        self.set_sync(0)
        library = slow_sync(folder)
        self.daemon, self.second = Daemon(folder, "first", library), Daemon(folder, "second", library)

    def write_files(self):
        os.mkdir(f"{self.folder}/belt")
        soak_pictures.write_all(f"{self.folder}/belt")
        os.mkdir(f"{self.folder}/passage")
        soak_pictures.write_passage(f"{self.folder}/passage")
        soak_pictures.write_reference(f"{self.folder}/good.png")
        crop = ", ".join(map(str, soak_pictures.CROP))
        for name, revision in RECIPES.items():
            with open(f"{self.folder}/{name}.toml", "w") as recipe:
                recipe.write(RECIPE.format(name=name, revision=revision, crop=crop))
        belt = f'kind = "rtsp"\nlocation = "rtsp://127.0.0.1:{self.way.port}/line"'
        snow = 'kind = "test"\npattern = "snow"\nfps = {}\nwidth = {}\nheight = {}'
        cameras = [camera("belt", belt), camera("snow", snow.format(FPS, 256, 256)),
                   *(camera(side, f'{belt}\njoin = "pair"') for side in ("left", "right"))]
        gate = f'kind = "rtsp"\nlocation = "rtsp://127.0.0.1:{self.gate_port}/line"'
        cameras.append(camera("gate", gate, gate=False).replace(COMMAND, PRESENCE))
        wide = camera("wide", snow.format(10, 1280, 720), ring_mb=64)
        for name, store, client, more in (("first", "first", "soak", ()), ("second", "second", "soak", ()),
                                          ("large", "first", "soak", (wide,)), ("drain", "second", "drain", ())):
            with open(f"{self.folder}/{name}.toml", "w") as line:
                line.write(LINE.format(cameras="".join((*cameras, *more)), port=self.link.port, client=client, store=store,
                                       keep_mb=KEEP_MB))

    def begin(self):
        subprocess.run([WINSPECT, "model", "import", "tests/golden/dinov2-tiny", f"{self.folder}/model"],
                       check=True, stdout=subprocess.DEVNULL)
        self.start_camera()
        self.conveyor(self.gate_port, 10, 5, "passage", self.passage)
        threading.Thread(target=self.watch_belts, daemon=True).start()
        Auditor(self.broker.port, self.audit)
        Eyes(self.broker.port, self.audit)
        self.reader = start(["mosquitto_sub", "-p", str(self.broker.port), "-t", "#"], stdout=subprocess.DEVNULL,
                            stderr=subprocess.DEVNULL)
        self.auditor_is_there()
        span = self.faults.begin("start")
        self.daemon.start()
        self.link.flips = self.asked.flip
        self.sender = Sender(self.broker.port, self.audit, self.asked.rate, self.asked.seed)
        self.recover(span)

    def start_camera(self):
        self.camera = self.conveyor(self.camera_port, FPS, FRAMES_A_PICTURE, "belt", self.belt)

    def conveyor(self, port, fps, frames_a_picture, pictures, belt):
        """Plays a folder of pictures; its belt begins with its first viewer."""
        self.conveyors += 1
        schedule = f"{self.folder}/schedule-{self.conveyors}"
        child = start([CONVEYOR, "--port", str(port), "--loop", "--fps", str(fps), "--size", "256x256",
                       "--frames-per-picture", str(frames_a_picture), "--schedule", schedule,
                       f"{self.folder}/{pictures}"], stdout=subprocess.DEVNULL,
                      stderr=open(f"{self.folder}/conveyors.log", "a"))
        until(lambda: listens(port), 20, "soak: the conveyor did not listen")
        self.schedules[schedule] = belt
        return child

    def end_camera(self):
        self.belt.end(time.monotonic())
        self.schedules = {name: belt for name, belt in self.schedules.items() if belt is not self.belt}
        end(self.camera)

    def watch_belts(self):
        """Notes when a belt begins."""
        while True:
            for schedule, belt in list(self.schedules.items()):
                first = first_of_schedule(schedule, self.audit.to_wall_s)
                if first is not None and self.schedules.pop(schedule, None):
                    belt.begin(first)
            time.sleep(0.05)

    def auditor_is_there(self):
        """The daemon's way to a broker that starts opens when the auditor is subscribed there: what is published to
        nobody is nobody's fault."""
        word, limit = f"probe {self.random.random()}", time.monotonic() + 30
        while word not in self.audit.heard_words:
            if time.monotonic() > limit:
                raise SystemExit("soak: the auditor does not come back to the broker")
            self.broker.publish("probe", word.encode())
            time.sleep(0.2)

    # How the run goes.

    def pause(self, least, most):
        time.sleep(self.random.uniform(least, most))

    def stop(self, daemon):
        _, why = daemon.stop()
        if why:
            self.bad_ends.append(why)
            say(f"BAD END: {why}")

    def recover(self, span):
        """Until a trigger that was sent after the fault is judged in time, of each camera."""
        span["over"] = time.monotonic()
        asked = [camera for camera in self.cameras if not self.sender.only or camera in self.sender.only]
        most = RECOVERY_MAX_S + (TAKEN_OVER_S if span["kind"] == "two_daemons" else 0)
        while time.monotonic() < span["over"] + most:
            if all(self.audit.judged_since.get(camera, 0) > span["over"] for camera in asked):
                break
            if not self.daemon.is_running():
                self.bad_ends.append(f"the daemon ended by itself: {self.daemon.child.wait()}")
                say(f"BAD END: {self.bad_ends[-1]}")
                self.daemon.start()
            time.sleep(0.05)
        else:
            self.unrecovered.append(span["kind"])
            say(f"NOT RECOVERED from {span['kind']} within {most} s")
        span["recovered"] = time.monotonic()
        took = span["recovered"] - span["over"]
        self.recoveries[span["kind"]] = max(round(took, 1), self.recoveries.get(span["kind"], 0))

    def kinds(self):
        """All in a random order, again and again; those that take long only where there is time."""
        if self.asked.kills:
            twice = self.asked.kills // 10
            kinds = [self.daemon_kill] * (self.asked.kills - 2 * twice) + [self.daemon_kill_twice] * twice
            self.random.shuffle(kinds)
            yield from kinds
            return
        kinds = [getattr(self, name) for name in EVERYWHERE]
        if FAKETIME:
            kinds.append(self.clock_back)
        else:
            self.left_out.append("clock_back (needs Debian's faketime)")
        if self.daemon.slow_sync:
            kinds.append(self.disk_slow)
        else:
            self.left_out.append("disk_slow (needs a C compiler)")
        if os.path.ismount(f"{self.folder}/store"):
            kinds.append(self.disk_full)
        else:
            self.left_out.append("disk_full (needs root)")
        if self.asked.seconds >= 600:
            kinds += [self.two_daemons, self.broker_away_long]
        else:
            self.left_out.append("two_daemons, broker_away_long (need 600 s)")
        if self.asked.only:
            kinds = [kind for kind in kinds if kind.__name__ in self.asked.only.split(",")]
            if not kinds:
                raise SystemExit(f"soak: no fault of {self.asked.only!r} can be had here")
        while True:
            self.random.shuffle(kinds)
            yield from kinds

    def run(self):
        began = time.monotonic()
        ends = math.inf if self.asked.kills else began + self.asked.seconds
        self.begin()
        threading.Thread(target=self.tell, args=(began,), daemon=True).start()
        quiet = (1, 3) if self.asked.kills else (2, 3) if self.asked.seconds < 300 else (4, 10)
        for fault in self.kinds():
            self.pause(*quiet)
            if time.monotonic() > ends - 15:
                break
            self.active = fault.__name__
            span = self.faults.begin(fault.__name__)
            fault()
            self.recover(span)
            self.active = "quiet"
        time.sleep(max(0, ends - time.monotonic()) if math.isfinite(ends) else quiet[1])
        self.seconds = round(time.monotonic() - began)

    active, conveyors = "quiet", 0

    def tell(self, began):
        told = [0] * 5
        while not self.seconds:
            time.sleep(10)
            # The first of each kind at once: a run of an hour is stopped early by the person who reads it.
            for kind, found in enumerate(self.audit.found()):
                for words in found[told[kind]:4]:
                    say(f"broken: {words}")
                told[kind] = len(found)
            rss = self.daemon.sample()
            say(f"after {time.monotonic() - began:.0f} s {len(self.audit.confirmed)} triggers, "
                f"{len(self.audit.parts)} results, {sum(self.faults.count().values())} faults, now {self.active}, "
                f"{len(self.audit.duplicates)} duplicates, {len(self.audit.out_of_order)} out of order, "
                f"{len(self.audit.wrong)} wrong, {rss or 0:.0f} MB")

    def history(self):
        """Of both stores, once all daemons have ended."""
        rows, is_full, lost = [], False, 0
        for name in ("first", "second"):
            file = f"{self.folder}/store/{name}.db"
            if os.path.exists(file):
                rows += rows_of(f"{self.folder}/{name}.toml")
                is_full |= os.path.getsize(file) > FULL_FROM * KEEP_MB * 1e6
        for log in glob.glob(f"{self.folder}/*.log"):
            with open(log, errors="replace") as text:
                lost += not_kept(text.read())
        return History(rows, is_full, lost)

    def finish(self):
        """All is whole; what waits is delivered, and the daemons end."""
        self.sender.finish()
        limit = time.monotonic() + 30
        while not self.audit.is_quiet() and time.monotonic() < limit:
            time.sleep(0.2)
        if os.path.exists(f"{self.folder}/store/second.db"):
            drain = Daemon(self.folder, "drain")
            drain.start()
            time.sleep(8)
            self.stop(drain)
        # What passes the gate while the daemon ends is not its part any more.
        self.passage.end(time.monotonic() - 1)
        summary, why = self.daemon.stop()
        self.bad_ends += [why] if why else []
        if summary and (summary["undelivered"] or not summary["balanced"]):
            self.bad_ends.append(f"its counters at the end: {summary}")
        time.sleep(1)
        history = self.history()
        store = f"{self.folder}/store"
        size = sum(os.path.getsize(f"{store}/{name}") for name in os.listdir(store) if name.startswith("first.db"))
        figures, details = self.audit.report(self.link.acked)
        figures["sent_out_of_order"] = len(self.link.disorder)
        figures["sent_again_out_of_order"] = len(self.link.disorder_again)
        details += self.link.disorder + self.link.disorder_again
        differs = history.differs(self.audit.parts, self.audit.missing())
        figures["history"] = {"results": len(history.results), "late": len(history.late), "not_kept": history.not_kept}
        figures["history_differs"] = len(differs)
        details += [f"history: {words}" for words in differs]
        # A verdict that was turned on its way differs from what plc says.
        differs = [] if self.asked.flip else self.audit.plc_differs(self.link.acked)
        figures["plc"] = len(self.audit.plc.told)
        figures["plc_differs"] = len(differs)
        details += [f"plc: {words}" for words in differs]
        kinds = self.faults.count()
        kinds.pop("start")
        figures = {"seconds": self.seconds, "rate": self.asked.rate, "seed": self.asked.seed, **figures, "faults": kinds,
                   "recovery_max_s": self.recoveries, "unrecovered": self.unrecovered, "bad_ends": self.bad_ends,
                   "left_out": self.left_out, "rss_mb": self.daemon.rss_mb(), "store_mb": round(size / 1e6, 1)}
        return figures, details, [part.result for part in self.audit.parts.values()]


MUST_BE_ZERO = ("lost", "duplicates", "out_of_order", "sent_out_of_order", "undecided_outside_faults", "unanswered",
                "wrong", "wrong_part", "wrong_verdict", "unreadable", "same_picture", "overdue", "given_up", "unfinished", "unseen",
                "history_differs", "plc_differs")


def judge(folder, figures, details, results):
    heads = collections.Counter()
    for line in details:
        heads[line[:20]] += 1
        if heads[line[:20]] <= 4:  # of each kind
            say(line[:400])
    print(json.dumps(figures), flush=True)
    broken = [name for name in MUST_BE_ZERO if figures[name]]
    broken += [name for name in ("unrecovered", "bad_ends") if figures[name]]
    if broken:
        with open(f"{folder}/details", "w") as file:
            file.write("\n".join(details))
        with open(f"{folder}/results", "w") as file:
            file.writelines(json.dumps(result) + "\n" for result in results)
        raise SystemExit(f"soak: broken promises: {', '.join(broken)}")


def main():
    asked = arguments()
    # The books hold no circles. A search for some takes a second once there are 50,000 results, and meanwhile the auditor
    # hears nothing and the network between daemon and broker, which is this process as well, stands still.
    gc.disable()
    # In memory where there is one: the broker writes its state with every message.
    memory = "/dev/shm" if os.access("/dev/shm", os.W_OK) else None
    folder, broker_folder = tempfile.mkdtemp(prefix="soak-"), tempfile.mkdtemp(prefix="soak-", dir=memory)
    store = f"{folder}/store"
    os.mkdir(store)
    # A disk of its own, to be filled up.
    if os.getuid() == 0:
        mount = ["mount", "-t", "tmpfs", "-o", f"size={STORE_MB}m", "tmpfs", store]
        subprocess.run(mount, check=False, stderr=subprocess.DEVNULL)
    kept = False
    try:
        soak = Soak(asked, folder, broker_folder)
        soak.run()
        judge(folder, *soak.finish())
    except BaseException:
        kept = True
        say(f"the logs are in {folder}")
        raise
    finally:
        end_all()
        if os.path.ismount(store):
            subprocess.run(["umount", store], check=False)
        shutil.rmtree(broker_folder, ignore_errors=True)
        if not kept:
            shutil.rmtree(folder, ignore_errors=True)


if __name__ == "__main__":
    for signal_number in (signal.SIGTERM, signal.SIGHUP):
        signal.signal(signal_number, signal.default_int_handler)
    try:
        main()
    except KeyboardInterrupt:
        sys.exit("soak: interrupted")
