"""The report of tools/gpu-check says what was measured, and of the rest that it was not. Run by tools/test."""

import unittest

from report import MAIN, PYTORCH, page, report
from steps import bench, parsed, tests
from pytorch import GRID, SCALES, windows

MACHINE = {"commit": "abc", "date": "2026-01-01", "cpu": "a processor", "cores": 4, "kernel": "6", "gpu": {"name": "NVIDIA H200"}}
FRAME = {"frame_p50_ms": 2.0, "frame_p99_ms": 5.0, "kernels_ms": 0.1, "network_ms": 1.7, "kernels_percent": 5.6, "backend": "b",
         "with_network": True, "stages": {"trunk": {"p50_ms": 0.5}, "windows": {"p50_ms": 1.2}}}
WAYS = {"eager": {"p50_ms": 6.0, "p99_ms": 7.0}, "graph": {"p50_ms": 4.0, "p99_ms": 4.5}}
TORCH = {"torch": "2", "as open_clip": WAYS, "class token alone in the last block": WAYS, "gemm_tflops": 636.0, "copy_tb_s": 4.0}


def passed(step, line):
    return {"step": step, "state": "passed", "told": "", "seconds": 1.0, "json": line}


class Report(unittest.TestCase):
    def test_figures_stand_beside_their_goals_and_floors(self):
        told = report(MACHINE, [passed(MAIN, FRAME), passed(PYTORCH, TORCH)])
        self.assertAlmostEqual(told["figures"]["over_pytorch"], 0.5)
        self.assertAlmostEqual(told["figures"]["product_floor_ms"], 1.0)
        self.assertAlmostEqual(told["floors"]["arithmetic_ms"], 0.643, places=3)
        text = page(told)
        self.assertIn("| frame p50, ms | 2.5 | 2.000 | met |", text)
        self.assertIn("| frame p99, ms | 4 | 5.000 | missed |", text)

    def test_what_failed_has_no_figure_and_its_words_are_there(self):
        failed = {**passed(MAIN, FRAME), "state": "failed", "said": "no kernel for sm_90"}
        told = report(MACHINE, [failed, {"step": PYTORCH, "state": "not run", "told": "no torch"}])
        self.assertEqual(told["figures"], {})
        text = page(told)
        self.assertIn("| frame p50, ms | 2.5 | unmeasured |  |", text)
        self.assertIn("no kernel for sm_90", text)

    def test_the_libraries_are_those_that_the_doctor_found(self):
        gpu = {"name": "NVIDIA H200", "sm": 90, "memory_bytes": 150e9}
        parts = [{"part": "driver", "state": "works", "version": "13.0", "gpus": [gpu]}, {"part": "tensorrt", "state": "missing", "problem": "none\nthere"}]
        text = page(report(MACHINE, [{**passed("doctor", {"parts": parts}), "state": "failed", "said": ""}]))
        self.assertIn("| driver | works, 13.0, NVIDIA H200 (sm_90, 150 GB) |", text)
        self.assertIn("| tensorrt | missing, none |", text)

    def test_stand_ins_measure_nothing(self):
        stand_in = {**MACHINE, "gpu": {"name": "stand-in for a GPU"}}
        self.assertEqual(report(stand_in, [passed(MAIN, FRAME)])["figures"], {})


class Output(unittest.TestCase):
    def test_counts_of_tests_are_read_with_what_was_skipped(self):
        out = "test a ... skipped: only the stand-in\nok\n    gpu::b\ntest result: FAILED. 3 passed; 1 failed; 0 ignored"
        self.assertEqual(tests(out, ""), "3 passed, 1 failed, of the passed ones 1 had nothing to do here: gpu::b")

    def test_the_last_line_is_the_result(self):
        self.assertEqual(parsed('words\n{"a": 1}\n'), {"a": 1})
        self.assertIsNone(parsed("words"))
        self.assertEqual(bench("", "broken"), "")

    def test_windows_cover_the_grid(self):
        for scale, count in zip(SCALES, (196, 169)):
            rows = windows(scale)
            self.assertEqual((len(rows), len(rows[0])), (count, 1 + scale * scale))
            self.assertEqual(max(map(max, rows)), GRID * GRID)
        self.assertEqual(windows(2)[15], [0, 17, 18, 32, 33])


if __name__ == "__main__":
    unittest.main()
