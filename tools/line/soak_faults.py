"""What the soak breaks. Each fault breaks something and mends it, and takes the time that it lasts. A fault that is named
after a command happens while the line is busy with that command.
"""

import json
import os
import signal
import time

from soak_pictures import is_bad

# Faults that may happen while a command is done.
DURING = ("daemon_kill", "daemon_stop", "link_cut", "broker_restart", "daemon_frozen")
CHALLENGED = 3  # parts


class Breaks:
    """The faults of a soak (soak_run.Soak), by name."""

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
        self.pause(0.5, 9)  # a camera that says nothing for 5 s is opened again: this one is not silent, we are deaf
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
        self.end_camera()
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

    def disk_slow(self):
        """A worn disk: each sync hangs."""
        self.set_sync(self.random.choice((300, 1000, 2500, 4000)))
        self.pause(4, 8)
        self.set_sync(0)

    def set_sync(self, ms):
        with open(f"{self.folder}/sync_ms.new", "w") as file:
            file.write(f"{ms}\n")
        os.rename(f"{self.folder}/sync_ms.new", f"{self.folder}/sync_ms")

    def refused_for_a_while(self):
        """The broker takes no result: its quota is used up."""
        self.link.refuses = True
        self.pause(2, 6)
        self.link.refuses = False

    def camera_clock(self):
        """The camera's clock is off, and comes back; its sender reports, every 5 s, tell so."""
        self.way.clock_s = self.random.choice((-2, -1, -0.5, 0.3, 0.5, 2))
        self.pause(8, 14)
        self.way.clock_s = 0.0
        time.sleep(6)

    def damaged_stream(self):
        self.way.damage, self.way.share = self.random.choice((("bits", 0.05), ("slices", 0.1), ("packets", 0.02)))
        self.pause(4, 8)
        self.way.damage = None
        time.sleep(1.2)  # until the next key frame

    def camera_still(self):
        """The link to the camera stands still; what it held comes all at once."""
        self.way.is_still = True
        self.pause(0.5, 4)
        self.way.is_still = False

    def large_pictures(self):
        """Heat maps of 1280 x 720 over a link of 1 MB/s; the line that draws them starts and ends as by `daemon_stop`."""
        self.restart_as("large")
        self.link.bytes_a_second = 1_000_000
        self.sender.only = (*self.cameras, "wide", "wide")
        self.pause(8, 12)
        self.sender.only = None
        self.link.bytes_a_second = None
        self.restart_as("first")

    def restart_as(self, config):
        span = self.faults.begin("daemon_stop")
        self.stop(self.daemon)
        self.daemon.config = config
        self.daemon.start()
        self.recover(span)

    def command(self, name, **keys):
        self.commands += 1
        key = f"{name}-{self.commands}"
        self.broker.publish(f"cmd/{name}", json.dumps({"id": key} | keys).encode())
        return name, key

    def wait_for_outcome(self, asked):
        """The second answer, or None; without it the books say `unfinished` at the end."""
        limit = time.monotonic() + 15
        while not self.audit.outcomes[asked] and time.monotonic() < limit:
            time.sleep(0.05)
        return self.audit.outcomes[asked][0] if self.audit.outcomes[asked] else None

    def select_recipe(self):
        """Another recipe, and something breaks while it is prepared."""
        self.recipe = "bolt" if self.recipe == "nut" else "nut"
        asked = self.command("select_recipe", recipe=self.recipe)
        self.pause(0, 0.3)
        self.break_during("select_recipe")
        self.wait_for_outcome(asked)

    def challenge(self):
        """Known bad parts before the pair of cameras, and something breaks meanwhile."""
        self.sender.only = [camera for camera in self.cameras if camera != "pair"]
        time.sleep(0.5)
        asked = self.command("challenge", parts=CHALLENGED, expect="fail", camera="pair")
        for number in range(CHALLENGED):
            self.wait_for_bad_part()
            self.broker.publish("cmd/trigger", self.sender.trigger("pair")[1].encode())
            if number == 1:
                self.break_during("challenge")
        outcome = self.wait_for_outcome(asked)
        if outcome is None or outcome["status"] != "done":
            self.command("reset")
        self.sender.only = None

    def wait_for_bad_part(self):
        limit = time.monotonic() + 20
        while time.monotonic() < limit:
            now = time.monotonic()
            shown = self.belt.shown(now - 0.15, now + 0.15)
            if shown is not None and all(is_bad(number) for number in shown):
                return
            time.sleep(0.02)

    def break_during(self, command):
        """One of the other faults, as a span of its own that bears both names."""
        kind = self.random.choice(DURING)
        span = self.faults.begin(f"{kind} during {command}")
        getattr(self, kind)()
        self.recover(span)
