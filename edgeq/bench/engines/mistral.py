"""mistral.rs, through its Python package: completions, timed as it reports them itself."""

from __future__ import annotations

import os
from typing import Any

from edgeq.bench.cases import SMALL_CONTEXT, Case

WORD = " the"  # a token of its own in the vocabularies of today
REPEATS = 3  # of a small batch


class Engine:
    def load(self, options: dict[str, Any]) -> dict[str, Any]:
        """options: model, threads. Raises ImportError where the package is not installed."""
        os.environ["RAYON_NUM_THREADS"] = str(options["threads"])  # read when the package starts its pool
        try:
            import mistralrs
        except ImportError as error:
            raise ImportError(f"{error}; install it, or name a Python that has it: --peer mistralrs=PYTHON") from None

        folder, file = os.path.split(os.path.abspath(options["model"]))
        which = mistralrs.Which.GGUF(quantized_model_id=folder, quantized_filename=file)
        self.package, self.runner = mistralrs, mistralrs.Runner(which=which, prefix_cache_n=0)
        return {"engine": f"mistral.rs {version()}"}

    def measure(self, case: Case) -> float:
        if case.kind == "tg":
            usage = self._run(max(case.depth, SMALL_CONTEXT), case.n)
            return case.n / float(usage.avg_compl_tok_per_sec)
        if case.kind == "pp":
            return self._prompt(case.n)
        return sum(self._prompt(case.n) for _ in range(REPEATS)) / REPEATS

    def _prompt(self, tokens: int) -> float:
        """Seconds for a prompt. What the tokenizer adds or joins is put right in proportion."""
        usage = self._run(tokens, 1)
        return float(usage.total_prompt_time_sec) * tokens / int(usage.prompt_tokens)

    def _run(self, prompt: int, generate: int) -> Any:
        request = self.package.CompletionRequest(
            model="default", prompt=WORD * prompt, max_tokens=generate, temperature=0.0, ignore_eos=True
        )
        usage = self.runner.send_completion_request(request).usage
        if not 0.5 * prompt <= usage.prompt_tokens <= 2 * prompt + 4:
            raise RuntimeError(f"a prompt of {prompt} words became {usage.prompt_tokens} tokens")
        return usage


def version() -> str:
    from importlib.metadata import version as installed

    return installed("mistralrs")
