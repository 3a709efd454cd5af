/* Asked by a step, besides what bindings may ask. */
#ifndef EQ_GUARD_H
#define EQ_GUARD_H

#include "edgeq.h"

/* Whether a page of the guarded mapping that holds this address was gone when it was read. */
int32_t eq_guard_hit_at(const void *address);

#endif
