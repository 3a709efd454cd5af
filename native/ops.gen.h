/* Made from edgeq/ops.py by `python -m edgeq.ops`. Do not edit. */
enum eq_op_kind {
    EQ_OP_EMBED = 0,
    EQ_OP_RMS_NORM = 1,
    EQ_OP_LINEAR = 2,
    EQ_OP_ROPE_TABLE = 3,
    EQ_OP_ROPE = 4,
    EQ_OP_KV_WRITE = 5,
    EQ_OP_ATTEND = 6,
    EQ_OP_GLU = 7,
    EQ_OP_ADD = 8,
    EQ_OP_SCALE = 9,
    EQ_OP_SOFTCAP = 10,
    EQ_OP_TAKE_ROWS = 11,
    EQ_OP_NORM_ADD = 12,
    EQ_OP_LINEAR_ADD = 13,
    EQ_OP_GATE_UP = 14,
    EQ_OP_QKV = 15,
    EQ_OP_MOMENTS = 16,
    EQ_OP_COUNT = 17
};

typedef struct { int32_t table; int32_t out; float scale; } eq_op_embed;
typedef struct { int32_t x; int32_t weight; int32_t out; int32_t width; float eps; } eq_op_rms_norm;
typedef struct { int32_t x; int32_t weight; int32_t bias; int32_t out; } eq_op_linear;
typedef struct { int32_t freqs; int32_t out; float mscale; } eq_op_rope_table;
typedef struct { int32_t x; int32_t table; int32_t out; int32_t head_dim; int32_t style; } eq_op_rope;
typedef struct { int32_t k; int32_t v; int32_t cache; } eq_op_kv_write;
typedef struct { int32_t q; int32_t out; int32_t cache; int32_t heads; float scale; float softcap; } eq_op_attend;
typedef struct { int32_t gate; int32_t up; int32_t out; int32_t act; } eq_op_glu;
typedef struct { int32_t a; int32_t b; int32_t out; } eq_op_add;
typedef struct { int32_t x; int32_t scale; int32_t out; } eq_op_scale;
typedef struct { int32_t x; int32_t out; float cap; } eq_op_softcap;
typedef struct { int32_t x; int32_t out; } eq_op_take_rows;
typedef struct { int32_t x; int32_t weight; int32_t residual; int32_t out; float eps; } eq_op_norm_add;
typedef struct { int32_t x; int32_t weight; int32_t bias; int32_t residual; int32_t out; } eq_op_linear_add;
typedef struct { int32_t x; int32_t gate; int32_t up; int32_t out; int32_t act; } eq_op_gate_up;
typedef struct { int32_t x; int32_t table; int32_t wq; int32_t bq; int32_t wk; int32_t bk; int32_t wv; int32_t bv; int32_t q_norm; int32_t k_norm; int32_t q; int32_t cache; int32_t heads; int32_t head_dim; int32_t style; float eps; } eq_op_qkv;
typedef struct { int32_t x; int32_t out; } eq_op_moments;

typedef struct {
    int32_t kind;
    int32_t layer;
    union {
        eq_op_embed embed;
        eq_op_rms_norm rms_norm;
        eq_op_linear linear;
        eq_op_rope_table rope_table;
        eq_op_rope rope;
        eq_op_kv_write kv_write;
        eq_op_attend attend;
        eq_op_glu glu;
        eq_op_add add;
        eq_op_scale scale;
        eq_op_softcap softcap;
        eq_op_take_rows take_rows;
        eq_op_norm_add norm_add;
        eq_op_linear_add linear_add;
        eq_op_gate_up gate_up;
        eq_op_qkv qkv;
        eq_op_moments moments;
    } u;
} eq_op;
