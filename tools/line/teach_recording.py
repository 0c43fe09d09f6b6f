"""Records how a running line is taught: prints what a person types and what the line says, as docs/teach.md shows it.

    tools/line/teach_recording.py MODEL FOLDER      MODEL: an imported DINOv2, such as engines/dinov2-small-focus of tools/demo

FOLDER gets the pictures (zippers, drawn by tools/figures/draw_zipper.py; needs numpy and Pillow), a line, its store and its
recipe library. The camera shows 46 good zippers, then all 40 + 72 good and bad ones in turns for ever, two a second. On a machine that is too
busy for that, frames are dropped, and the script ends when a part is not what its number says. Standard
output has the recording, with seconds since the line was started. The line, and a broker on loopback, end with it.
"""
import argparse
import json
import pathlib
import subprocess
import sys
import time

from PIL import Image

from processes import WINSPECT, end_all, free_port, listens, start, until

# The line's folder is the working folder of all that is started.
PROGRAM = str(pathlib.Path(WINSPECT).resolve())
# Pictures of which the line is taught, before any bad one is shown.
FIRST = 46
LINE = """prefix = "plant"
station = "zipper"
model = "{model}"
threads = 1
[recipe]
name = "zipper"
fit = "keep"
block = 9
threshold = "auto"
[[camera]]
name = "top"
kind = "{folder}/carousel.toml"
deadline_ms = 2000
[mqtt]
port = {port}
"""
CAMERA = """live = true
endless = false
launch = \"\"\"
multifilesrc location={folder}/shown/%d.png index=0 stop-index={last} loop=true caps=image/png,framerate=2/1
  ! pngdec ! videoconvert ! identity sync=true
\"\"\"
"""


class Recording:
    """What was typed and said, with the time."""

    def __init__(self, folder):
        self.folder, self.begun = folder, time.monotonic()

    def note(self, words):
        print(f"{time.monotonic() - self.begun:6.1f} s  # {words}", flush=True)

    def type(self, *words):
        """Runs winspect, and prints what it says."""
        print(f"{time.monotonic() - self.begun:6.1f} s  $ winspect {' '.join(words)}", flush=True)
        both = {"stdout": subprocess.PIPE, "stderr": subprocess.STDOUT}
        with subprocess.Popen([PROGRAM, *words], cwd=self.folder, text=True, **both) as typed:
            for line in typed.stdout:
                print(f"{time.monotonic() - self.begun:6.1f} s  {line.rstrip()[:240]}", flush=True)
        if typed.returncode:
            raise SystemExit(f"winspect {words[0]} ended with {typed.returncode}")


class Results:
    """The results of a running line, as `winspect watch --json` has them."""

    def __init__(self, folder):
        self.child = start([PROGRAM, "watch", "line.toml", "--json"], cwd=folder, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL)

    def next(self, fits, most=400):
        """The next result that fits; results of which nothing is wanted are passed over."""
        for _ in range(most):
            result = json.loads(self.child.stdout.readline())
            if fits(result):
                return result
        raise SystemExit("no part fits")


def draw(folder):
    """Draws the pictures. Returns which of those shown are bad, in the order of the camera."""
    drawing = pathlib.Path(__file__).parent.parent / "figures" / "draw_zipper.py"
    subprocess.run([sys.executable, "-B", drawing, folder / "set"], check=True, stdout=subprocess.DEVNULL)
    good = sorted((folder / "set/train/good").glob("*.png")) + sorted((folder / "set/test/good").glob("*.png"))
    bad = sorted(file for file in (folder / "set/test").glob("*/*.png") if file.parent.name != "good")
    # Good and bad ones in turns, the good ones twice as often at first.
    mixed = [file for pair in zip(good * 2, bad) for file in pair]
    (folder / "shown").mkdir()
    shown = good[:FIRST] + mixed
    for number, file in enumerate(shown):
        (folder / f"shown/{number}.png").symlink_to(file)
    return [file in bad for file in shown]


def pixels(file):
    with Image.open(file) as picture:
        return picture.convert("RGB").tobytes()


def check_labelled(folder, kind):
    """Ends the recording if the newest picture of a kind in the library is no drawn one of that kind."""
    library = next(folder.glob("*.recipes")) / "zipper"
    newest = max((name for name in library.iterdir() if name.name.isdigit()), key=lambda name: int(name.name))
    held = set((newest / kind).iterdir())
    drawn = {pixels(file) for file in (folder / "set").glob("t*/good/*.png")}
    if any((pixels(file) in drawn) != (kind == "good") for file in held):
        raise SystemExit(f"a part was taught as {kind} that is not: the machine dropped frames; run it again")


def record(model, folder):
    is_bad = draw(folder)
    port = free_port()
    start(["mosquitto", "-p", str(port)], stderr=subprocess.DEVNULL)
    until(lambda: listens(port), 10, "the broker did not listen")
    (folder / "line.toml").write_text(LINE.format(model=model.resolve(), folder=folder, port=port))
    (folder / "carousel.toml").write_text(CAMERA.format(folder=folder, last=len(is_bad) - 1))
    tape = Recording(folder)
    tape.note("winspect run line.toml: a line without any reference")
    start([PROGRAM, "run", "line.toml"], cwd=folder, stderr=open(folder / "run.log", "w"), stdout=subprocess.DEVNULL)
    until(lambda: (folder / "zipper.sock").exists() or list(folder.glob("*.sock")), 60, "the line did not start")
    results = Results(folder)
    first = results.next(lambda result: True)
    tape.note(f"part {first['seq']}: {first['verdict']} ({first['reason']}): {first['detail']}")
    tape.type("teach", "line.toml", "--parts", "16")
    taught = results.next(lambda result: result["verdict"] != "undecided")
    tape.note(f"part {taught['seq']}: {taught['verdict']}, score {taught['score']:.3f}, by {taught['recipe']}")

    def shows(result, bad):
        # Each frame is a part, so that the number says which picture it is.
        return is_bad[(result["seq"] - 1) % len(is_bad)] == bad

    def is_near(result):
        # A fault that scores like a good part, which no threshold catches.
        return result["verdict"] == "pass" and result["score"] > 0.8 * result["threshold"]

    missed = results.next(lambda result: shows(result, True) and is_near(result))
    tape.note(f"part {missed['seq']} has a fault and passed: score {missed['score']:.3f}, threshold {missed['threshold']:.3f}")
    tape.type("label", "line.toml", "--camera", "top", "--seq", str(missed["seq"]), "--as", "bad")
    check_labelled(folder, "bad")

    def same(result, other):
        return (result["seq"] - other["seq"]) % len(is_bad) == 0

    # A known bad part scores 1, and no other part does.
    def is_known(result, recipe):
        return result["recipe"] != recipe and result["score"] > 0.99

    again = results.next(lambda result: is_known(result, missed["recipe"]))
    tape.note(f"the same zipper again, part {again['seq']}: {again['verdict']}, score {again['score']:.3f}, by {again['recipe']}")
    rejected = results.next(lambda result: result["verdict"] == "fail" and shows(result, False))
    tape.note(f"part {rejected['seq']} is good and failed: score {rejected['score']:.3f}, threshold {rejected['threshold']:.3f}")
    tape.type("label", "line.toml", "--camera", "top", "--seq", str(rejected["seq"]), "--as", "false_reject")
    check_labelled(folder, "good")
    again = results.next(lambda result: same(result, rejected) and result["recipe"] != rejected["recipe"])
    tape.note(f"the same zipper again, part {again['seq']}: {again['verdict']}, score {again['score']:.3f}, by {again['recipe']}")
    known = results.next(lambda result: is_known(result, rejected["recipe"]))
    tape.note(f"the bad zipper again, part {known['seq']}: {known['verdict']}, score {known['score']:.3f}, by {known['recipe']}")
    tape.type("recipe", "list", "line.toml")
    tape.type("recipe", "rollback", "line.toml", "zipper")
    back = results.next(lambda result: result["recipe"] != again["recipe"])
    tape.note(f"part {back['seq']}: {back['verdict']}, by {back['recipe']}")
    tape.type("status", "line.toml")


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("model", type=pathlib.Path)
    parser.add_argument("folder", type=pathlib.Path)
    asked = parser.parse_args()
    asked.folder.mkdir()
    try:
        record(asked.model, asked.folder.resolve())
    finally:
        end_all()


main()
