"""The report of tools/gpu-check: what came of each step, each figure beside the floor under it and the goal for it.

A figure that no step gave is `unmeasured`; none is filled in from elsewhere.
"""

# NVIDIA's datasheets of the SXM modules: dense fp16 on tensor cores, in FLOP/s; device memory, in bytes/s.
CHIPS = {"H200": (989e12, 4.8e12), "H100": (989e12, 3.35e12)}
# ViT-B-16-plus-240, zero-shot and references, one picture: src/engine/flop.rs; as open_clip computes it, the class
# token is not the only one that asks in the last block.
FLOP, FLOP_OPEN_CLIP = 636e9, 673e9
# Both networks read the vision tower's weights once: 12 blocks of 12 * 896 * 896 in fp16.
WEIGHT_BYTES = 2 * 12 * 12 * 896**2 * 2

MAIN = "TensorRT fp16, 4 references"
ALONE = "kernels and graph, no network, 4 references"
PYTORCH = "PyTorch fp16"
# What is asked of an H200; the goals of docs/gpu-results.md.
GOALS = [
    ("frame p50, ms", 2.5, lambda figures: figures.get("frame_p50_ms")),
    ("frame p99, ms", 4.0, lambda figures: figures.get("frame_p99_ms")),
    ("our kernels, % of them and the network", 8.0, lambda figures: figures.get("kernels_percent")),
    ("frame p50 over PyTorch's", 0.6, lambda figures: figures.get("over_pytorch")),
]


def report(machine, results):
    """All that was found, for `report.json`."""
    chip = next((name for name in CHIPS if name in machine["gpu"].get("name", "")), None)
    is_real = "stand-in" not in machine["gpu"].get("name", "")
    return {"machine": machine, "figures": figures(results, chip) if is_real else {}, "floors": floors(chip), "steps": results}


def floors(chip):
    """Milliseconds below which no picture goes on this chip; nothing where its peaks are not known here."""
    if chip is None:
        return {}
    flops, bandwidth = CHIPS[chip]
    return {"chip": chip, "arithmetic_ms": FLOP / flops * 1e3, "arithmetic_open_clip_ms": FLOP_OPEN_CLIP / flops * 1e3,
            "weights_ms": WEIGHT_BYTES / bandwidth * 1e3}


def line_of(results, name):
    """The JSON of a step that passed."""
    found = [result for result in results if result["step"] == name and result["state"] == "passed"]
    return (found[0].get("json") if found else None) or {}


def figures(results, chip):
    """What the goals are about; what is missing was not measured."""
    main, alone, pytorch = (line_of(results, name) for name in (MAIN, ALONE, PYTORCH))
    found = {key: main[key] for key in ("frame_p50_ms", "frame_p99_ms", "kernels_ms", "network_ms", "kernels_percent") if key in main}
    if "kernels_ms" in alone:
        found["kernels_alone_ms"], found["frame_without_network_p50_ms"] = alone["kernels_ms"], alone["frame_p50_ms"]
    ways = [way for name in pytorch for way in ("eager", "graph") if isinstance(pytorch[name], dict)
            for way in [pytorch[name].get(way)] if way]
    if ways:
        found["pytorch_best_p50_ms"] = min(way["p50_ms"] for way in ways)
        found["gemm_tflops"], found["copy_tb_s"] = pytorch["gemm_tflops"], pytorch["copy_tb_s"]
        found["product_floor_ms"] = FLOP / pytorch["gemm_tflops"] / 1e9
    if "frame_p50_ms" in found and ways:
        found["over_pytorch"] = found["frame_p50_ms"] / found["pytorch_best_p50_ms"]
    for key, floor in (("over_peak_floor", floors(chip).get("arithmetic_ms")), ("over_product_floor", found.get("product_floor_ms"))):
        if floor and "frame_p50_ms" in found:
            found[key] = found["frame_p50_ms"] / floor
    return found


def number(value, digits=3):
    return "unmeasured" if value is None else f"{value:.{digits}f}"


def page(report):
    """`report.md`."""
    machine, found = report["machine"], report["figures"]
    gpu = machine["gpu"]
    parts = [f"# tools/gpu-check, {machine['date']}", ""]
    parts += table(("", ""), [
        ("commit", machine["commit"]),
        ("GPU", ", ".join(f"{key.replace('_', ' ')} {value}" if key != "name" else value for key, value in gpu.items()) or "none that nvidia-smi knows"),
        ("processor", f"{machine['cpu']}, {machine['cores']} cores, Linux {machine['kernel']}"),
        *libraries(report["steps"]),
    ])
    parts += ["## Goals", "", "ViT-B-16-plus-240, random weights, zero-shot and 4 references, fp16, one picture of 1280 x 720, asked of an H200.", ""]
    parts += table(("", "goal, at most", "here", ""), [goal(what, limit, of(found)) for what, limit, of in GOALS])
    parts += ["## Floors", ""] + floor_lines(report["floors"], found)
    parts += ["## Runs", ""] + runs(report["steps"])
    parts += ["## Steps", ""]
    parts += table(("step", "result", "s", ""), [
        (result["step"], result["state"], number(result.get("seconds"), 0) if "seconds" in result else "", result["told"].replace("|", "/"))
        for result in report["steps"]
    ])
    for result in report["steps"]:
        if result["state"] in ("failed", "timed out"):
            parts += [f"### {result['step']}: {result['state']}", "", "```", result.get("said", "").strip()[-3000:], "```", ""]
    return "\n".join(parts).rstrip() + "\n"


def goal(what, limit, value):
    met = "" if value is None else "met" if value <= limit else "missed"
    return what, f"{limit:g}", number(value), met


def libraries(steps):
    """What `winspect doctor --json` found, a row each."""
    doctor = next((result.get("json") for result in steps if result["step"] == "doctor"), None) or {}
    rows = []
    for part in doctor.get("parts", []):
        gpus = [f"{gpu['name']} (sm_{gpu['sm']}, {gpu['memory_bytes'] / 1e9:.0f} GB)" for gpu in part.get("gpus", [])]
        problem = (part.get("problem") or "").partition("\n")[0]
        words = [part["state"], part.get("version"), *gpus, problem]
        rows.append((part["part"], ", ".join(word for word in words if word).replace("|", "/")))
    return rows


def floor_lines(floors, found):
    rows = []
    if floors:
        rows += [(f"636 GFLOP at the {floors['chip']}'s 989 TFLOP/s", number(floors["arithmetic_ms"])),
                 ("673 GFLOP (as open_clip computes it) at the same", number(floors["arithmetic_open_clip_ms"])),
                 ("reading both networks' weights once from device memory", number(floors["weights_ms"]))]
    rows += [(f"636 GFLOP at the speed of PyTorch's large product, {number(found.get('gemm_tflops'), 0)} TFLOP/s", number(found.get("product_floor_ms"))),
             ("a frame's p50 over the first floor", number(found.get("over_peak_floor"), 2)),
             ("a frame's p50 over the product's", number(found.get("over_product_floor"), 2)),
             ("a copy on the device, TB/s read and written", number(found.get("copy_tb_s"), 2))]
    return table(("floor", "ms or ratio"), rows)


def runs(steps):
    """Every bench that gave a figure, and its stages."""
    rows, stages = [], []
    for result in steps:
        line = result.get("json") or {}
        if "frame_p50_ms" in line:
            share = line.get("kernels_percent")
            rows.append((result["step"], line["backend"], number(line["frame_p50_ms"]), number(line["frame_p99_ms"]),
                         number(line["kernels_ms"]), number(line.get("network_ms")) if line["with_network"] else "not run",
                         "" if share is None else f"{share:.1f}"))
            stages.append((result["step"], ", ".join(
                f"{name} {stage}" if isinstance(stage, str) else f"{name} {stage['p50_ms']:.3f}" for name, stage in line["stages"].items())))
        elif "frame_ms" in line:
            rows.append((result["step"], "onnx-fp32", number(line["frame_ms"], 1), "", "", "", ""))
        elif isinstance(line.get("as open_clip"), dict):
            for name in ("as open_clip", "class token alone in the last block"):
                for way in ("eager", "graph"):
                    took = line[name][way]
                    rows.append((f"{result['step']}, {name}, {way}; the encoder alone", f"torch {line['torch']}",
                                 number(took["p50_ms"]), number(took["p99_ms"]), "", "", ""))
    head = ("run", "by", "p50 ms", "p99 ms", "kernels ms", "network ms", "kernels %")
    told = table(head, rows) if rows else ["Nothing was measured.", ""]
    return told + (table(("stages, p50 ms", ""), stages) if stages else [])


def table(head, rows):
    lines = [f"| {' | '.join(head)} |", f"|{'---|' * len(head)}"]
    return lines + [f"| {' | '.join(row)} |" for row in rows] + [""]
