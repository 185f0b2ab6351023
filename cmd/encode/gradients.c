/* gradients.c - what the loss sends back: whether it fits what it was sent, and who is to blame where the weights go astray */
#include "cmd/encode/training.h"

#include <math.h>

int gradients_check(const struct training *r, const struct record *grad, int64_t step)
{
	if (grad->kind != KIND_GRAD || record_int(grad, "step", -1) != step)
		return fail("the loss sent '%s' of step %lld in place of the gradient of step %lld", kind_name(grad->kind),
			    (long long)record_int(grad, "step", -1) + 1, (long long)step + 1);
	if (record_int(grad, "incarnation", 0) != r->incarnation)
		return fail("refused a gradient that was made for another run of encode");
	return 0;
}

/* The wish that a gradient called d:NAME answers; NULL: none. */
static const struct wish *answered(const struct training *r, const char *name)
{
	for (int i = 0; strncmp(name, "d:", 2) == 0 && i < r->demand.count; i++)
		if (strcmp(r->demand.wishes[i].text, name + 2) == 0 && r->demand.wishes[i].trained)
			return &r->demand.wishes[i];
	return NULL;
}

/* Whether a gradient is for a name that a trained stage in front makes. */
static bool is_passed(const struct training *r, const char *name)
{
	return r->leads && strncmp(name, "d:", 2) == 0 && record_named(r->demand.wanted, name + 2) &&
	       record_named(r->demand.names[FOR_QUERIES], name + 2);
}

void gradients_pass(const struct training *r, const struct record *grad, int64_t step, bool save)
{
	struct record *up = record_new(KIND_GRAD);

	record_set_int(up, "step", step);
	record_set_int(up, "incarnation", record_int(stage_schema(r->s), "incarnation", 0));
	record_set_bool(up, "save", save);
	record_set_bool(up, "last", step + 1 == r->end);
	if (r->stop)
		record_set_int(up, "stop", r->stop);
	if (record_scalar(grad, "loss"))
		record_set_real(up, "loss", record_real(grad, "loss", 0));
	for (int i = 0; i < grad->tensor_count; i++)
		if (is_passed(r, grad->tensors[i].name))
			record_add(up, tensor_share(&grad->tensors[i]));
	stage_reply(r->s, up);
	record_free(up);
}

/* What comes besides gradients of what is trained and the loss's own state would be left out without a word. */
static int check_names(const struct training *r, const struct record *grad, int64_t step)
{
	for (int i = 0; i < grad->tensor_count; i++) {
		const char *name = grad->tensors[i].name;

		if (strncmp(name, "loss.", 5) != 0 && !answered(r, name) && !is_passed(r, name))
			return fail("the loss sent '%s' in step %lld: a grad holds d:NAME for what was asked for and is "
				    "trained, and the loss's state as loss.*",
				    name, (long long)step + 1);
	}
	return 0;
}

/* The loss's own number is not used here, but one that is no number tells of a fault there. */
static int check_loss(const struct training *r, const struct record *grad, int64_t step)
{
	const struct scalar *x = record_scalar(grad, "loss");

	if (!x && step == r->first)
		note("the loss sends no scalar 'loss': it is trained all the same");
	if (x && (x->type == SCALAR_STR || x->type == SCALAR_BOOL || !isfinite(record_real(grad, "loss", 0))))
		return fail("the loss's scalar 'loss' in step %lld is no finite number", (long long)step + 1);
	return 0;
}

static void note_steepest(struct training *r, const struct tensor *d, int64_t step)
{
	struct suspicion *s = &r->suspicion;

	if (step > s->step + r->save_every)
		s->steepest = 0;
	for (int64_t i = 0; i < tensor_count(d); i++)
		if (fabsf(tensor_f32(d)[i]) > s->steepest)
			*s = (struct suspicion){ fabsf(tensor_f32(d)[i]), step };
}

/* The gradient for a wish in *d. 0, with NULL where it needs none, or -1. */
static int find_gradient(struct training *r, const struct record *grad, const struct wish *w, int64_t step,
			 const struct tensor **d)
{
	const struct tensor *x = record_find(r->answer, w->text);
	char name[TENSOR_NAME + 2], a[128], b[128];
	int64_t bad;

	snprintf(name, sizeof(name), "d:%s", w->text);
	*d = record_find(grad, name);
	if (!*d && w->must)
		return fail("the loss sent no '%s' in step %lld", name, (long long)step + 1);
	if (!*d)
		return 0;
	if (!tensor_same_spec(*d, x))
		return fail("the loss sent '%s' as %s, but '%s' is %s: the shape does not fit", name,
			    tensor_spec(*d, a, sizeof(a)), w->text, tensor_spec(x, b, sizeof(b)));
	note_steepest(r, *d, step);
	bad = tensor_nonfinite(tensor_f32(*d), tensor_count(*d));
	return bad == 0 ? 0 : fail("the loss sent %lld value%s in '%s' of step %lld that %s not finite", (long long)bad,
				   bad == 1 ? "" : "s", name, (long long)step + 1, bad == 1 ? "is" : "are");
}

int gradients_find(struct training *r, const struct record *grad, int64_t step, struct gradients *g)
{
	bool any = false;

	*g = (struct gradients){ .any = { false } };
	for (int i = 0; i < r->demand.count; i++) {
		const struct wish *w = &r->demand.wishes[i];
		const struct tensor *d;

		if (!w->trained)
			continue;
		if (find_gradient(r, grad, w, step, &d) < 0)
			return -1;
		g->d[w->view][w->output] = d;
		g->any[w->view] |= d != NULL;
		any |= d != NULL;
	}
	if (check_names(r, grad, step) < 0 || check_loss(r, grad, step) < 0)
		return -1;
	return any ? 0 : fail("the loss sent no gradient in step %lld: nothing would be trained", (long long)step + 1);
}

/* Adds to the sentence who led there: a loss whose gradients no network can follow, or the rate. */
int gradients_blame(const struct training *r)
{
	static const float absurd = 1e6f; /* of a mean over a batch it is well below 1 */
	char *cause = xstrdup(why());

	if (r->suspicion.steepest > absurd)
		fail("%s: the loss sent gradients as large as %.1e in step %lld", cause, r->suspicion.steepest,
		     (long long)r->suspicion.step + 1);
	else
		fail("%s: try a smaller lr, a longer warm-up or a higher temperature", cause);
	free(cause);
	return -1;
}
