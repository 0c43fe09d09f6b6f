"""Makes the store files beside this script with a winspect 0.1.0: `python3 make.py path/to/winspect`.

Needs mosquitto and its clients. The binary looks for libonnxruntime in engines/lib of the folder it is started in, so
run this in the project's root.
"""

import json
import queue
import shutil
import signal
import socket
import sqlite3
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path

HERE = Path(__file__).resolve().parent
GOLDEN = HERE.parent
REFERENCES = [str(GOLDEN / "open-clip-tiny" / name) for name in ("good_a.png", "good_b.png")]
TEST = 'kind = "test"\nfps = 5\nwidth = 160\nheight = 120\n'
LINE = """
prefix = "plant"
station = "box"
model = "dinov2-tiny"
recipes = ["bolt.toml"]
[recipe]
name = "nut"
size = 70
references = {references}
threshold = "auto"
[[camera]]
name = "top"
{test}trigger = "command"
deadline_ms = 20000
[[camera]]
name = "side"
{test}trigger = "every_n"
every = 5
deadline_ms = 20000
[[camera]]
name = "lost"
kind = "rtsp"
location = "rtsp://127.0.0.1:9/none"
trigger = "command"
deadline_ms = {deadline}
[mqtt]
port = {port}
heatmaps = "none"
"""
BOLT = """
name = "bolt"
revision = 4
size = 70
references = {references}
[[region]]
name = "left"
crop = [0, 0, 20, 20]
threshold = 1.5
[[region]]
name = "right"
crop = [20, 5, 20, 20]
threshold = 0.0001
"""
# What a test compares of each result.
KEYS = ["run_id", "camera", "region", "seq", "part_id", "verdict", "reject", "reason", "detail", "score", "threshold"]
KEYS += ["captured_at", "recipe", "challenge", "count", "position"]


class Broker:
    """A mosquitto, all that it is sent, and the answers to commands."""

    def __init__(self):
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            self.port = str(free.getsockname()[1])
        self.broker = subprocess.Popen(["mosquitto", "-p", self.port], stderr=subprocess.DEVNULL)
        time.sleep(1)
        listen = ["mosquitto_sub", "-p", self.port, "-q", "1", "-t", "plant/box/#", "-F", "%t %p"]
        self.listener = subprocess.Popen(listen, stdout=subprocess.PIPE, text=True)
        self.lines = queue.Queue()
        self.answers = {}
        threading.Thread(target=lambda: [self.lines.put(line) for line in self.listener.stdout], daemon=True).start()
        time.sleep(1)

    def wait(self, topic, **values):
        while True:
            at, _, payload = self.lines.get(timeout=60).partition(" ")
            if at == f"plant/box/{topic}":
                message = json.loads(payload)
                if all(message.get(key) == value for key, value in values.items()):
                    return message

    def tell(self, command, **message):
        topic = f"plant/box/cmd/{command}"
        publish = ["mosquitto_pub", "-V", "5", "-p", self.port, "-q", "1", "-t", topic, "-m", json.dumps(message)]
        subprocess.run(publish, check=True)
        answer = self.wait(f"ack/{command}", id=message["id"])
        assert answer["status"] != "rejected", answer
        self.answers[message["id"]] = {"command": command, "message": message, "answer": answer}

    def end(self):
        for process in (self.broker, self.listener):
            process.kill()
            process.wait()


def run(winspect, folder, deadline, end):
    """A line with delivered, waiting and (before their deadline) open parts; then the broker goes, then the line."""
    broker = Broker()
    references = json.dumps(REFERENCES)
    line = LINE.format(references=references, test=TEST, deadline=deadline, port=broker.port)
    (folder / "line.toml").write_text(line)
    (folder / "bolt.toml").write_text(BOLT.format(references=references))
    program = subprocess.Popen([winspect, "run", folder / "line.toml"])
    broker.wait("camera/top/status", state="online")
    broker.tell("set_threshold", id="limit", value=2)
    broker.tell("trigger", id="a1", camera="top", part_id="A-1", count=1, position=0.5)
    broker.wait("result", part_id="A-1")
    broker.tell("challenge", id="missed", parts=1, expect="fail", camera="top")
    broker.tell("trigger", id="a2", camera="top", part_id="A-2")
    broker.wait("ack/challenge", id="missed", status="rejected")
    broker.tell("select_recipe", id="bolt", recipe="bolt")
    broker.wait("ack/select_recipe", id="bolt", status="done")
    broker.tell("trigger", id="a3", camera="top", part_id="A-3", count=3)
    broker.wait("result", part_id="A-3", region="right")
    broker.tell("challenge", id="cut", parts=500, expect="fail")
    for part in ("L-1", "L-2"):
        broker.tell("trigger", id=part, camera="lost", part_id=part, count=7)
    broker.end()
    time.sleep(5)
    program.send_signal(end)
    program.wait(timeout=60)
    return broker.answers


def expected(folder, answers):
    """What a later run owes, read from a copy: SQLite changes a file that it opens."""
    copy = shutil.copytree(folder, folder / "copy", ignore=lambda _, names: [n for n in names if ".db" not in n])
    store = sqlite3.connect(copy / "box.db")
    rows = store.execute("SELECT state, body FROM part WHERE state < 3 ORDER BY key").fetchall()
    results = [json.loads(body + "}") for _, body in rows]
    previous = store.execute("SELECT run_id, camera, last_seq FROM run ORDER BY camera").fetchall()
    return {
        "open": sum(state == 0 for state, _ in rows),
        "results": [{key: result[key] for key in KEYS} for result in results],
        "previous": [dict(zip(("run_id", "camera", "last_seq"), row)) for row in previous],
        "kept": dict(store.execute("SELECT key, value FROM kept").fetchall()),
        "notes": [what for (what,) in store.execute("SELECT what FROM audit ORDER BY rowid").fetchall()],
        "answers": answers,
    }


def main():
    winspect = Path(sys.argv[1]).resolve()
    version = subprocess.run([winspect, "--version"], check=True, capture_output=True, text=True).stdout
    assert version == "winspect 0.1.0\n", version
    all_expected = {}
    for name, deadline, end in (("stopped", 2000, signal.SIGTERM), ("killed", 3_600_000, signal.SIGKILL)):
        with tempfile.TemporaryDirectory() as folder:
            folder = Path(folder)
            model = [winspect, "model", "import", GOLDEN / "dinov2-tiny", folder / "dinov2-tiny"]
            subprocess.run(model, check=True)
            answers = run(winspect, folder, deadline, end)
            all_expected[name] = expected(folder, answers)
            for file in folder.glob("box.db*"):
                shutil.copy(file, HERE / file.name.replace("box", name))
    (HERE / "expected.json").write_text(json.dumps(all_expected, indent=1) + "\n")


main()
