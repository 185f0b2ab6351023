/*
 * Products by AMX against sums in double, of random shapes: fewer numbers than a step has and more, odd ones, columns and rows
 * that fill no panel, transposed factors, packed ones, results in either type, added or not. What lies beside a result stays as
 * it is.
 */
#include "lib/base/rng.h"
#include "lib/tensor/amx.h"
#include "tests/check.h"

#include <math.h>

/* tests/parity/shim_amx.c */
int amx_emulate(bool on);

enum { CASES = 1500, GAP = 3 };

struct matrix {
	uint16_t *at;
	int rows, columns, ld;
};

static float widen(uint16_t h)
{
	union { uint32_t u; float f; } v = { (uint32_t)h << 16 };

	return v.f;
}

static uint16_t narrow(float f)
{
	union { float f; uint32_t u; } v = { f };

	return (uint16_t)((v.u + 0x7fff + (v.u >> 16 & 1)) >> 16);
}

static struct matrix draw(struct rng *r, int rows, int columns)
{
	struct matrix m = { xaligned((size_t)rows * (columns + GAP) * 2 + 64), rows, columns, columns + GAP };

	for (int i = 0; i < rows * m.ld; i++)
		m.at[i] = narrow((float)rng_normal(r));
	return m;
}

static float number(const struct matrix *m, bool turned, int i, int j)
{
	return widen(m->at[turned ? (int64_t)j * m->ld + i : (int64_t)i * m->ld + j]);
}

static float result(const void *c, enum dtype e, int64_t i)
{
	return e == F32 ? ((const float *)c)[i] : widen(((const uint16_t *)c)[i]);
}

static void *packed(const struct amx *amx, const struct product *p, const struct matrix *b)
{
	struct amx_source s = { b->at, BF16, b->ld, p->trans_b };
	char *to = xaligned(amx_packed(p->k, p->n));

	amx->pack(to, (int64_t)amx_steps(p->k) * AMX_STEP_BYTES, &s, p->k, p->n, 0, amx_panels(p->n));
	return to;
}

/* The largest error against the sums of doubles, in units of what rounding may do; 1e9 where a neighbour has changed. */
static double error(const struct product *p, const struct matrix *a, const struct matrix *b, const void *before)
{
	double worst = 0;

	for (int i = 0; i < p->m; i++)
		for (int j = 0; j < p->ldc; j++) {
			int64_t at = (int64_t)i * p->ldc + j;
			double sum = p->add ? result(before, p->result, at) : 0, size = fabs(sum), rounding;

			if (j >= p->n) {
				worst = result(p->c, p->result, at) == result(before, p->result, at) ? worst : 1e9;
				continue;
			}
			for (int q = 0; q < p->k; q++) {
				double term = (double)number(a, p->trans_a, i, q) * number(b, p->trans_b, q, j);

				sum += term;
				size += fabs(term);
			}
			rounding = size * 1e-6 + (p->result == BF16 ? fabs(sum) * 0x1p-8 : 0);
			worst = fmax(worst, fabs(result(p->c, p->result, at) - sum) / rounding);
		}
	return worst;
}

static double one_case(struct rng *r, const struct backend *amx, void *room, int number_of)
{
	int m = 1 + (int)rng_below(r, 90), n = 1 + (int)rng_below(r, 90), k = 1 + (int)rng_below(r, number_of % 5 ? 80 : 400);
	struct product p = { .element = BF16, .result = number_of & 1 ? F32 : BF16, .trans_a = number_of & 2,
			     .trans_b = number_of & 4, .add = number_of & 8, .m = m, .n = n, .k = k, .ldc = n + GAP };
	struct matrix a = p.trans_a ? draw(r, k, m) : draw(r, m, k), b = p.trans_b ? draw(r, n, k) : draw(r, k, n);
	struct matrix c = draw(r, m, 2 * p.ldc), before = c;   /* room for either type */
	bool is_packed = number_of & 16;
	double worst;

	before.at = xaligned((size_t)m * c.ld * 2);
	if (p.result == F32)
		for (int i = 0; i < m * p.ldc; i++)
			((float *)c.at)[i] = (float)rng_normal(r);
	memcpy(before.at, c.at, (size_t)m * c.ld * 2);
	p.a = a.at, p.lda = a.ld, p.b = is_packed ? packed(amx->amx, &p, &b) : b.at, p.ldb = b.ld, p.c = c.at;
	if (is_packed)
		amx->amx->multiply(room, &p);
	else
		amx->multiply(room, &p);
	worst = error(&p, &a, &b, before.at);
	if (is_packed)
		free((void *)p.b);
	free(a.at), free(b.at), free(c.at), free(before.at);
	return worst;
}

int main(void)
{
	const struct backend *amx;
	void *room;
	struct rng r;
	int bad = 0;

	if (isa() < ISA_AMX && amx_emulate(true) < 0) {
		check_skip("products by AMX", "this processor has neither AMX nor AVX512-BF16 to emulate it with");
		return check_done();
	}
	amx = backend_narrow(backend_find(NULL));
	room = amx->open();
	r = rng_at(1, 0, 0, 0, RNG_PROBE);
	for (int i = 0; i < CASES; i++)
		bad += !(one_case(&r, amx, room, i) <= 1);
	check(isa() < ISA_AMX ? "products by emulated AMX are as in double" : "products by AMX are as in double", bad == 0,
	      "%d of %d are not", bad, CASES);
	amx->close(room);
	return check_done();
}
