"""Mixes: each tensor of each model gets the format that llama-quantize gives it."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from edgeq import gguf
from edgeq.errors import UsageError
from edgeq.quantize import MIXES, Options, make_plan, mix_named, mix_or_copy, summary
from edgeq.quantize.plan import idle
from edgeq.quantize.roles import CONDITIONS
from tests.quantize.shapes import MODELS, write_model

GOLDEN = json.loads(Path(__file__).with_name("mixes_golden.json").read_text(encoding="utf-8"))


def plan(path, mix, imatrix=False, **options):
    with gguf.open(path) as g:
        return {
            c.name: c for c in make_plan(g.tensors.values(), g.metadata, mix_named(mix)[1], Options(**options), imatrix)
        }


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    folder = tmp_path_factory.mktemp("models")
    for name, shape in MODELS.items():
        write_model(folder / f"{name}.gguf", shape)
    return lambda name: folder / f"{name}.gguf"


@pytest.mark.parametrize("name", MODELS)
def test_formats_are_those_of_llama_quantize(made, name):
    letters = {letter: fmt for fmt, letter in GOLDEN["letters"].items()}
    for mix, texts in GOLDEN["models"][name].items():
        for imatrix in (False, True):
            expected = texts[imatrix and len(texts) > 1]
            choices = plan(made(name), mix, imatrix)
            if expected:
                found = [choices[n].target.name for n in sorted(choices)]
                assert found == [letters[c] for c in expected], (mix, imatrix)


def test_every_mix_is_held_against_llama_quantize():
    for mixes in GOLDEN["models"].values():
        assert set(mixes) == set(MIXES) - {"NVFP4"}


def test_rules_use_conditions_and_roles_that_exist():
    roles = {"attn_v", "attn_k", "attn_q", "attn_output", "ffn_up", "ffn_gate", "ffn_down", "token_embd", "any"}
    used = set()
    for mix in MIXES.values():
        for rule in mix.rules:
            assert rule.role in roles
            used |= set(rule.when)
    assert used == set(CONDITIONS)


def test_fallbacks_are_named(made):
    choices = plan(made("narrow"), "Q4_K_M")
    choice = choices["blk.0.attn_q.weight"]
    assert (choice.target.name, choice.fallback) == ("Q5_0", "Q4_K")
    assert choice.why == "rows of 576 are not whole blocks of 256"
    assert summary(choices.values())["fallbacks"] == sum(bool(c.fallback) for c in choices.values()) > 100


def test_patterns_do_not_mind_the_case_of_letters(made):
    overrides = (("ATTN_Q", "q5_k"), (r"BLK\.\d+\.FFN_UP\.\S", "Q8_0"), ("Attn_[K]", "F16"))
    choices = plan(made("plain"), "Q4_K_M", overrides=overrides)
    assert [choices[f"blk.3.{n}.weight"].target.name for n in ("attn_q", "ffn_up", "attn_k")] == ["Q5_K", "Q8_0", "F16"]


def test_patterns_that_decide_nothing_are_told_of(made):
    overrides = (("attn_v", "Q8_0"), ("blk.*attn_v", "Q5_K"), ("norm", "F16"), ("no\x1b", "Q4_0"), ("output", "Q4_0"))
    options = Options(overrides, output="Q8_0")
    with gguf.open(made("plain")) as g:
        found = idle(make_plan(g.tensors.values(), g.metadata, mix_named("Q4_K_M")[1], options), options)
    assert found == [
        "tensor types that fit no tensor: no\\x1b=Q4_0",
        "tensor types that decide nothing, as what they fit stays as it is or is named by something else first: "
        "blk.*attn_v=Q5_K, norm=F16",
    ]


def idle_of(path, mix, **options):
    with gguf.open(path) as g:
        chosen = Options(**options)
        return idle(make_plan(g.tensors.values(), g.metadata, mix_named(mix)[1], chosen), chosen)


TIED = "no tensor takes it: the model has no output.weight; --embedding-type is for its token_embd.weight"


def test_formats_of_one_matrix_that_no_tensor_takes_are_told_of(made):
    for mix, more in (("F16", {}), ("Q5_0", {"pure": True}), ("Q4_0", {"embedding": "Q5_0"}),
                      ("Q4_0", {"overrides": (("token_embd", "Q5_0"),)})):  # fmt: skip
        assert idle_of(made("tied"), mix, output="Q8_0", **more) == [f"--output-type Q8_0: {TIED}"]
    for name, mix in (("tied", "Q4_0"), ("narrow", "Q4_0"), ("plain", "F16"), ("plain", "Q4_0")):
        assert idle_of(made(name), mix, output="Q4_K") == []
        assert idle_of(made(name), mix, embedding="Q4_K") == []


def test_an_output_matrix_that_is_not_there_to_be_left_is_told_of(made):
    assert idle_of(made("tied"), "Q4_0", keep_output=True) == [f"--leave-output-tensor: {TIED}"]
    assert idle_of(made("plain"), "Q4_0", keep_output=True) == []


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"output": "Q8_0", "keep_output": True}, "^--leave-output-tensor and --output-type: .*; give one$"),
        ({"output": ""}, "^--output-type: expected the name of a format, as Q8_0, found ''"),
        ({"embedding": ""}, "^--embedding-type: expected the name of a format, as Q8_0, found ''"),
        ({"output": "Q9"}, "^--output-type: unknown format Q9"),
        ({"embedding": "I8"}, "^--embedding-type: I8 is not a format of weights"),
    ],
)
def test_options_that_make_no_sense_are_refused_whether_a_tensor_takes_them_or_not(made, options, message):
    for name in ("plain", "tied"):
        with pytest.raises(UsageError, match=message):
            plan(made(name), "F16", **options)


def test_a_fallback_of_what_a_pattern_names_counts_as_decided(made):
    options = Options((("attn_q", "Q4_K"),))
    with gguf.open(made("narrow")) as g:
        assert idle(make_plan(g.tensors.values(), g.metadata, mix_named("Q8_0")[1], options), options) == []


def test_patterns_count_in_mixes_of_floats_too(made):
    assert plan(made("plain"), "F16", overrides=(("attn_q", "Q8_0"),))["blk.3.attn_q.weight"].target.name == "Q8_0"


def test_numbers_of_llama_quantize_name_mixes():
    assert [mix_named(n)[0] for n in ("15", "2", "0", "32", "7")] == ["Q4_K_M", "Q4_0", "F32", "BF16", "Q8_0"]
    assert {mix_named(str(mix.file_type))[0] for mix in MIXES.values()} == set(MIXES)
    for wrong in ("4", "99", "007", "9" * 5000):
        with pytest.raises(UsageError, match=r"type \d.*: no mix has this number; expected one of 0 \(F32\), 1 "):
            mix_named(wrong)
    assert mix_or_copy("copy")[0] == "COPY" and mix_or_copy("q8_0")[0] == "Q8_0"
    with pytest.raises(UsageError, match="type COPY: expected one of F32"):
        mix_named("COPY")


def test_a_row_that_no_block_fits_becomes_f16(made):
    assert plan(made("odd"), "Q4_K_M")["blk.0.attn_q.weight"].target.name == "F16"


def test_patterns_come_before_rules_the_first_that_fits_counts(made):
    choices = plan(made("plain"), "Q4_K_M", overrides=(("attn_v", "Q8_0"), ("attn", "Q3_K"), ("ffn_down", "Q5_K")))
    assert choices["blk.3.attn_v.weight"].target.name == "Q8_0"
    assert choices["blk.3.attn_q.weight"].target.name == "Q3_K"
    assert choices["blk.0.ffn_down.weight"].target.name == "Q5_K"
    assert choices["blk.0.ffn_up.weight"].target.name == "Q4_K"
    assert choices["blk.0.attn_norm.weight"].target.name == "F32"


def test_output_and_embedding_have_formats_of_their_own(made):
    choices = plan(made("plain"), "Q4_K_M", output="F16", embedding="Q3_K")
    assert choices["output.weight"].target.name == "F16"
    assert choices["token_embd.weight"].target.name == "Q3_K"
    assert plan(made("tied"), "Q4_K_M", output="Q5_K")["token_embd.weight"].target.name == "Q5_K"
    assert plan(made("plain"), "Q4_K_M", keep_output=True)["output.weight"].changes is False


def test_pure_is_one_format(made):
    for c in plan(made("grouped"), "Q4_K_M", pure=True).values():
        assert c.target.name == ("F32" if len(c.shape) == 1 else "Q4_K")


@pytest.mark.parametrize(
    ("name", "mix"), [("q4_k_m", "Q4_K_M"), ("Q4-K-M", "Q4_K_M"), ("q3_k", "Q3_K_M"), ("mxfp4", "MXFP4_MOE")]
)
def test_names_of_mixes_in_any_case_and_their_aliases(name, mix):
    assert mix_named(name)[0] == mix


def test_unknown_names_are_refused(made):
    with pytest.raises(UsageError, match="type Q9_K: expected one of F32, F16"):
        mix_named("Q9_K")
    with pytest.raises(UsageError, match="no regular expression"):
        plan(made("plain"), "Q4_K_M", overrides=(("(", "Q8_0"),))
    with pytest.raises(UsageError, match="I32 is not a format of weights"):
        plan(made("plain"), "Q4_K_M", overrides=(("x", "I32"),))
    with pytest.raises(UsageError, match="unknown format Q9"):
        plan(made("plain"), "Q4_K_M", output="Q9")


def test_a_matrix_of_one_row_counts_as_a_vector(tmp_path):
    metadata = {"general.architecture": "llama"}
    gguf.write(tmp_path / "one.gguf", metadata, [("output.weight", (1, 256), "F16", bytes(512))])
    assert plan(tmp_path / "one.gguf", "Q4_K_M")["output.weight"].why == "a vector"
