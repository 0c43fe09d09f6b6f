"""One part from its trigger to the gate, as a PLC sees it, measured on a real line and drawn as an SVG.

The times of messages are those of a subscriber on the same broker; those inside winspect come from the result. Of ten
parts the one with the median time is drawn.
"""

import datetime
import json
import pathlib
import subprocess
import sys
import tempfile
import threading
import time

from processes import WINSPECT, end_all, free_port, listens, start, until

PARTS = 10
LINE = """prefix = "plant"
station = "box"
model = {model}
[recipe]
name = "timing"
input_px = 224
block = 9
maps = ["patch"]
references = [{references}]
threshold = 1.0
[recipe.bad_image]                # the test picture is no part
black = 0
saturated = 0
blurred = 0
frozen_frames = 0
[[camera]]
name = "top"
kind = "test"
width = 1280
height = 720
fps = 50
trigger = "command"
deadline_ms = 500
reject_after_ms = 700
[mqtt]
port = {port}
heatmaps = "none"
"""


def main():
    model = pathlib.Path(sys.argv[1]).resolve()
    with tempfile.TemporaryDirectory() as folder:
        folder = pathlib.Path(folder)
        try:
            parts = run(folder, model)
        finally:
            end_all()
    parts.sort(key=lambda part: part["result"] - part["sent"])
    part = parts[len(parts) // 2]
    for name in ("trigger", "captured", "ack", "result", "deadline", "gate"):
        print(f"{name:10} {1e3 * (part[name] - part['sent']):8.1f} ms after the trigger was sent")
    print(json.dumps(part["latency"]))
    pathlib.Path("docs/part-timing.svg").write_text(drawn(part))


def run(folder, model):
    port = free_port()
    (folder / "broker").write_text(f"listener {port} 127.0.0.1\nallow_anonymous true\nset_tcp_nodelay true\n")
    start(["mosquitto", "-c", str(folder / "broker")], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    until(lambda: listens(port), 10, "the broker does not listen")
    seen = []
    plc = start(["mosquitto_sub", "-p", str(port), "-q", "1", "-t", "plant/box/#", "-F", "%U %t %p"], stdout=subprocess.PIPE)
    threading.Thread(target=read, args=(plc, seen), daemon=True).start()
    picture = pathlib.Path("tests/golden/open-clip-tiny/good_a.png").resolve()
    text = LINE.format(model=json.dumps(str(model)), references=json.dumps(str(picture)), port=port)
    (folder / "line.toml").write_text(text)
    start([WINSPECT, "run", str(folder / "line.toml")], stderr=subprocess.DEVNULL, stdout=subprocess.DEVNULL)
    until(lambda: any("camera/top/status" in topic for _, topic, _ in seen), 60, "the camera does not come")
    time.sleep(2)
    sender = start(["mosquitto_pub", "-p", str(port), "-q", "1", "-t", "plant/box/cmd/trigger", "-l"], stdin=subprocess.PIPE)
    time.sleep(1)
    parts = []
    for number in range(PARTS):
        sent = time.time()
        sender.stdin.write(json.dumps({"id": f"part-{number}", "part_id": f"A-{number}"}) + "\n")
        sender.stdin.flush()
        until(lambda: sum(topic.endswith("box/result") for _, topic, _ in seen) > number, 10, "no result")
        time.sleep(0.4)
        parts.append(part(seen, number, sent))
    return parts


def read(plc, seen):
    for line in plc.stdout:
        at, topic, payload = line.rstrip("\n").split(" ", 2)
        seen.append((float(at), topic, payload))


def part(seen, number, sent):
    """When what happened to one part, in seconds since the epoch."""

    def first(end, key):
        for at, topic, payload in seen:
            if topic.endswith(end) and key in payload:
                return at, json.loads(payload)
        raise SystemExit(f"{end} did not come")

    trigger, _ = first("cmd/trigger", f'"part-{number}"')
    ack, _ = first("ack/trigger", f'"part-{number}"')
    result_at, result = first("box/result", f'"A-{number}"')
    captured = datetime.datetime.fromisoformat(result["captured_at"].replace("Z", "+00:00")).timestamp()
    return {
        "sent": sent,
        "trigger": trigger,
        "ack": ack,
        "captured": captured,
        "result": result_at,
        "latency": result["latency_ms"],
        "deadline": trigger + result["deadline_ms"] / 1e3,
        "gate": captured + result["reject_in_ms"] / 1e3,
    }


WIDTH, LEFT, SPAN_MS = 900, 110, 800
LANES = {"PLC": 60, "broker": 130, "winspect": 200, "camera": 270}


def drawn(part):
    """Lanes from top to bottom, time to the right; the gate lies far behind, so that the axis is to scale."""

    def x(at):
        return LEFT + (WIDTH - LEFT - 20) * 1e3 * (at - part["sent"]) / SPAN_MS

    out = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} 330" font-family="sans-serif" font-size="13">',
        f'<rect width="{WIDTH}" height="330" fill="#ffffff"/>',
        '<defs><marker id="a" viewBox="0 0 8 8" refX="7" refY="4" markerWidth="7" markerHeight="7" orient="auto">'
        '<path d="M0 0L8 4L0 8z" fill="#333"/></marker></defs>',
    ]
    for name, y in LANES.items():
        out.append(f'<text x="10" y="{y + 5}" font-weight="bold">{name}</text>')
        out.append(f'<line x1="{LEFT}" y1="{y}" x2="{WIDTH - 10}" y2="{y}" stroke="#bbb"/>')
    for ms in range(0, SPAN_MS + 1, 100):
        at = x(part["sent"] + ms / 1e3)
        out.append(f'<line x1="{at:.1f}" y1="300" x2="{at:.1f}" y2="306" stroke="#333"/>')
        out.append(f'<text x="{at:.1f}" y="321" text-anchor="middle" fill="#333">{ms} ms</text>')

    def arrow(at, start, end, to=None):
        out.append(
            f'<line x1="{x(at):.1f}" y1="{LANES[start]}" x2="{x(to or at):.1f}" y2="{LANES[end]}" stroke="#333" '
            'stroke-width="1.4" marker-end="url(#a)"/>'
        )

    def label(at, lane, words, up=12, anchor="start"):
        out.append(f'<text x="{x(at) + 4:.1f}" y="{LANES[lane] - up}" text-anchor="{anchor}">{words}</text>')

    def mark(at, colour, words, y, anchor="start"):
        out.append(f'<line x1="{x(at):.1f}" y1="40" x2="{x(at):.1f}" y2="300" stroke="{colour}" stroke-dasharray="4 3"/>')
        side = -5 if anchor == "end" else 5
        out.append(f'<text x="{x(at) + side:.1f}" y="{y}" text-anchor="{anchor}" fill="{colour}">{words}</text>')

    took = part["latency"]
    judged = part["result"] - 1e-3 * took["score"]
    begun = judged - 1e-3 * (took["pixels"] + took["encode"] + took["score"])
    arrow(part["sent"], "PLC", "winspect", part["trigger"])
    label(part["sent"], "PLC", "cmd/trigger")
    arrow(part["captured"], "camera", "winspect", max(part["captured"], begun))
    out.append(f'<circle cx="{x(part["captured"]):.1f}" cy="{LANES["camera"]}" r="4" fill="#1f6feb"/>')
    label(part["captured"], "camera", "captured_at", -18)
    out.append(
        f'<rect x="{x(begun):.1f}" y="{LANES["winspect"] - 9}" width="{max(x(judged) - x(begun), 1):.1f}" height="18" '
        'fill="#1f6feb" fill-opacity="0.35" stroke="#1f6feb"/>'
    )
    label(judged, "winspect", f'judged: {took["pixels"] + took["encode"] + took["score"]:.1f} ms', -24)
    arrow(part["ack"], "winspect", "PLC")
    arrow(part["result"], "winspect", "PLC")
    label(part["result"], "PLC", f'result, {1e3 * (part["result"] - part["sent"]):.1f} ms after the trigger', 26)
    label(part["ack"], "broker", f'ack/trigger (on the disk) {1e3 * (part["ack"] - part["sent"]):.1f} ms', -18)
    mark(part["deadline"], "#b35900", "deadline: undecided at the latest", 244, "end")
    mark(part["gate"], "#b3261e", "the gate: captured_at + reject_in_ms", 162, "end")
    out.append("</svg>")
    return "\n".join(out) + "\n"


main()
