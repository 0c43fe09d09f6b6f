"""What `run` of a folder packed by tools/gpu-check does once that is unpacked: every step under its own time limit, each
with a line of result also when others fail, the most valuable ones first, none begun that the time left would cut.

    python3 steps.py ROOT OUT --ends EPOCH [--stand-ins]

Writes OUT/report.json, OUT/report.md and OUT/output.txt (all that the steps said). Ends with 0 when every step that was
run passed, with 1 otherwise.
"""

import argparse
import ctypes
import glob
import json
import os
import pathlib
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import time

from report import page, report

NVRTC = ("libnvrtc.so", "libnvrtc.so.13", "libnvrtc.so.12")
# Where containers and the CUDA toolkit put what the loader does not know.
DRIVERS = ("/usr/local/nvidia/lib64", "/usr/local/nvidia/lib")
TOOLKITS = ("/usr/local/cuda*/lib64", "/usr/local/cuda*/targets/*/lib")
# GPUs that TensorRT-RTX builds plans for without having them; the nearest to those that it refuses to build for first.
OTHERS = (89, 120, 86)
QUERY = "name,driver_version,memory.total,pstate,clocks.sm,clocks.max.sm,clocks.mem,power.limit,compute_cap"


class Steps:
    """Runs commands and keeps what came of them."""

    def __init__(self, root, out, work, ends):
        self.root, self.out, self.work, self.ends = root, out, work, ends
        self.results = []
        self.env = {**os.environ, "WINSPECT_TEST_ROOT": str(root)}
        self.log = open(out / "output.txt", "w", encoding="utf-8")

    def left(self):
        return self.ends - time.time()

    def note(self, name, state, told="", **more):
        result = {"step": name, "state": state, "told": told, **more}
        self.results.append(result)
        print(f"{state:<10} {name:<44} {told}".rstrip(), flush=True)
        return result

    def run(self, name, command, limit, needs=None, tell=None, env=None, absent=-1):
        """`needs`: seconds without which it is not worth its beginning; `tell`: what a result says in one line; `absent`:
        the exit code that says that what it is about is not here."""
        needs = needs or limit / 3
        if self.left() < needs:
            return self.note(name, "not run", f"{self.left():.0f} s are left, it may need {needs:.0f}")
        limit = min(limit, self.left())
        started = time.time()
        code, out, err = self.ended([str(word) for word in command], limit, {**self.env, **(env or {})})
        seconds = time.time() - started
        self.log.write(f"== {name}: {' '.join(str(word) for word in command)}\n{out}{err}== {code}, {seconds:.1f} s\n\n")
        self.log.flush()
        state = {0: "passed", None: "timed out", absent: "not run"}.get(code, "failed")
        if state == "timed out":
            told = f"not done after {limit:.0f} s"
        elif state != "passed" and not (tell and tell(out, err)):
            told = last_line(err) or last_line(out) or f"ended with {code}"
        else:
            told = (tell and tell(out, err)) or ""
        return self.note(name, state, told, seconds=round(seconds, 1), code=code, said=(out + err)[-6000:], json=parsed(out))

    def ended(self, command, limit, env):
        """Exit code (nothing: it was stopped at the limit), and both outputs."""
        with tempfile.TemporaryFile() as out, tempfile.TemporaryFile() as err:
            try:
                child = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=out, stderr=err, env=env,
                                         cwd=self.work, start_new_session=True)
            except OSError as error:
                return 127, "", f"{error}\n"
            try:
                code = child.wait(timeout=limit)
            except subprocess.TimeoutExpired:
                os.killpg(child.pid, signal.SIGKILL)
                child.wait()
                code = None
            texts = []
            for file in (out, err):
                file.seek(0)
                texts.append(file.read().decode("utf-8", "replace"))
            return code, *texts


def last_line(text):
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    return lines[-1] if lines else ""


def parsed(text):
    """The JSON line at the end, where there is one."""
    try:
        found = json.loads(last_line(text) or "null")
    except ValueError:
        return None
    return found if isinstance(found, dict) else None


def tests(out, err):
    """What a test binary says at its end, and what it skipped."""
    counts = re.search(r"test result: .*?(\d+) passed; (\d+) failed", out)
    skipped = len(re.findall(r"skipped: ", out + err))
    failed = re.findall(r"^    ([\w:]+)$", out, re.MULTILINE)
    if not counts:
        return ""
    told = f"{counts[1]} passed, {counts[2]} failed"
    if skipped:
        told += f", of the passed ones {skipped} had nothing to do here"
    return told + (": " + ", ".join(sorted(set(failed))[:6]) if failed else "")


def bench(out, err):
    """The figure of a bench, or nothing."""
    line = parsed(out) or {}
    if "frame_p50_ms" in line:
        kernels = f"kernels {line['kernels_ms']:.3f} ms"
        network = "" if line["with_network"] else ", network not run"
        return f"p50 {line['frame_p50_ms']:.3f} ms, p99 {line['frame_p99_ms']:.3f} ms, {kernels}{network}"
    return f"{line['frame_ms']:.1f} ms a frame" if "frame_ms" in line else ""


def doctor(out, err):
    report = parsed(out) or {}
    return f"judges with {report.get('backend')}, the best here is {report.get('best')}" if report else ""


class Check:
    def __init__(self, steps, stand_ins):
        self.steps, self.stand_ins = steps, stand_ins
        self.bin = steps.root / "bin"
        self.winspect, self.model = self.bin / "winspect", steps.work / "model"
        self.runs = 3 if stand_ins else 500
        self.gpu = {}

    def libraries(self):
        """Puts folders that the loader does not know into its path."""
        folders = [self.steps.root / "stand-ins"] if self.stand_ins else []
        folders += [] if self.stand_ins or loads(["libcuda.so.1"]) else holding(DRIVERS, ["libcuda.so.1"])[:1]
        if not self.stand_ins and not loads(NVRTC):
            packages = [f"{folder}/nvidia/*/lib" for folder in sys.path if folder.endswith("-packages")]
            folders += holding((*TOOLKITS, *packages), NVRTC)[:1]
        known = os.environ.get("LD_LIBRARY_PATH")
        path = ":".join([*map(str, folders), *([known] if known else [])])
        if path:
            self.steps.env["LD_LIBRARY_PATH"] = path
        return path

    def machine(self):
        code, out, _ = self.steps.ended(["nvidia-smi", f"--query-gpu={QUERY}", "--format=csv,noheader,nounits"], 20, self.steps.env)
        values = [value.strip() for value in out.splitlines()[0].split(",")] if code == 0 and out.strip() else []
        self.gpu = dict(zip(QUERY.split(","), values))
        if self.stand_ins:
            self.gpu = {"name": "stand-in for a GPU (nothing is measured)"}
        commit = (self.steps.root / "commit").read_text(encoding="utf-8").strip()
        cpu = re.search(r"model name\s*: (.*)", pathlib.Path("/proc/cpuinfo").read_text(encoding="utf-8"))
        return {"commit": commit, "date": time.strftime("%Y-%m-%d %H:%M UTC", time.gmtime()), "gpu": self.gpu,
                "cpu": cpu[1] if cpu else "unknown", "cores": os.cpu_count(), "kernel": os.uname().release,
                "python": sys.version.split()[0], "library_path": self.steps.env.get("LD_LIBRARY_PATH", "")}

    def all(self):
        found = self.steps.run("doctor", [self.winspect, "doctor", "--json"], 40, needs=5, tell=doctor).get("json") or {}
        drivers = [part for part in found.get("parts", []) if part["part"] == "driver"]
        if any(driver["state"] != "works" for driver in drivers):
            self.steps.note("everything on a GPU", "not run", "the doctor found no driver with a GPU that works")
            if self.make_model():
                self.on_cpu()
            return
        if not self.make_model():
            self.test()
            return
        ran = self.tensorrt()
        self.bench("kernels and graph, no network, 4 references", "fp16", 4, ["--without-network"])
        self.bench("kernels and graph, no network, zero-shot", "fp16", 0, ["--without-network"])
        command = [sys.executable, "-B", self.steps.root / "pytorch.py"]
        self.steps.run("PyTorch fp16", command, 60, needs=20, tell=torch, absent=69)
        self.test()
        if ran:
            self.bench("TensorRT fp32, 4 references", "fp32", 4, [], limit=90)
        else:
            self.steps.note("TensorRT fp32, 4 references", "not run", "TensorRT ran no fp16 plan on this GPU")
        self.on_cpu()
        for sm in () if ran else OTHERS[1:]:
            self.foreign(sm)

    def on_cpu(self):
        self.bench("CPU fp32, 4 references", None, 4, [], limit=120, runs=5)
        self.bench("CPU fp32, zero-shot", None, 0, [], limit=120, runs=5)

    def make_model(self):
        """ViT-B-16-plus-240 with random weights; on stand-ins a tiny model, which they can compute."""
        if self.stand_ins:
            source = self.steps.root / "tests/golden/open-clip-tiny"
        else:
            source = self.steps.work / "hub"
            made = self.steps.run("random weights", [self.bin / "random_clip", 1, source], 60, needs=10)
            if made["state"] != "passed":
                return False
        command = [self.winspect, "model", "import", source, self.model]
        return self.steps.run("model", command, 90, needs=15)["state"] == "passed"

    def tensorrt(self):
        """Whether a plan ran. Built here; where that fails, one built for another GPU is tried, for the library's words."""
        if self.stand_ins:
            self.steps.note("TensorRT builds a plan here", "not run", "on stand-ins ONNX Runtime is the network")
        else:
            command = [self.winspect, "engine", "build", self.model, "--precision", "fp16", "--looks", 4]
            self.steps.run("TensorRT builds a plan here", command, 90, needs=20)
        ran = self.bench("TensorRT fp16, 4 references", "fp16", 4, [], limit=75)["state"] == "passed"
        if ran:
            self.bench("TensorRT fp16, zero-shot", "fp16", 0, [])
        else:
            self.steps.note("TensorRT fp16, zero-shot", "not run", "the plan did not run with references")
            self.foreign(OTHERS[0])
        return ran

    def foreign(self, sm):
        """A plan for another GPU, said to be for this one: what does the library say when it is run?"""
        plans = self.model / "plans"
        shutil.rmtree(plans, ignore_errors=True)
        build = [self.winspect, "engine", "build", self.model, "--precision", "fp16", "--looks", 4, "--for", sm]
        if self.steps.run(f"TensorRT-RTX builds for sm_{sm}", build, 60, needs=15)["state"] != "passed":
            return
        capability = self.gpu.get("compute_cap", "0").replace(".", "")
        for manifest in plans.glob("*/plan.toml"):
            text = manifest.read_text(encoding="utf-8")
            manifest.write_text(re.sub(r"(?m)^sm = .*$", f"sm = [{capability}]", text), encoding="utf-8")
        self.bench(f"the plan for sm_{sm} on sm_{capability}", "fp16", 4, [], limit=60)

    def bench(self, name, precision, references, flags, limit=60, runs=None):
        """`precision`: nothing is the CPU."""
        command = [self.winspect, "bench", "--model", self.model, "--references", references, "--runs", runs or self.runs]
        command += ["--backend", "tensorrt", "--precision", precision] if precision else ["--backend", "onnx"]
        result = self.steps.run(name, [*command, *flags], limit, needs=15, tell=bench)
        result["bench"] = {"precision": precision, "references": references}
        return result

    def test(self):
        """With a GPU required: what finds none fails."""
        needed = {"WINSPECT_REQUIRE": "gpu"}
        for name, program, only in (("tests of the kernels and the engine", "test-lib", "engine::"),
                                    ("tests of the driver", "test-it", "stand_ins::"),
                                    ("tests of the GPU path", "test-it", "gpu::")):
            command = [self.bin / program, only, "--nocapture", *self.left_out(only)]
            self.steps.run(name, command, 600 if self.stand_ins else 120, needs=10, tell=tests, env=needed)
        sanitizer = shutil.which("compute-sanitizer") or next(iter(glob.glob("/usr/local/cuda*/bin/compute-sanitizer")), None)
        name = "memory of the kernels (compute-sanitizer)"
        if not sanitizer:
            self.steps.note(name, "not run", "no compute-sanitizer here")
        elif self.stand_ins:
            self.steps.note(name, "not run", "stand-ins")
        else:
            command = [sanitizer, "--tool", "memcheck", "--error-exitcode", 9, self.bin / "test-lib", "engine::cuda",
                       "--nocapture", "--test-threads", 1]
            self.steps.run(name, command, 90, needs=20, tell=sanitized, env=needed)

    def left_out(self, only):
        """Tests that need what is not packed, and those that take minutes on the stand-ins and belong to tools/test."""
        if only == "engine::":
            return ["--skip", "graphs::"]
        return ["--skip", "whatever_call_fails", "--skip", "a_frame_"] if only == "gpu::" else []


def torch(out, err):
    line = parsed(out) or {}
    runs = line.get("as open_clip")
    if not runs:
        return ""
    return f"p50 {runs['eager']['p50_ms']:.3f} ms, as a CUDA graph {runs['graph']['p50_ms']:.3f} ms ({line['torch']})"


def sanitized(out, err):
    found = re.findall(r"=+ ERROR SUMMARY: .*", out + err)
    return found[-1].lstrip("= ") if found else ""


def loads(names):
    for name in names:
        try:
            ctypes.CDLL(name)
            return True
        except OSError:
            pass
    return False


def holding(patterns, names):
    """The folders that hold one of the names."""
    folders = [folder for pattern in patterns for folder in sorted(glob.glob(pattern), reverse=True)]
    return [folder for folder in folders if any(os.path.exists(os.path.join(folder, name)) for name in names)]


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("root", type=pathlib.Path)
    parser.add_argument("out", type=pathlib.Path)
    parser.add_argument("--ends", type=float, required=True)
    parser.add_argument("--stand-ins", action="store_true")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="gpu-check-") as work:
        steps = Steps(arguments.root, arguments.out, pathlib.Path(work), arguments.ends)
        check = Check(steps, arguments.stand_ins)
        check.libraries()
        machine = check.machine()
        try:
            check.all()
        finally:
            made = report(machine, steps.results)
            (arguments.out / "report.json").write_text(json.dumps(made, indent=1) + "\n", encoding="utf-8")
            (arguments.out / "report.md").write_text(page(made), encoding="utf-8")
    return 1 if any(result["state"] in ("failed", "timed out") for result in steps.results) else 0


if __name__ == "__main__":
    sys.exit(main())
