"""Runs the line that tools/soak describes, breaks what is around it, and judges. Who takes part is in
soak_parties.py, the books are soak_audit.py, the network is soak_link.py.
"""

import argparse
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
from soak_audit import Audit, Faults
from soak_link import Link
from soak_parties import CAMERAS, FAKETIME, Auditor, Broker, Daemon, Sender, say

DEADLINE_S = 2.0
GATE_S = 2.5  # from the frame to the gate
RECOVERY_MAX_S = 25  # back-off of 10 s, the next try, what waited
TAKEN_OVER_S = 30  # a daemon whose name was taken waits so long before it takes it back
STORE_MB = 160  # of the disk that is filled up
LINE = """prefix = "soak"
station = "box"
model = "model"
[recipe]
name = "nut"
input_px = 70
references = [{references}]
threshold = "auto"
[[camera]]
name = "belt"
kind = "rtsp"
location = "rtsp://127.0.0.1:{camera_port}/line"
trigger = "command"
ring_mb = 16
share_frames = true
queue = 64
deadline_ms = {deadline_ms}
reject_after_ms = {gate_ms}
[[camera]]
name = "ball"
kind = "test"
fps = 20
width = 160
height = 120
trigger = "command"
ring_mb = 4
share_frames = true
queue = 64
deadline_ms = {deadline_ms}
reject_after_ms = {gate_ms}
[mqtt]
port = {port}
client_id = "{client}"
reject_window_ms = 3000
timed_reject = true
[store]
file = "store/{client_store}.db"
keep_mb = 64
"""
def arguments():
    parser = argparse.ArgumentParser(prog="tools/soak")
    parser.add_argument("--seconds", type=int, default=60)
    parser.add_argument("--rate", type=float, default=20, help="triggers a second")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--kills", type=int, default=0, metavar="N",
                        help="kill -9 of the daemon N times and nothing else, as long as it takes (not --seconds)")
    return parser.parse_args()


class Soak:
    def __init__(self, asked, folder, broker_folder):
        self.asked, self.folder, self.random = asked, folder, random.Random(asked.seed)
        self.faults = Faults()
        self.audit = Audit(self.faults, DEADLINE_S, GATE_S)
        self.bad_ends, self.unrecovered, self.left_out, self.recoveries = [], [], [], {}
        self.seconds = None  # that the run took, once it is over
        self.camera_port, self.bad_commands = free_port(), 0
        self.broker = Broker(broker_folder)
        self.link = Link(free_port(), self.broker.port)
        for client in ("first", "second"):
            self.write_line(client)
        self.write_line("drain", store="second", client_id="drain")
        self.set_clock(0)
        self.daemon, self.second = Daemon(folder, "first"), Daemon(folder, "second")

    def write_line(self, name, store=None, client_id="soak"):
        golden = os.path.abspath("tests/golden/open-clip-tiny")
        references = ", ".join(json.dumps(f"{golden}/{good}.png") for good in ("good_a", "good_b"))
        with open(f"{self.folder}/{name}.toml", "w") as line:
            line.write(LINE.format(references=references, camera_port=self.camera_port, port=self.link.port,
                                   client=client_id, client_store=store or name, deadline_ms=int(1000 * DEADLINE_S),
                                   gate_ms=int(1000 * GATE_S)))

    def begin(self):
        subprocess.run([WINSPECT, "model", "import", "tests/golden/dinov2-tiny", f"{self.folder}/model"],
                       check=True, stdout=subprocess.DEVNULL)
        self.start_camera()
        Auditor(self.broker.port, self.audit)
        self.reader = start(["mosquitto_sub", "-p", str(self.broker.port), "-t", "#"], stdout=subprocess.DEVNULL,
                            stderr=subprocess.DEVNULL)
        self.auditor_is_there()
        span = self.faults.begin("start")
        self.daemon.start()
        self.sender = Sender(self.broker.port, self.audit, self.asked.rate, self.asked.seed)
        self.recover(span)

    def start_camera(self):
        self.camera = start([CONVEYOR, "--port", str(self.camera_port), "--loop", "--fps", "20",
                             "--frames-per-picture", "5", "--size", "256x256", "tests/golden/open-clip-tiny"],
                            stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        until(lambda: listens(self.camera_port), 20, "soak: the conveyor did not listen")

    def auditor_is_there(self):
        """The daemon's way to a broker that starts opens when the auditor is subscribed there: what is published to
        nobody is nobody's fault."""
        word, limit = f"probe {self.random.random()}", time.monotonic() + 30
        while word not in self.audit.heard_words:
            if time.monotonic() > limit:
                raise SystemExit("soak: the auditor does not come back to the broker")
            self.broker.publish("probe", word.encode())
            time.sleep(0.2)

    # Faults. Each breaks something and mends it; all take the time that it lasts.

    def broker_kill(self):
        self.link.is_up = False
        self.broker.kill()
        self.pause(0, 5)
        self.broker_returns()

    def broker_restart(self):
        self.link.is_up = False
        self.broker.stop()
        self.pause(0, 3)
        self.broker_returns()

    def session_lost(self):
        self.link.is_up = False
        self.broker.stop()
        self.broker.forget()
        self.pause(0, 2)
        self.broker_returns()

    def broker_returns(self):
        self.broker.start()
        self.auditor_is_there()
        self.link.up()

    def broker_away_long(self):
        """Longer than what waits has room in memory."""
        self.link.down()
        self.pause(80, 100)
        self.link.up()

    def broker_frozen(self):
        self.broker.child.send_signal(signal.SIGSTOP)
        self.pause(2, 15)
        self.broker.child.send_signal(signal.SIGCONT)

    def link_cut(self):
        self.link.down()
        self.pause(0.2, 8)
        self.link.up()

    def link_half_open(self):
        self.link.deaf()
        self.pause(2, 14)
        self.link.hears()

    def link_cut_after_publish(self):
        self.link.cuts_after_publish = self.random.randint(1, 3)
        limit = time.monotonic() + 10
        while self.link.cuts_after_publish > 0 and time.monotonic() < limit:
            time.sleep(0.05)

    def link_slow(self):
        self.link.bytes_a_second = self.random.randint(15_000, 60_000)
        self.pause(3, 12)
        self.link.bytes_a_second = None

    def link_far(self):
        """A way of so many milliseconds, to a broker that is connected to anew over it."""
        self.link.delay_s = self.random.uniform(0.1, 0.4)
        self.link.drop_all()
        self.pause(5, 10)
        self.link.delay_s = 0.0

    def daemon_kill(self):
        self.daemon.kill()
        self.pause(0, 2)
        self.daemon.start()

    def daemon_kill_twice(self):
        """The second time while it starts, and reads what the first one left."""
        self.daemon_kill()
        self.pause(0, 1.5)
        self.daemon_kill()

    def daemon_frozen(self):
        """As on a machine that is too busy: parts become late, and their verdicts are for the record."""
        self.daemon.child.send_signal(signal.SIGSTOP)
        self.pause(0.5, 6)
        self.daemon.child.send_signal(signal.SIGCONT)

    def daemon_stop(self):
        self.stop(self.daemon)
        self.pause(0, 2)
        self.daemon.start()

    def daemon_stop_without_broker(self):
        self.link.down()
        self.pause(0, 6)
        self.stop(self.daemon)
        self.link.up()
        self.daemon.start()

    def camera_gone(self):
        end(self.camera)
        self.pause(0.2, 6)
        self.start_camera()

    def bad_commands_come(self):
        """All must be refused, and change nothing."""
        bad = [
            ("trigger", '{{"id":"{id}"'),
            ("trigger", '{{"id":"{id}","speed":1}}'),
            ("trigger", '{{"id":"{id}","camera":"none"}}'),
            ("trigger", '{{"id":"{id}","at":"2099-01-01T00:00:00Z"}}'),
            ("trigger", '{{"id":"{id}","part_id":"' + "x" * 6000 + '"}}'),
            ("trigger", '{{"id":"{id}"}}' + " " * 300_000),
            ("trigger", "[1]"),
            ("trigger", "\x00\x01"),
            ("set_threshold", '{{"id":"{id}","value":9}}'),
            ("teech", '{{"id":"{id}"}}'),
            ("pause", "{{}}"),
        ]
        # One is larger than the daemon lets the broker send; the retained one is refused as well.
        refused = sum(self.audit.rejected.values()) + len(bad)
        for name, payload in bad:
            self.bad_commands += 1
            self.broker.publish(f"cmd/{name}", payload.format(id=f"bad-{self.bad_commands}").encode())
        self.broker.publish("cmd/trigger", b'{"id":"bad-retained"}', "-r")
        self.pause(0, 1)
        self.broker.publish("cmd/trigger", b"", "-r")
        limit = time.monotonic() + 10
        while sum(self.audit.rejected.values()) < refused:
            if time.monotonic() > limit:
                self.audit.wrong.append(f"of {refused} bad commands {sum(self.audit.rejected.values())} were refused")
                break
            time.sleep(0.1)

    def same_commands_come(self):
        """The same id again is answered again, and is no second part."""
        for _ in range(3):
            key, command = self.sender.trigger()
            for _ in range(self.random.randint(2, 4)):
                self.broker.publish("cmd/trigger", command.encode())

    def two_daemons(self):
        self.second.start()
        self.pause(3, 6)
        if self.random.random() < 0.5:
            self.second.kill()
        else:
            self.stop(self.second)

    def clock_back(self):
        """As before the first NTP answer; now and then the daemon starts like that."""
        self.set_clock(-self.random.choice((3, 30, 3600, 86400)))
        self.pause(1, 3)
        if self.random.random() < 0.5:
            self.daemon.kill()
            self.daemon.start()
        self.pause(1, 4)
        self.set_clock(0)
        time.sleep(1)  # it is looked at once a second

    def set_clock(self, seconds):
        with open(f"{self.folder}/clock.new", "w") as clock:
            clock.write(f"{seconds:+}\n")
        os.rename(f"{self.folder}/clock.new", f"{self.folder}/clock")

    def slow_reader(self):
        self.reader.send_signal(signal.SIGSTOP)
        self.pause(3, 10)
        self.reader.send_signal(signal.SIGCONT)

    def disk_full(self):
        filler = f"{self.folder}/store/filler"
        with open(filler, "wb", buffering=0) as file:
            try:
                while True:
                    file.write(bytes(1 << 16))
            except OSError:
                pass
        self.pause(2, 8)
        os.remove(filler)

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
        most = RECOVERY_MAX_S + (TAKEN_OVER_S if span["kind"] == "two_daemons" else 0)
        while time.monotonic() < span["over"] + most:
            if all(self.audit.judged_since.get(camera, 0) > span["over"] for camera in CAMERAS):
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
        kinds = [self.broker_kill, self.broker_restart, self.broker_frozen, self.session_lost, self.link_cut,
                 self.link_half_open, self.link_cut_after_publish, self.link_slow, self.link_far, self.daemon_kill,
                 self.daemon_frozen, self.daemon_stop, self.daemon_stop_without_broker, self.camera_gone, self.bad_commands_come,
                 self.same_commands_come, self.slow_reader]
        if FAKETIME:
            kinds.append(self.clock_back)
        else:
            self.left_out.append("clock_back (needs Debian's faketime)")
        if os.path.ismount(f"{self.folder}/store"):
            kinds.append(self.disk_full)
        else:
            self.left_out.append("disk_full (needs root)")
        if self.asked.seconds >= 600:
            kinds += [self.two_daemons, self.broker_away_long]
        else:
            self.left_out.append("two_daemons, broker_away_long (need 600 s)")
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

    active = "quiet"

    def tell(self, began):
        while not self.seconds:
            time.sleep(10)
            rss = self.daemon.sample()
            say(f"after {time.monotonic() - began:.0f} s {len(self.audit.confirmed)} triggers, "
                f"{len(self.audit.parts)} results, {sum(self.faults.count().values())} faults, now {self.active}, "
                f"{len(self.audit.duplicates)} duplicates, {len(self.audit.out_of_order)} out of order, "
                f"{len(self.audit.wrong)} wrong, {rss or 0:.0f} MB")

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
        summary, why = self.daemon.stop()
        self.bad_ends += [why] if why else []
        if summary and (summary["undelivered"] or not summary["balanced"]):
            self.bad_ends.append(f"its counters at the end: {summary}")
        time.sleep(1)
        store = f"{self.folder}/store"
        size = sum(os.path.getsize(f"{store}/{name}") for name in os.listdir(store) if name.startswith("first.db"))
        figures, details = self.audit.report(self.link.acked)
        kinds = self.faults.count()
        kinds.pop("start")
        figures = {"seconds": self.seconds, "rate": self.asked.rate, "seed": self.asked.seed, **figures, "faults": kinds,
                   "recovery_max_s": self.recoveries, "unrecovered": self.unrecovered, "bad_ends": self.bad_ends,
                   "left_out": self.left_out, "rss_mb": self.daemon.rss_mb(), "store_mb": round(size / 1e6, 1)}
        return figures, details


MUST_BE_ZERO = ("lost", "duplicates", "out_of_order", "undecided_outside_faults", "unanswered", "wrong")


def judge(folder, figures, details):
    for line in details[:12]:
        say(line[:400])
    print(json.dumps(figures), flush=True)
    broken = [name for name in MUST_BE_ZERO if figures[name]]
    broken += [name for name in ("unrecovered", "bad_ends") if figures[name]]
    if broken:
        with open(f"{folder}/details", "w") as file:
            file.write("\n".join(details))
        raise SystemExit(f"soak: broken promises: {', '.join(broken)}")


def main():
    asked = arguments()
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
