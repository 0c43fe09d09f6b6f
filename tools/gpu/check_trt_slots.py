#!/usr/bin/env python3
"""Checks the slot tables of src/engine/tensorrt/vtable.rs against TensorRT's headers.

    tools/gpu/check_trt_slots.py              the headers that the crate trtx-sys carries (TensorRT 11, TensorRT-RTX),
                                          fetched by cargo into target/trt-headers
    tools/gpu/check_trt_slots.py FOLDER ...   headers of an installed TensorRT, such as /usr/include/aarch64-linux-gnu

A virtual function's slot is its place among the virtual functions of its class, in order of declaration; a virtual
destructor takes two. One line for each folder; exits 1 when a slot is another one.
"""

import pathlib
import re
import subprocess
import sys

ROOT = pathlib.Path(__file__).resolve().parents[2]
TABLES = ROOT / "src/engine/tensorrt/vtable.rs"
CRATE = "trtx-sys"
VERSION = "=0.9.1"


def tables():
    """{table: {"Class::method": slot}}, as the Rust file says."""
    text = TABLES.read_text()
    methods = {}
    for name, body in re.findall(r"pub struct (\w+) \{(.*?)\n\}", text, re.S):
        methods[name] = dict((field, method) for method, field in re.findall(r"/// `(\w+::~?\w+)`.*?\n\s+pub (\w+): usize", body))
    found = {}
    for table, kind, body in re.findall(r"pub const (\w+): (\w+) = \w+ \{(.*?)\};", text, re.S):
        values = {field: int(slot) for field, slot in re.findall(r"(\w+): (\d+)", body)}
        found[table] = {method: values[field] for field, method in methods[kind].items()}
    return found


def without_comments(text):
    return re.sub(r"//[^\n]*", "", re.sub(r"/\*.*?\*/", "", text, flags=re.S))


def body_of(name, text):
    """What stands between a class's braces, its bases, or nothing."""
    start = re.search(r"\bclass\s+(?:\w+\s+)?%s\b([^;{]*)\{" % name, text)
    if not start:
        return None
    depth, at = 1, start.end()
    while depth and at < len(text):
        depth += {"{": 1, "}": -1}.get(text[at], 0)
        at += 1
    bases = re.findall(r"public\s+([\w:]+)", start.group(1))
    return bases, text[start.end() : at - 1]


def flat(body):
    """A class's body without the bodies of its functions."""
    out, depth = [], 0
    for letter in body:
        if letter == "}":
            depth -= 1
            out.append(";" if depth == 0 else "")
        elif letter == "{":
            depth += 1
        elif depth == 0:
            out.append(letter)
    return "".join(out)


def slots(name, text):
    """{method: slot} of a class; overloads count, the first is named. Nothing when the class is not there."""
    found = body_of(name, text)
    if found is None:
        return None
    order = {}
    for base in found[0]:
        inherited = slots(base.split("::")[-1], text)
        if inherited:
            order.update(inherited)
    place = max(order.values(), default=-1) + 1
    if any(key.startswith("~") for key in order):
        place = max(place, order[next(key for key in order if key.startswith("~"))] + 2)
    for statement in flat(found[1]).split(";"):
        method = re.search(r"\bvirtual\b.*?(~?\w+)\s*\(", statement, re.S)
        if not method:
            continue
        method = method.group(1)
        if method.startswith("~"):
            if not any(key.startswith("~") for key in order):
                order[method] = place
                place += 2
        else:
            order.setdefault(method, place)
            place += 1
    return order


def version(folder):
    """("rtx" or "enterprise", major, minor)"""
    text = (folder / "NvInferVersion.h").read_text()
    for kind, suffix in (("rtx", "_RTX"), ("enterprise", "_ENTERPRISE"), ("enterprise", "")):
        numbers = [re.search(r"#define (?:TRT|NV_TENSORRT)_%s%s +(\d+)" % (part, suffix), text) for part in ("MAJOR", "MINOR")]
        if all(numbers):
            return kind, int(numbers[0].group(1)), int(numbers[1].group(1))
    raise SystemExit(f"{folder}/NvInferVersion.h: no version in it")


def tables_for(kind, major, minor):
    if kind == "rtx":
        return ["ELEVEN", "RTX"] if major == 1 and minor >= 5 else []
    return {10: ["TEN"], 11: ["ELEVEN"]}.get(major, [])


def check(folder, ours):
    kind, major, minor = version(folder)
    title = f"TensorRT{'-RTX' if kind == 'rtx' else ''} {major}.{minor}"
    wanted = tables_for(kind, major, minor)
    if not wanted:
        print(f"{title}: no table is meant for it")
        return True
    text = without_comments("\n".join(file.read_text() for file in sorted(folder.glob("NvInfer*.h")) + sorted(folder.glob("NvOnnxParser.h"))))
    wrong, right, absent = [], 0, set()
    for table in wanted:
        for method, slot in ours[table].items():
            owner, name = method.split("::")
            there = slots(owner, text)
            if there is None:
                absent.add(owner)
            elif there.get(name) != slot:
                wrong.append(f"{table}: {method} is slot {there.get(name)}, the table says {slot}")
            else:
                right += 1
    note = f" (not in these headers: {', '.join(sorted(absent))})" if absent else ""
    print(f"{title}: {right} slots right, {len(wrong)} wrong{note}")
    for line in wrong:
        print(f"  {line}")
    return not wrong and right > 0


def fetched():
    """The folders of headers inside the crate's source."""
    home = ROOT / "target/trt-headers"
    (home / "src").mkdir(parents=True, exist_ok=True)
    (home / "src/lib.rs").touch()
    (home / "Cargo.toml").write_text(
        f'[package]\nname = "trt-headers"\nversion = "0.1.0"\nedition = "2021"\n\n[dependencies]\n{CRATE} = "{VERSION}"\n\n[workspace]\n'
    )
    subprocess.run(["cargo", "vendor", "--quiet", "vendor"], cwd=home, check=True, stdout=subprocess.DEVNULL)
    return sorted(file.parent for file in (home / "vendor" / CRATE).rglob("NvInferVersion.h"))


def main():
    folders = [pathlib.Path(word) for word in sys.argv[1:]] or fetched()
    ours = tables()
    if not all([check(folder, ours) for folder in folders]):
        raise SystemExit(1)


if __name__ == "__main__":
    main()
