#include "lib/nn/weights/model.h"
#include "lib/nn/weights/aliases.h"
#include "lib/nn/model/positions.h"

#include <math.h>

size_t model_staging(const struct net *net)
{
	return (size_t)(net_params(net) + net_buffers(net)) * sizeof(float);
}

int model_collect(const struct net *net, const char *prefix, int layers, const float *params, const float *buffers,
		  float *staging, struct tensor *tensors)
{
	const struct net_tensor *list;
	int n = net_tensors(net, &list), count = 0;

	for (int i = 0; i < n; i++) {
		const struct net_tensor *t = &list[i];
		char name[TENSOR_NAME];

		if ((t->buffer && !buffers) || !(layers & LAYERS_OF(t->output)))
			continue;
		if (format(name, sizeof(name), "%s%s", prefix, t->name) < 0)
			bug("tensor name '%s%s' is too long", prefix, t->name);
		net_export(net, t, t->buffer ? buffers : params, staging);
		tensors[count++] = tensor_borrow(name, F32, t->rank, t->shape, staging);
		staging += t->count;
	}
	return count;
}

/* --- reading --- */

static float half_to_float(uint16_t h)
{
	uint32_t sign = (uint32_t)(h & 0x8000) << 16, exponent = h >> 10 & 31, mantissa = h & 1023, bits;
	float f;

	if (exponent == 0) {
		f = (float)mantissa * 0x1p-24f;
		return sign ? -f : f;
	}
	bits = sign | (exponent == 31 ? 255 : exponent + 112) << 23 | mantissa << 13;
	memcpy(&f, &bits, 4);
	return f;
}

/* Element i of a file's tensor as f32. */
static float element(const struct tensor *t, int64_t i)
{
	uint32_t bits;
	float f;

	switch (t->dtype) {
	case F32:
		return ((const float *)t->data)[i];
	case F64:
		return (float)((const double *)t->data)[i];
	case F16:
		return half_to_float(((const uint16_t *)t->data)[i]);
	case BF16:
		bits = (uint32_t)((const uint16_t *)t->data)[i] << 16;
		memcpy(&f, &bits, 4);
		return f;
	default:
		bug("tensor '%s' is no floating-point tensor", t->name);
	}
}

static bool is_floating(const struct tensor *t)
{
	return t->dtype == F32 || t->dtype == F64 || t->dtype == F16 || t->dtype == BF16;
}

/* What may have been given wrongly where a tensor does not fit. */
static const char *doubt(const struct net_tensor *t)
{
	if (strncmp(t->name, "head.", 5) == 0)
		return "the file's head is another: leave --head and --dim out";
	if (strncmp(t->name, "predictor.", 10) == 0)
		return "the file's predictor is another: leave --predictor out";
	return t->rank == 3 ? "is it a file of this architecture, for images of this size?"   /* a position embedding */
			    : "is it a file of this architecture?";
}

static int check_tensor(const char *path, const struct net_tensor *t, const struct tensor *found, const char *name)
{
	struct tensor wanted = tensor_borrow(t->name, F32, t->rank, t->shape, NULL), shape = found ? *found : wanted;
	char a[128], b[128];

	/* timm has a 1x1 convolution for a linear layer */
	while (shape.rank > wanted.rank && shape.shape[shape.rank - 1] == 1)
		shape.rank--;
	if (!found)
		return fail_code(EXIT_USAGE, "'%s' has no tensor '%s' %s: %s", path, name, tensor_spec(&wanted, a, sizeof(a)),
				 doubt(t));
	shape.dtype = F32;
	if (!is_floating(found) || !tensor_same_spec(&wanted, &shape))
		return fail_code(EXIT_USAGE, "tensor '%s' of '%s' is %s, the network needs %s: %s", name, path,
				 tensor_spec(found, a, sizeof(a)), tensor_spec(&wanted, b, sizeof(b)), doubt(t));
	return 0;
}

/* timm calls its classifiers head.weight and head.bias; our heads are head.0 and on. */
bool model_is_head(const char *name)
{
	static const char *const heads[] = { "fc.", "classifier.", "head.", "heads.", "projector.", "projection_head.",
					     "predictor.", "prediction_head.", "prototypes." };

	for (int i = 0; i < ARRAY_SIZE(heads); i++)
		if (strncmp(name, heads[i], strlen(heads[i])) == 0)
			return true;
	return false;
}

bool model_is_counter(const char *name)
{
	static const char counter[] = "num_batches_tracked";
	size_t n = strlen(name), end = strlen(counter);

	return n >= end && strcmp(name + n - end, counter) == 0;
}

/* A larger network's file holds all that a smaller one of its family needs, and would make a wrong one of it. */
static int check_leftovers(const struct tensors *f, const char *path, const char *prefix, const bool *used)
{
	size_t n = strlen(prefix);
	char spec[128];

	for (int i = 0; i < f->count; i++) {
		const struct tensor *t = &f->tensors[i];

		if (!used[i] && strncmp(t->name, prefix, n) == 0 && !model_is_head(t->name + n) && !model_is_counter(t->name))
			return fail_code(EXIT_USAGE,
					 "'%s' has a tensor '%s' %s, which the network has not: is it a file of this "
					 "architecture?",
					 path, t->name, tensor_spec(t, spec, sizeof(spec)));
	}
	return 0;
}

/* Whether the file has the network's own layers of an output: what is called head.0 and on, if it says that it is ours, or if
 * there is no more of it than the network has (or else it is another project's projector). */
static bool has_layers(const struct net *net, const struct tensors *f, const char *prefix, enum output output)
{
	const char *word = output == OUTPUT_HEAD ? "" : net_word(net, output);
	const struct net_tensor *list;
	int n = net_tensors(net, &list), start = (int)strlen(prefix), length;
	char stem[TENSOR_NAME];
	bool any = false, more = false;

	length = snprintf(stem, sizeof(stem), "%s.%s%s", output == OUTPUT_HEAD ? "head" : "predictor", word, *word ? "." : "");
	for (int i = 0; i < f->count; i++) {
		const char *name = f->tensors[i].name + start;
		bool known = false;

		if (strncmp(f->tensors[i].name, prefix, start) != 0 || strncmp(name, stem, length) != 0 || name[length] < '0' ||
		    name[length] > '9')
			continue;
		for (int j = 0; j < n; j++)
			known |= strcmp(list[j].name, name) == 0;
		any |= known;
		more |= !known;
	}
	return any && (!more || tensors_meta(f, "head"));
}

bool model_fits(const struct net *net, const struct tensors *f, const char *prefix, enum output output)
{
	const struct net_tensor *list;
	int n = net_tensors(net, &list);

	for (int i = 0; i < n; i++) {
		char name[2 * TENSOR_NAME];
		const struct tensor *found;
		struct tensor wanted = tensor_borrow(list[i].name, F32, list[i].rank, list[i].shape, NULL), shape;

		if (list[i].output != output)
			continue;
		snprintf(name, sizeof(name), "%s%s", prefix, list[i].name);
		found = tensors_find(f, name);
		if (!found)
			return false;
		shape = *found;
		shape.dtype = F32;
		if (!tensor_same_spec(&wanted, &shape))
			return false;
	}
	return has_layers(net, f, prefix, output);
}

/* Side of the square grid of a file's position embedding where it is another than the network's; 0: it is none. */
static int other_grid(const struct net_tensor *t, const struct tensor *found)
{
	int64_t side;

	if (!t->grid[0] || !found || !is_floating(found) || found->rank != 3 || found->shape[0] != 1 ||
	    found->shape[1] == t->shape[1] || found->shape[2] != t->shape[2] || found->shape[1] > 1 << 20)
		return 0;
	side = lround(sqrt(found->shape[1] - 1));
	return side * side == found->shape[1] - 1 ? (int)side : 0;
}

/* The values of a file's tensor as the network needs them. */
static int read_values(const char *path, const struct net_tensor *t, const struct tensor *found, const char *name, float *values)
{
	int side = other_grid(t, found);
	int64_t count = side ? found->shape[1] * found->shape[2] : t->count;
	float *from = values;

	if (!side && check_tensor(path, t, found, name) < 0)
		return -1;
	if (side)
		from = xmalloc(count * sizeof(float));
	for (int64_t j = 0; j < count; j++)
		from[j] = element(found, j);
	if (!side)
		return 0;
	note("'%s' is for %dx%d patches: its position embedding is resized to %dx%d", path, side, side, t->grid[1], t->grid[0]);
	positions_resize(from, side, side, values, t->grid[0], t->grid[1], (int)t->shape[2]);
	free(from);
	return 0;
}

/* timm's MobileNetV3 has batch norm of another eps: the same function, when the variances make up for it. */
static void settle_eps(const struct arch *a, const struct net_tensor *t, float *values)
{
	double more = aliases_bn_eps(a) - a->bn_eps;
	size_t n = strlen(t->name);

	for (int64_t i = 0; more != 0 && n > 12 && strcmp(t->name + n - 12, ".running_var") == 0 && i < t->count; i++)
		values[i] = (float)(values[i] + more);
}

static int read_tensor(const struct net *net, const struct net_tensor *t, const struct tensors *f, const char *path,
		       const struct model_place *place, float *values, bool *used)
{
	const struct arch *a = net_configuration(net)->arch;
	const struct tensor *found;
	char name[2 * TENSOR_NAME], theirs[TENSOR_NAME];
	bool other = place->other && aliases_translate(a, t->name, theirs, sizeof(theirs)) == 0;

	snprintf(name, sizeof(name), "%s%s", place->prefix, other ? theirs : t->name);
	found = tensors_find(f, name);
	if (read_values(path, t, found, name, values) < 0)
		return -1;
	used[found - f->tensors] = true;
	if (other)
		settle_eps(a, t, values);
	return 0;
}

int model_load(const struct net *net, const struct tensors *f, const char *path, const struct model_place *place, int required,
	       int layers, float *params, float *buffers, bool *used)
{
	bool *mine = used ? NULL : xcalloc(f->count, sizeof(*mine));
	float *values = xmalloc(model_staging(net));
	const struct net_tensor *list;
	int n = net_tensors(net, &list), r = 0;

	for (enum output o = OUTPUT_HEAD; o < OUTPUTS; o++)
		if (!(required & LAYERS_OF(o)) && !has_layers(net, f, place->prefix, o))
			layers &= ~LAYERS_OF(o);
	for (int i = 0; i < n && r == 0; i++) {
		const struct net_tensor *t = &list[i];

		if ((t->buffer && !buffers) || !(layers & LAYERS_OF(t->output)))
			continue;
		r = read_tensor(net, t, f, path, place, values, used ? used : mine);
		if (r == 0)
			net_import(net, t, values, t->buffer ? buffers : params);
	}
	if (r == 0)
		r = check_leftovers(f, path, place->prefix, used ? used : mine);
	free(values);
	free(mine);
	return r < 0 ? -1 : layers;
}
