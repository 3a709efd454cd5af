"""A model with adapters beside its weights answers like one whose weights hold them, on every backend."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

import edgeq
from edgeq import _lib, gguf, quants
from edgeq.errors import BackendError, EdgeqError, FormatError, ModelError, UsageError
from edgeq.lora import Adapter, Pair, open, stack
from tests.lora.made import adapter, factor, merged, write
from tests.small import BACKEND, tiny

IDS = list(range(20, 60))
MODELS = ("llama3", "llama-bias", "llama-mlp-bias", "qwen2", "qwen3", "gemma3", "llama-longrope-long")


def logits(path: Path, backend: str = "reference", **settings: object) -> np.ndarray:
    with edgeq.load(path, backend=backend, threads=2, kv_type="F32", **settings) as model:  # type: ignore[arg-type]
        return model.logits(IDS)


@pytest.mark.parametrize("name", MODELS)
def test_an_adapter_beside_the_weights_is_one_within_them(name: str, tmp_path: Path) -> None:
    made = adapter(tiny(name))
    file = write(tmp_path / "a.gguf", made)
    found, wanted = logits(tiny(name), lora=file), logits(merged(tiny(name), [(made, 1.0)], tmp_path / "m.gguf"))
    assert np.abs(found - wanted).max() < 1e-5 * max(1.0, np.abs(wanted).max())
    assert np.abs(found - logits(tiny(name))).max() > 0.1


@pytest.mark.parametrize("backend", [b for b in ("native", "numba") if b == "numba" or _lib.available()])
@pytest.mark.parametrize("name", ["llama-bias", "gemma3", "format-q4_k", "format-nvfp4-scale"])
def test_every_backend_gives_what_the_reference_gives(name: str, backend: str) -> None:
    if backend == "numba":
        pytest.importorskip("numba")
    made = adapter(tiny(name), rank=3)
    wanted = logits(tiny(name), lora=made)
    found = logits(tiny(name), backend, lora=made, reproducible=True)  # 16 bits of every input, as for single tokens
    assert np.abs(found - wanted).max() < 1e-3 * np.abs(wanted).max()


@pytest.mark.parametrize("rank", [1, 2, 5, 16, 33, 64])
def test_any_rank_runs(rank: int) -> None:
    made = adapter(tiny(), rank)
    wanted = logits(tiny(), lora=made)
    assert np.abs(logits(tiny(), BACKEND, lora=made) - wanted).max() < 1e-3 * np.abs(wanted).max()


def test_adapters_add_up_each_with_its_scale(tmp_path: Path) -> None:
    path = tiny("llama-bias")
    first, second = adapter(path, 4, 8.0, 1), adapter(path, 3, 0.0, 2, "blk.1.")  # without alpha: the factor is 1
    both = [(write(tmp_path / "a.gguf", first), 0.5), (write(tmp_path / "b.gguf", second, alpha=None), -2.0)]
    wanted = logits(merged(path, [(first, 0.5), (second, -2.0)], tmp_path / "m.gguf"))
    assert np.abs(logits(path, lora=both) - wanted).max() < 1e-5 * max(1.0, np.abs(wanted).max())
    once = logits(path, lora=[first])
    assert np.abs(logits(path, lora=[(first, 0.25), (first, 0.75)]) - once).max() < 1e-5 * np.abs(once).max()


def test_a_scale_of_nothing_changes_nothing() -> None:
    made = adapter(tiny())
    assert np.array_equal(logits(tiny(), lora=[(made, 0)]), logits(tiny()))
    assert np.array_equal(logits(tiny(), lora=[]), logits(tiny()))


def test_the_head_can_have_an_adapter(tmp_path: Path) -> None:
    head = adapter(tiny("qwen2"), only="output.weight")
    assert list(head.pairs) == ["output.weight"]
    wanted = logits(merged(tiny("qwen2"), [(head, 1.0)], tmp_path / "m.gguf"))
    assert np.abs(logits(tiny("qwen2"), lora=head) - wanted).max() < 1e-5 * np.abs(wanted).max()


@pytest.mark.parametrize("name", ["qwen2", "gemma3", "format-q4_k"])
def test_the_embedding_can_have_an_adapter(name: str, tmp_path: Path) -> None:
    """Of the rows that tokens take: a head that is the embedding stays as it is, as PEFT has it."""
    made = adapter(tiny(name), only="token_embd.weight")
    assert list(made.pairs) == ["token_embd.weight"]
    file = write(tmp_path / "a.gguf", made)
    whole = merged(tiny(name), [(made, 0.5)], tmp_path / "m.gguf")
    with gguf.open(whole) as m, gguf.open(tiny(name)) as old:
        head = old.tensors.get("output.weight", old.tensors["token_embd.weight"])
        rows = {t.name: t.data.view(np.float32).reshape(t.shape) for t in m.tensors.values()}
        rows["output.weight"] = quants.dequantize(head.data, head.format).reshape(head.shape)
        gguf.write(tmp_path / "u.gguf", m.metadata, [(n, x.shape, "F32", x) for n, x in rows.items()])
    wanted = logits(tmp_path / "u.gguf")
    assert np.abs(logits(tiny(name), lora=[(file, 0.5)]) - wanted).max() < 1e-5 * np.abs(wanted).max()
    found = logits(tiny(name), BACKEND, lora=[(file, 0.5)], reproducible=True)
    assert np.abs(found - wanted).max() < 1e-3 * np.abs(wanted).max()
    assert np.abs(logits(tiny(name)) - wanted).max() > 0.05


def test_layers_on_two_backends_have_their_adapters() -> None:
    made = adapter(tiny())
    wanted = logits(tiny(), lora=made)
    found = logits(tiny(), BACKEND, lora=made, split=[(1, "reference")])
    assert np.abs(found - wanted).max() < 1e-3 * np.abs(wanted).max()


def test_one_token_at_a_time_gives_the_same() -> None:
    """Also in the last layer, where only the wanted rows are computed."""
    made = adapter(tiny())
    wanted = logits(tiny(), lora=made)
    with edgeq.load(tiny(), backend=BACKEND, threads=2, kv_type="F32", lora=made) as model:
        session = model.session()
        found = [np.asarray(session.extend([t])).reshape(-1) for t in IDS[:8]]
    assert np.abs(np.array(found) - wanted[:8]).max() < 1e-3 * np.abs(wanted).max()


def test_a_saved_session_belongs_to_its_adapters(tmp_path: Path) -> None:
    first, second = adapter(tiny(), seed=1), adapter(tiny(), seed=2)
    with edgeq.load(tiny(), backend=BACKEND, lora=first) as model:
        session = model.session()
        session.extend(IDS)
        session.save(tmp_path / "s")
        model.session().load(tmp_path / "s")
    for other in ([second], [(first, 0.5)], []):
        with edgeq.load(tiny(), backend=BACKEND, lora=other) as m, pytest.raises(FormatError, match="another model"):
            m.session().load(tmp_path / "s")


def test_adapters_of_other_models_are_refused(tmp_path: Path) -> None:
    made = adapter(tiny("llama-bias"))
    with pytest.raises(ModelError, match=r"architecture 'llama'.*is 'qwen2'"):
        logits(tiny("qwen2"), lora=made)
    with pytest.raises(ModelError, match=r"made for shape \[96, 64\], the model has \[64, 64\]"):
        logits(tiny("llama-spm"), lora=made)
    pair = next(iter(made.pairs.values()))
    with pytest.raises(ModelError, match=r"blk\.9\.attn_q\.weight: .*has no such tensor"):
        logits(tiny("llama-bias"), lora=made.replace(pairs={"blk.9.attn_q.weight": pair}))
    head = Pair(np.ones((1, 64), np.float32), np.ones((320, 1), np.float32))
    with pytest.raises(ModelError, match="head is the embedding"):
        logits(tiny("llama-bias"), lora=made.replace(pairs={"output.weight": head}))
    with pytest.raises(ModelError, match=r"rope_freqs\.weight"):
        logits(tiny("llama3"), lora=made.replace(pairs={"rope_freqs.weight": pair}))


@pytest.mark.parametrize("lora", [3, [3], [("a.gguf", 1, 2)], [{"a.gguf": 1}]])
def test_arguments_that_are_no_adapters(lora: object) -> None:
    with pytest.raises(UsageError, match=r"expected (a file|adapters)"):
        logits(tiny(), lora=lora)


@pytest.mark.parametrize("scale", ["1", float("nan"), float("inf"), True, None])
def test_scales_that_are_no_finite_numbers(scale: object) -> None:
    with pytest.raises(UsageError, match="expected a finite number"):
        logits(tiny(), lora=[(adapter(tiny()), scale)])


def test_a_stack_of_adapters_is_their_sum() -> None:
    a = adapter(tiny(), 2, 4.0, 1)
    b = adapter(tiny(), 3, 6.0, 2)
    for name, pair in stack([(a, 0.5), (b, 2.0)]).items():
        wanted = sum(s * factor(x, name) * (x.pairs[name].b @ x.pairs[name].a) for x, s in ((a, 0.5), (b, 2.0)))
        assert pair.rank == 5
        assert np.allclose(pair.b @ pair.a, wanted, atol=1e-6)
    with pytest.raises(ModelError, match="too large for float32"):
        stack([(a, 1e39)])


@pytest.mark.parametrize("scale", [1e38, -1e38, 1e308])
def test_an_adapter_whose_products_overflow_was_run(scale: float) -> None:
    with pytest.raises(ModelError, match=r"made: adapter of tensor blk\.0\.attn_q\.weight: times .* smaller scale"):
        logits(tiny(), lora=[(adapter(tiny()), scale)])
    with pytest.raises(ModelError, match="too large for float32"):
        logits(tiny(), lora=adapter(tiny(), alpha=scale))


@pytest.mark.filterwarnings("error")
def test_a_scale_beyond_float32_is_taken_where_the_products_are_not() -> None:
    made = adapter(tiny(), only="blk.0.attn_q.")
    pair = made.pairs[NAME]
    tiny_b = made.replace(pairs={NAME: Pair(pair.a, pair.b * np.float32(1e-20))})
    wanted = logits(tiny(), lora=made)
    found = logits(tiny(), lora=[(tiny_b.replace(alpha=8e-20), 1e40)])
    assert np.abs(found - wanted).max() < 1e-4 * np.abs(wanted).max()
    untrained = made.replace(pairs={NAME: Pair(pair.a, pair.b * np.float32(0))})
    assert np.array_equal(logits(tiny(), lora=[(untrained, 1e300)]), logits(tiny()))


def test_logits_that_an_adapter_breaks_were_blamed_on_the_model_alone() -> None:
    words = "NaN, .* backend are broken; .*; or the scale of an adapter is too large"
    with edgeq.load(tiny(), backend=BACKEND, lora=[(adapter(tiny()), 1e30)]) as model:
        answer = model.generate(IDS, max_tokens=2)
        with pytest.raises(BackendError, match=words):
            list(answer)


def test_the_error_of_a_hook_passes_beside_an_adapter() -> None:
    def hook(ids: object, logits: object) -> None:
        raise BackendError("mine")

    with edgeq.load(tiny(), backend=BACKEND, lora=adapter(tiny())) as model:
        answer = model.generate(IDS, hook=hook, max_tokens=2)
        with pytest.raises(BackendError, match=r"^mine$"):
            list(answer)


# --- files -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", [np.float32, np.float16])
def test_a_file_of_the_gguf_package_is_read(kind: type, tmp_path: Path) -> None:
    made = adapter(tiny())

    def rounded(tensors: dict[str, np.ndarray]) -> None:
        for name in tensors:
            tensors[name] = tensors[name].astype(kind)

    found = open(write(tmp_path / "a.gguf", made, rounded))
    assert isinstance(found, Adapter)
    assert (found.architecture, found.alpha, set(found.pairs)) == ("llama", 8.0, set(made.pairs))
    for name, pair in made.pairs.items():
        assert found.pairs[name].a.dtype == np.float32
        assert np.array_equal(found.pairs[name].a, pair.a.astype(kind).astype(np.float32))
        assert np.array_equal(found.pairs[name].b, pair.b.astype(kind).astype(np.float32))


NAME = "blk.0.attn_q.weight"


def _put(name: str, value: np.ndarray | None) -> object:
    def change(tensors: dict[str, np.ndarray]) -> None:
        if value is None:
            del tensors[name]
        else:
            tensors[name] = value

    return change


NAN = np.full((4, 64), np.nan, np.float32)
HOSTILE = [
    ({"type": None}, None, "general.type is missing"),
    ({"type": "model"}, None, "no adapter: metadata key general.type is 'model'"),
    ({"adapter": "control_vector"}, None, "type 'control_vector'"),
    ({"adapter": None}, None, "type 'None'"),
    ({"alpha": "8"}, None, "adapter.lora.alpha is 8"),
    ({"alpha": float("inf")}, None, "adapter.lora.alpha is inf"),
    ({"tokens": [1, 2]}, None, "waits for certain tokens"),
    ({}, _put(f"{NAME}.lora_b", None), r"attn_q\.weight\.lora_b is missing"),
    ({}, _put(f"{NAME}.lora_a", None), r"attn_q\.weight\.lora_a is missing"),
    ({}, _put(f"{NAME}.lora_a", NAN), r"A has nan at \[0, 0\]"),
    ({}, _put(f"{NAME}.lora_b", np.full((64, 4), np.inf, np.float32)), r"B has inf at \[0, 0\]"),
    ({}, _put(f"{NAME}.lora_a", np.ones((5, 64), np.float32)), r"A \[5, 64\] and B \[64, 4\]"),
    ({}, _put(f"{NAME}.lora_a", np.ones(64, np.float32)), r"F32 \[64\]; expected a matrix"),
    ({}, _put(f"{NAME}.lora_a", np.ones((4, 64), np.int32)), r"I32 \[4, 64\]; expected a matrix"),
    ({}, _put("blk.0.attn_norm.weight", np.ones(64, np.float32)), "no part of a low-rank adapter"),
    ({}, _put("token_embd.weight.lora_a", np.ones((9, 2), np.float32)), r"lora_b is missing"),
    ({}, lambda tensors: tensors.clear(), "without tensors"),
]


@pytest.mark.parametrize(("keys", "change", "message"), HOSTILE)
def test_files_that_are_no_sound_adapter(
    keys: dict[str, object], change: object, message: str, tmp_path: Path
) -> None:
    made = adapter(tiny())
    file = write(tmp_path / "a.gguf", made, *([change] if change else []), **keys)  # type: ignore[arg-type]
    with pytest.raises(ModelError, match=message):
        open(file)


def test_a_model_is_no_adapter_and_an_adapter_no_model(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match="no adapter"):
        open(tiny())
    with pytest.raises(ModelError, match="not a language model"):
        edgeq.load(write(tmp_path / "a.gguf", adapter(tiny())))


def test_a_file_that_is_cut_off(tmp_path: Path) -> None:
    file = write(tmp_path / "a.gguf", adapter(tiny()))
    data = file.read_bytes()
    for size in (0, 3, 100, len(data) // 2, len(data) - 40):
        file.write_bytes(data[:size])
        with pytest.raises(FormatError):
            open(file)


def test_damaged_files_are_refused_or_read(tmp_path: Path) -> None:
    """Whatever a byte becomes: an adapter of finite numbers, or an error of edgeq's own."""
    made = adapter(tiny(), rank=1, only="blk.0.attn_")
    file = write(tmp_path / "a.gguf", made)
    data, rng = file.read_bytes(), np.random.default_rng(0)
    for _ in range(400):
        damaged = bytearray(data)
        for at in rng.integers(0, min(len(data), 1200), rng.integers(1, 4)):
            damaged[at] = rng.integers(0, 256)
        file.write_bytes(damaged)
        try:
            found = open(file)
        except EdgeqError:
            continue
        assert all(np.isfinite(p.a).all() and np.isfinite(p.b).all() and p.rank > 0 for p in found.pairs.values())
