/* op.c - the list of operations, and what they share */
#include "lib/nn/engine/engine.h"

#define OP_ROW(name) &op_##name,
const struct op *const op_list[] = { OPS(OP_ROW) };
const int op_count = ARRAY_SIZE(op_list);

struct cost op_cost_filters(const struct node *x, enum dtype element)
{
	double pixels = (double)x->h * x->w;

	return (struct cost){ 2 * x->weights * pixels, element, 2 * pixels * x->ld * element_size(x->store) };
}
