"""Runs the daemon and watches its verdicts as a PLC would, through mosquitto_sub; ends with a summary."""

import argparse
import json
import signal
import subprocess
import sys
import threading
import time

parser = argparse.ArgumentParser()
parser.add_argument("--seconds", type=float, default=0)
parser.add_argument("--no-tty", action="store_true")
parser.add_argument("--port", required=True)
arguments = parser.parse_args()

scores, verdicts, totals = {}, {}, []


def auroc(scores):
    good = [s for part, s in scores.items() if "good" in part]
    bad = [s for part, s in scores.items() if "bad" in part]
    pairs = len(good) * len(bad)
    return sum((b > g) + (b == g) / 2 for b in bad for g in good) / pairs if pairs else float("nan")


def show(line):
    result = json.loads(line)
    part, truth = result["part_id"], "bad" if "bad" in result["part_id"] else "good"
    scores[part] = result["score"]
    verdicts[(truth, result["verdict"])] = verdicts.get((truth, result["verdict"]), 0) + 1
    totals.append(result["latency_ms"]["total"])
    bar = "#" * min(20, int(10 * result["score"] / result["threshold"]))
    text = "{:>5} {:<12} {:<5} {:<5} {:.4f} of {:.4f} {:<20} {:>6.1f} ms".format(
        result["seq"], part, truth, result["verdict"], result["score"], result["threshold"], bar, totals[-1])
    if not arguments.no_tty:
        colour = {"pass": 32, "fail": 31}.get(result["verdict"], 33)
        text = f"\033[{colour}m{text}\033[0m"
    print(text, flush=True)


signal.signal(signal.SIGTERM, signal.default_int_handler)
listener = subprocess.Popen(["mosquitto_sub", "-p", arguments.port, "-q", "1", "-t", "demo/box/result"],
                            stdout=subprocess.PIPE, text=True, start_new_session=True)
daemon = subprocess.Popen(["target/release/winspect", "run", "demo/line.toml"],
                          stdout=subprocess.PIPE, text=True, start_new_session=True)
reader = threading.Thread(target=lambda: [show(line) for line in listener.stdout], daemon=True)
print("  seq part         truth says  score  threshold", flush=True)
reader.start()
try:
    until = time.monotonic() + arguments.seconds if arguments.seconds else float("inf")
    while daemon.poll() is None and time.monotonic() < until:
        time.sleep(0.1)
except KeyboardInterrupt:
    pass
finally:
    daemon.send_signal(signal.SIGTERM)
    counters, _ = daemon.communicate(timeout=30)
    time.sleep(0.5)
    listener.kill()
reader.join(5)
if daemon.returncode or not scores:
    sys.exit(f"demo: the daemon ended with {daemon.returncode}, {len(totals)} results came")

print("demo: judging the same pictures with random weights, as a control", flush=True)
control = {}
run = subprocess.run(["target/release/winspect", "inspect", "--model", "engines/dinov2-small-random", "--size", "224", "--block", "9",
                      "--maps", "patch", "--reference", "demo/good", "demo/stream"], capture_output=True, text=True)
for line in run.stdout.splitlines():
    judged = json.loads(line)
    part = judged["path"].rsplit("/", 1)[-1]
    if part in scores:
        control[part] = judged["score"]
totals.sort()
print(f"\nresults       {len(totals)} on {len(scores)} pictures; counters {counters.strip()}")
print("verdicts      " + ", ".join(f"{truth} judged {said}: {n}" for (truth, said), n in sorted(verdicts.items())))
print(f"image AUROC   {auroc(scores):.3f}; the same graph with random weights: {auroc(control):.3f}")
print(f"latency       p50 {totals[len(totals) // 2]:.1f} ms, p99 {totals[len(totals) * 99 // 100]:.1f} ms from arrival to verdict")
print("overlays      demo/overlays")
