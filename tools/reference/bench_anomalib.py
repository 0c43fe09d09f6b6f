"""Times WinCLIP (ViT-B-16-plus-240, random weights) of anomalib 2.7 and of winspect on one picture, in turns.

anomalib: its WinClipModel's forward pass on the preprocessed picture. winspect: `ms.total` of `winspect inspect`, from
the decoded picture to score and map; a process a round judges the picture twice and the second time counts, so loading
and warming up are outside on both sides. Both give anomalib's reading of the paper, and their scores must agree. The
peak of resident memory is that of each process's whole life, and of judging alone.
"""

import argparse
import json
import os
import statistics
import subprocess
import sys
import threading
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
WINSPECT = ROOT / "target/release/winspect"
WORK = ROOT / "target/bench-anomalib"
SEED, SHOTS, CLASS = 20, 4, "metal nut"
# The picture's 54.8 GFLOP and its windows' 618.3; without what the windows' last block computes for no one.
WHOLE, SAVED = 673, 636


def peak_mb(pid):
    """High-water mark of the resident memory; nothing when the process is gone."""
    try:
        status = Path(f"/proc/{pid}/status").read_text()
    except OSError:
        return None
    return next((int(line.split()[1]) / 1024 for line in status.splitlines() if line.startswith("VmHWM")), None)


def forget_peak(pid):
    Path(f"/proc/{pid}/clear_refs").write_text("5")


def worker(threads):
    """anomalib's side: a word on standard input, a JSON line back."""
    import reference_models
    import torch
    from check_open_clip import pillow_pixels

    torch.set_num_threads(threads)
    clip, spec = reference_models.open_clip_model(WORK / "hub")
    pixels = lambda name: pillow_pixels(WORK / f"{name}.png", 240, spec)
    picture, references = pixels("picture")[None], torch.stack([pixels(f"good_{i}") for i in range(SHOTS)])
    # One copy of the weights for both.
    models = {"zero": reference_models.anomalib_of(clip, CLASS), "few": reference_models.anomalib_of(clip, CLASS)}
    models["few"].setup(reference_images=references)
    a, b = torch.rand(2, 2048, 2048)
    print(json.dumps({"ready": peak_mb("self")}), flush=True)
    forget_peak("self")
    for word in sys.stdin:
        started = time.perf_counter()
        answer = a @ b if word.strip() == "gemm" else models[word.strip()](picture)
        ms = (time.perf_counter() - started) * 1e3
        score = None if word.strip() == "gemm" else float(answer.pred_score)
        print(json.dumps({"ms": ms, "score": score, "peak": peak_mb("self")}), flush=True)


class Anomalib:
    def __init__(self, threads):
        environment = os.environ | {"OMP_NUM_THREADS": str(threads), "MKL_NUM_THREADS": str(threads)}
        command = [sys.executable, "-B", "-W", "ignore", __file__, "--worker", "--threads", str(threads)]
        pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "text": True}
        self.process = subprocess.Popen(command, **pipes, env=environment)
        self.life_mb = self.answer()["ready"]

    def answer(self):
        line = self.process.stdout.readline()
        if not line:
            raise SystemExit("anomalib's process ended; what it said stands above")
        return json.loads(line)

    def ask(self, word):
        self.process.stdin.write(word + "\n")
        self.process.stdin.flush()
        made = self.answer()
        self.life_mb = max(self.life_mb, made["peak"])
        return made


def winspect_once(few, threads):
    """ms.total and score of the second time, and the peaks of the process's life and of judging, in MB."""
    references = [w for i in range(SHOTS if few else 0) for w in ("--reference", WORK / f"good_{i}.png")]
    command = [WINSPECT, "inspect", "--model", WORK / "model", "--class-name", CLASS, "--preset", "anomalib",
               "--threads", threads, *references, WORK / "picture.png", WORK / "again.png"]  # fmt: skip
    process = subprocess.Popen(list(map(str, command)), stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    peaks = {"life": 0.0, "judging": 0.0}

    def watch():
        while process.poll() is None:
            peaks["life"] = max(peaks["life"], peak_mb(process.pid) or 0.0)
            peaks["judging"] = peak_mb(process.pid) or peaks["judging"]
            time.sleep(0.05)

    watcher = threading.Thread(target=watch)
    watcher.start()
    process.stdout.readline()
    forget_peak(process.pid)
    last = process.stdout.readline()
    watcher.join()
    if process.wait() or not last:
        raise SystemExit(f"winspect ended with {process.returncode}:\n{process.stderr.read()}")
    made = json.loads(last)
    return {"ms": made["ms"]["total"], "parts": made["ms"], "score": made["score"], **peaks}


def prepare():
    """The weights and pictures, drawn once."""
    from reference_models import OpenClip
    from check_open_clip import PLUS_240, draw

    if not (WORK / "hub/open_clip_model.safetensors").exists():
        OpenClip(WORK / "hub", {"model_cfg": PLUS_240}, SEED, "fp32")
    if not (WORK / "model/model.toml").exists():
        subprocess.run([WINSPECT, "model", "import", WORK / "hub", WORK / "model"], check=True, stdout=sys.stderr)
    for seed, name in enumerate(["picture", *(f"good_{i}" for i in range(SHOTS))]):
        draw(WORK / f"{name}.png", (1280, 720), SEED + seed)
    (WORK / "again.png").write_bytes((WORK / "picture.png").read_bytes())


def load():
    return os.getloadavg()[0]


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--worker", action="store_true", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.worker:
        return worker(arguments.threads)

    prepare()
    anomalib = Anomalib(arguments.threads)
    runs = {(who, mode): [] for who in ("anomalib", "winspect") for mode in ("zero", "few")}
    loads, gemm = {"zero": [], "few": []}, []
    for word in ("zero", "few", "gemm"):
        anomalib.ask(word)
    for number in range(arguments.rounds):
        for mode in ("zero", "few"):
            loads[mode].append(load())
            gemm += [anomalib.ask("gemm")["ms"] for _ in range(3)]
            runs["anomalib", mode].append(anomalib.ask(mode))
            runs["winspect", mode].append(winspect_once(mode == "few", arguments.threads))
            pair = [runs[who, mode][-1]["ms"] for who in ("anomalib", "winspect")]
            print(f"round {number + 1} {mode}: anomalib {pair[0]:.0f} ms, winspect {pair[1]:.0f} ms", file=sys.stderr)
    report(arguments, runs, loads, gemm, anomalib)


def report(arguments, runs, loads, gemm, anomalib):
    median = lambda who, mode, key: statistics.median(run[key] for run in runs[who, mode])
    peak = 2 * 2048**3 / 1e6 / min(gemm)
    out = {"threads": arguments.threads, "rounds": arguments.rounds, "gemm_gflops": peak}
    print(f"{'':<16}{'anomalib':>12}{'winspect':>12}{'ratio':>8}{'score apart':>13}{'load':>12}")
    agreed = True
    for mode, title in (("zero", "zero-shot"), ("few", f"{SHOTS} references")):
        theirs, ours = (median(who, mode, "ms") for who in ("anomalib", "winspect"))
        apart = max(abs(a["score"] - b["score"]) for a in runs["anomalib", mode] for b in runs["winspect", mode])
        agreed &= apart < 1e-3
        span = f"{min(loads[mode]):.1f}-{max(loads[mode]):.1f}"
        print(f"{title:<16}{theirs:>9.0f} ms{ours:>9.0f} ms{ours / theirs:>8.2f}{apart:>13.1e}{span:>12}")
        out[mode] = {"anomalib_ms": theirs, "winspect_ms": ours, "ratio": ours / theirs, "score_apart": apart,
                     "anomalib_all_ms": [run["ms"] for run in runs["anomalib", mode]],
                     "winspect_all_ms": [run["ms"] for run in runs["winspect", mode]],
                     "winspect_parts_ms": runs["winspect", mode][-1]["parts"], "loadavg": loads[mode]}  # fmt: skip
    for key, title in (("judging", "memory, judging"), ("life", "memory, in all")):
        ours = max(run[key] for mode in ("zero", "few") for run in runs["winspect", mode])
        judging = max(run["peak"] for mode in ("zero", "few") for run in runs["anomalib", mode])
        theirs = judging if key == "judging" else anomalib.life_mb
        print(f"{title:<16}{theirs:>9.0f} MB{ours:>9.0f} MB{ours / theirs:>8.2f}")
        out[f"{key}_peak_mb"] = {"anomalib": theirs, "winspect": ours}
    print(f"sgemm 2048^3 (torch, {arguments.threads} threads, best of {len(gemm)}): {peak:.0f} GFLOP/s; at that speed "
          f"{WHOLE} GFLOP take {WHOLE / peak * 1e3:.0f} ms, {SAVED} GFLOP {SAVED / peak * 1e3:.0f} ms")  # fmt: skip
    print(json.dumps(out))
    if not agreed:
        raise SystemExit("the scores differ by more than 1e-3: not the same work was timed")


if __name__ == "__main__":
    main()
