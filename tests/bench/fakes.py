"""Stand-ins for other engines: a llama-bench and a llama-completion script, and packages of the same interface."""

from __future__ import annotations

import sys
from pathlib import Path

BENCH = '''#!{python}
"""A llama-bench that says 100 tokens/s for prompts and 20 for generation; --mode crash, hang, silent, wrong, once."""
import json, os, sys, time
words = dict(zip(sys.argv[1::2], sys.argv[2::2]))
mode = words.get("--mode")
if mode == "hang":
    time.sleep(600)
if mode == "crash":
    sys.exit("error: no such tensor")
if mode == "kill":
    os.kill(os.getpid(), 9)
if mode == "nodepth" and "-d" in words:
    sys.exit("error: invalid parameter for argument: -d")
p, n, d = (int(words.get(key, 0)) for key in ("-p", "-n", "-d"))
took = int(1e9 * (p / 100 + n / 20))
entry = dict(n_prompt=p + (mode == "wrong"), n_gen=n, n_depth=d, avg_ns=took, samples_ns=[took] * int(words["-r"]))
if mode == "old":
    del entry["n_depth"], entry["samples_ns"]
if mode != "silent":
    print("loading", words["-m"])
    print(json.dumps([entry], indent=1))
'''
CLI = '''#!{python}
import sys, time
words = dict(zip(sys.argv[1::2], sys.argv[2::2]))
assert "-no-cnv" in sys.argv and ("-p" in sys.argv or "-f" in sys.argv)
if "-f" in sys.argv:
    assert len(open(sys.argv[sys.argv.index("-f") + 1]).read()) > 20
    ballast = b"x" * 60_000_000
time.sleep(0.2)
print("Paris", flush=True)
time.sleep(0.3)
'''
LLAMA_CPP = """
__version__ = "1.2.3"
import time
class Llama:
    def __init__(self, model_path, n_ctx, n_batch, n_ubatch, n_threads, n_threads_batch, verbose):
        print("noise on stdout")
        self.n_ctx, self.n_tokens = n_ctx, 0
    def n_vocab(self):
        return 100
    def eval(self, tokens):
        assert tokens and all(0 <= t < 100 for t in tokens) and self.n_tokens + len(tokens) <= self.n_ctx
        time.sleep(0.001 * len(tokens))
        self.n_tokens += len(tokens)
"""
MISTRALRS = """
import os
from types import SimpleNamespace as Namespace
assert os.environ["RAYON_NUM_THREADS"] == "2"
class Which:
    @staticmethod
    def GGUF(quantized_model_id, quantized_filename):
        assert os.path.isfile(os.path.join(quantized_model_id, quantized_filename))
class CompletionRequest:
    def __init__(self, model, prompt, max_tokens, temperature, ignore_eos):
        self.prompt, self.max_tokens = prompt, max_tokens
class Runner:
    def __init__(self, which, prefix_cache_n):
        assert prefix_cache_n == 0
    def send_completion_request(self, request):
        n = len(request.prompt.split()) + 1  # with BOS
        return Namespace(usage=Namespace(prompt_tokens=n, total_prompt_time_sec=n / 50, avg_compl_tok_per_sec=8.0))
"""


def script(folder: Path, name: str, text: str) -> Path:
    path = folder / name
    path.write_text(text.format(python=sys.executable) if text.startswith("#!") else text)
    path.chmod(0o755)
    return path


def llama_bench(folder: Path) -> Path:
    return script(folder, "llama-bench", BENCH.replace("{", "{{").replace("}", "}}").replace("{{python}}", "{python}"))


def llama_cli(folder: Path) -> Path:
    return script(folder, "llama-completion", CLI)
