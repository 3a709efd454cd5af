// llama_oracle: llama.cpp as an oracle for edgeq's tests, through its public C API only.
// It owns a small binary protocol on stdin and stdout; it decides nothing about the numbers.
// All integers are little-endian. A request is answered before the next one is read, until EOF.
//
//   tokenize   MODEL ADD_SPECIAL PARSE_SPECIAL   [u32 length][bytes]   -> [u32 n][i32 ids]; n = 2^32-1: it threw
//   detokenize MODEL REMOVE_SPECIAL UNPARSE      [u32 n][i32 ids]      -> [u32 length][bytes]; likewise
//   pieces     MODEL                             (nothing)             -> see write_pieces
//   logits     MODEL THREADS [KV=f16|f32] [BATCH=512]  [u32 n][i32 ids] -> f32 [n][n_vocab]
//   greedy     MODEL THREADS N [KV=f16|f32]      [u32 n][i32 ids]      -> [u32 m][i32 ids][f32 margins]
//   version                                      (nothing)             -> text

#include "llama.h"

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <exception>
#include <memory>
#include <string>
#include <vector>

namespace {

constexpr uint32_t k_threw = UINT32_MAX;

using Model   = std::unique_ptr<llama_model, decltype(&llama_model_free)>;
using Context = std::unique_ptr<llama_context, decltype(&llama_free)>;
using Ids     = std::vector<llama_token>;

[[noreturn]] void die(const std::string & what) {
    std::fprintf(stderr, "llama_oracle: %s\n", what.c_str());
    std::exit(1);
}

// False at a clean end of the input; a request cut short is an error.
bool read_u32(uint32_t & value) {
    size_t got = std::fread(&value, 1, sizeof value, stdin);
    if (got == 0) return false;
    if (got != sizeof value) die("input ends inside a length");
    return true;
}

template <typename T> std::vector<T> read_array(uint32_t n) {
    std::vector<T> out(n);
    if (n && std::fread(out.data(), sizeof(T), n, stdin) != n) die("input ends inside a request");
    return out;
}

void write_bytes(const void * data, size_t n) {
    if (n && std::fwrite(data, 1, n, stdout) != n) die("cannot write the answer");
}

template <typename T> void write_one(T value) { write_bytes(&value, sizeof value); }

void write_ids(const Ids & ids) {
    write_one<uint32_t>((uint32_t) ids.size());
    write_bytes(ids.data(), ids.size() * sizeof(llama_token));
}

Model load(const char * path, bool vocab_only) {
    llama_model_params params = llama_model_default_params();
    params.vocab_only = vocab_only;
    Model model(llama_model_load_from_file(path, params), llama_model_free);
    if (!model) die(std::string("cannot load ") + path);
    return model;
}

// Calls fn(buffer, capacity) as llama.cpp wants it: a negative answer is the size needed.
template <typename T, typename Fn> std::vector<T> filled(size_t guess, Fn fn) {
    std::vector<T> out(std::max<size_t>(guess, 16));
    int32_t n = fn(out.data(), (int32_t) out.size());
    if (n < 0) {
        out.resize((size_t) -(int64_t) n);
        n = fn(out.data(), (int32_t) out.size());
    }
    if (n < 0) die("the size of an answer changed between two calls");
    out.resize((size_t) n);
    return out;
}

void tokenize(const llama_vocab * vocab, bool add_special, bool parse_special) {
    uint32_t length = 0;
    while (read_u32(length)) {
        std::vector<char> text = read_array<char>(length);
        text.push_back('\0');
        try {
            write_ids(filled<llama_token>(length + 8, [&](llama_token * ids, int32_t room) {
                return llama_tokenize(vocab, text.data(), (int32_t) length, ids, room, add_special, parse_special);
            }));
        } catch (const std::exception &) {
            write_one(k_threw);
        }
    }
}

void detokenize(const llama_vocab * vocab, bool remove_special, bool unparse_special) {
    uint32_t n = 0;
    while (read_u32(n)) {
        const Ids ids = read_array<llama_token>(n);
        try {
            const std::vector<char> text = filled<char>(8 * (size_t) n, [&](char * out, int32_t room) {
                return llama_detokenize(vocab, ids.data(), (int32_t) n, out, room, remove_special, unparse_special);
            });
            write_one<uint32_t>((uint32_t) text.size());
            write_bytes(text.data(), text.size());
        } catch (const std::exception &) {
            write_one(k_threw);
        }
    }
}

void write_piece(const llama_vocab * vocab, llama_token id, bool special) {
    const std::vector<char> piece = filled<char>(64, [&](char * out, int32_t room) {
        return llama_token_to_piece(vocab, id, out, room, 0, special);
    });
    write_one<uint32_t>((uint32_t) piece.size());
    write_bytes(piece.data(), piece.size());
}

// [u32 n_vocab][i32 type bos eos eot sep nl pad mask add_bos add_eos add_sep], then for each token
// [u32 length][bytes, special tokens shown][u32 length][bytes, special tokens hidden][u32 attributes][u32 is_eog]
void write_pieces(const llama_vocab * vocab) {
    const int32_t n_vocab = llama_vocab_n_tokens(vocab);
    write_one<uint32_t>((uint32_t) n_vocab);
    const int32_t facts[] = {
        (int32_t) llama_vocab_type(vocab), llama_vocab_bos(vocab), llama_vocab_eos(vocab), llama_vocab_eot(vocab),
        llama_vocab_sep(vocab), llama_vocab_nl(vocab), llama_vocab_pad(vocab), llama_vocab_mask(vocab),
        llama_vocab_get_add_bos(vocab), llama_vocab_get_add_eos(vocab), llama_vocab_get_add_sep(vocab),
    };
    write_bytes(facts, sizeof facts);
    for (llama_token id = 0; id < n_vocab; ++id) {
        write_piece(vocab, id, true);
        write_piece(vocab, id, false);
        write_one<uint32_t>((uint32_t) llama_vocab_get_attr(vocab, id));
        write_one<uint32_t>(llama_vocab_is_eog(vocab, id) ? 1 : 0);
    }
}

// llama.cpp's defaults for everything but size, threads and KV type: flash attention auto, window-sized SWA cache.
// KV in f32 turns flash attention off: it would round keys and values to f16 all the same.
Context new_context(llama_model * model, uint32_t n_ctx, uint32_t batch, int threads, const std::string & kv) {
    llama_context_params params = llama_context_default_params();
    params.n_ctx    = n_ctx;
    params.n_batch  = batch;
    params.n_ubatch = batch;
    params.n_threads = params.n_threads_batch = threads;
    if (kv != "f16" && kv != "f32") die("KV is f16 or f32, not " + kv);
    if (kv == "f32") {
        params.type_k = params.type_v = GGML_TYPE_F32;
        params.flash_attn_type = LLAMA_FLASH_ATTN_TYPE_DISABLED;
    }
    Context ctx(llama_init_from_model(model, params), llama_free);
    if (!ctx) die("cannot make a context");
    return ctx;
}

// Decodes ids[0..n) at positions start.. in one call; logits for all of them, or for the last.
void decode(llama_context * ctx, const llama_token * ids, uint32_t n, uint32_t start, bool all) {
    llama_batch batch = llama_batch_init((int32_t) n, 0, 1);
    batch.n_tokens = (int32_t) n;
    for (uint32_t i = 0; i < n; ++i) {
        batch.token[i]     = ids[i];
        batch.pos[i]       = (llama_pos) (start + i);
        batch.n_seq_id[i]  = 1;
        batch.seq_id[i][0] = 0;
        batch.logits[i]    = all || i + 1 == n;
    }
    const int32_t status = llama_decode(ctx, batch);
    llama_batch_free(batch);
    if (status) die("llama_decode answered " + std::to_string(status));
}

void logits(llama_model * model, int threads, const std::string & kv, uint32_t batch) {
    const size_t n_vocab = (size_t) llama_vocab_n_tokens(llama_model_get_vocab(model));
    uint32_t n = 0;
    while (read_u32(n)) {
        const Ids ids = read_array<llama_token>(n);
        Context ctx = new_context(model, n, batch, threads, kv);
        for (uint32_t at = 0; at < n; at += batch) {
            const uint32_t count = std::min(batch, n - at);
            decode(ctx.get(), ids.data() + at, count, at, true);
            write_bytes(llama_get_logits(ctx.get()), sizeof(float) * n_vocab * count);
        }
        std::fflush(stdout);
    }
}

void greedy(llama_model * model, int threads, uint32_t n_new, const std::string & kv) {
    const int32_t n_vocab = llama_vocab_n_tokens(llama_model_get_vocab(model));
    const uint32_t batch = 512;
    uint32_t n = 0;
    while (read_u32(n)) {
        const Ids prompt = read_array<llama_token>(n);
        Context ctx = new_context(model, n + n_new, batch, threads, kv);
        for (uint32_t at = 0; at < n; at += batch) {
            decode(ctx.get(), prompt.data() + at, std::min(batch, n - at), at, false);
        }
        Ids out;
        std::vector<float> margins;  // between the two highest logits of each step
        while (n && out.size() < n_new) {  // an end-of-generation token does not stop it; a tie takes the lowest id
            float * row = llama_get_logits_ith(ctx.get(), -1);
            float * best = std::max_element(row, row + n_vocab);
            out.push_back((llama_token) (best - row));
            const float highest = *best;
            *best = -INFINITY;
            margins.push_back(highest - *std::max_element(row, row + n_vocab));
            if (out.size() < n_new) decode(ctx.get(), &out.back(), 1, n + (uint32_t) out.size() - 1, false);
        }
        write_ids(out);
        write_bytes(margins.data(), margins.size() * sizeof(float));
        std::fflush(stdout);
    }
}

int usage() {
    std::fprintf(stderr,
        "usage: llama_oracle tokenize MODEL ADD_SPECIAL PARSE_SPECIAL | detokenize MODEL REMOVE_SPECIAL UNPARSE_SPECIAL\n"
        "       | pieces MODEL | logits MODEL THREADS [KV=f16|f32] [BATCH=512] | greedy MODEL THREADS N [KV=f16|f32] | version\n");
    return 2;
}

uint32_t number(const char * text) {
    char * end = nullptr;
    const unsigned long value = std::strtoul(text, &end, 10);
    if (end == text || *end || value > INT32_MAX) die(std::string("not a number: ") + text);
    return (uint32_t) value;
}

// KV=... and BATCH=... may be written with or without their names, in this order.
std::string option(int argc, char ** argv, int at, const char * prefix, const char * fallback) {
    if (at >= argc) return fallback;
    const size_t n = std::strlen(prefix);
    return std::strncmp(argv[at], prefix, n) == 0 ? argv[at] + n : argv[at];
}

void silence(ggml_log_level level, const char * text, void *) {
    if (level == GGML_LOG_LEVEL_ERROR) std::fputs(text, stderr);
}

}  // namespace

int main(int argc, char ** argv) {
    llama_log_set(silence, nullptr);
    llama_backend_init();
    const std::string mode = argc > 1 ? argv[1] : "";
    if (mode == "version" && argc == 2) {
        std::printf("%s\n%s\n", llama_version(), llama_print_system_info());
    } else if (mode == "tokenize" && argc == 5) {
        Model model = load(argv[2], true);
        tokenize(llama_model_get_vocab(model.get()), number(argv[3]), number(argv[4]));
    } else if (mode == "detokenize" && argc == 5) {
        Model model = load(argv[2], true);
        detokenize(llama_model_get_vocab(model.get()), number(argv[3]), number(argv[4]));
    } else if (mode == "pieces" && argc == 3) {
        Model model = load(argv[2], true);
        write_pieces(llama_model_get_vocab(model.get()));
    } else if (mode == "logits" && argc >= 4 && argc <= 6) {
        Model model = load(argv[2], false);
        const uint32_t batch = number(option(argc, argv, 5, "BATCH=", "512").c_str());
        if (!batch) die("BATCH is at least 1");
        logits(model.get(), (int) number(argv[3]), option(argc, argv, 4, "KV=", "f16"), batch);
    } else if (mode == "greedy" && (argc == 5 || argc == 6)) {
        Model model = load(argv[2], false);
        greedy(model.get(), (int) number(argv[3]), number(argv[4]), option(argc, argv, 5, "KV=", "f16"));
    } else {
        return usage();
    }
    return std::fflush(stdout) ? 1 : 0;
}
