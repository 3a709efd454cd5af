/* Elementary functions on vectors, the same polynomial on every ISA. */

/* exp, relative error under 2e-7; results below 2^-126 become 0. Argument split into n ln 2 + r, |r| <= ln 2 / 2. */
EQ_INLINE vf v_exp(vf x) {
    vf clipped = v_max(v_set(-87.3f), v_min(v_set(88.3f), x)); /* in this order a NaN stays one */
    vf n = v_round(v_mul(clipped, v_set(1.44269504f)));
    vf r = v_fma(n, v_set(-0.693145752f), clipped);
    r = v_fma(n, v_set(-1.42860677e-6f), r);
    vf p = v_set(1.0f / 5040);
    p = v_fma(p, r, v_set(1.0f / 720));
    p = v_fma(p, r, v_set(1.0f / 120));
    p = v_fma(p, r, v_set(1.0f / 24));
    p = v_fma(p, r, v_set(1.0f / 6));
    p = v_fma(p, r, v_set(0.5f));
    p = v_fma(p, r, v_set(1.0f));
    p = v_fma(p, r, v_set(1.0f));
    return v_below(x, v_set(-87.3f), v_zero(), v_mul(p, v_pow2(n)));
}

/* tanh x = 1 - 2 / (exp 2x + 1); absolute error near 1e-7 */
EQ_INLINE vf v_tanh(vf x) {
    vf clipped = v_max(v_set(-10.0f), v_min(v_set(10.0f), x));
    vf e = v_exp(v_add(clipped, clipped));
    return v_sub(v_set(1.0f), v_div(v_set(2.0f), v_add(e, v_set(1.0f))));
}
