/* encode - networks between views and losses: trains one, or serves a frozen one */
#include "cmd/encode/encode.h"

#include "lib/base/isa.h"
#include "lib/base/threads.h"
#include "lib/nn/onnx/onnx.h"

#define AT(field) offsetof(struct options, field)
static const struct option_row rows[] = {
	{ 'a', "arch", OPT_CHOICE, AT(arch), 0, 0, "ARCH", "network; from -w when left out", &arch_table },
	{ 0, "small", OPT_FLAG, AT(small), 0, 0, NULL, "small images: stride 1 in front, no max-pool", NULL },
	{ 0, "head", OPT_TEXT, AT(head), 0, 0, "HEAD", "a name, or layers: 2048,bn,relu,128", NULL },
	{ 0, "predictor", OPT_LIST, AT(predictors), 0, 0, "[WORD=]PRED",
	  "the same behind the head, of queries alone; of several each has a WORD", NULL },
	{ 0, "dim", OPT_INT, AT(dim), 0, DIM_MOST, "N", "width of the head's output; 0: that of -w, or 128", NULL },
	{ 'w', "weights", OPT_TEXT, AT(weights), 0, 0, "FILE", "start from (or serve) these weights", NULL },
	{ 0, "frozen", OPT_FLAG, AT(frozen), 0, 0, NULL, "serve, do not train: a teacher", NULL },
	{ 0, "train-bn", OPT_FLAG, AT(train_bn), 0, 0, NULL, "with --frozen: normalise by the batch, as DisCo", NULL },
	{ 0, "eval", OPT_FLAG, AT(eval), 0, 0, NULL, "serve an evaluation stream", NULL },
	{ 0, "calibrate", OPT_FLAG, AT(calibrate), 0, 0, NULL,
	  "BN statistics from one pass over the training images first", NULL },
	{ 0, "as", OPT_TEXT, AT(as), 0, 0, "NAME", "serve NAMEi and NAMEfeaturei, not qi and featurei", NULL },
	{ 0, "lr", OPT_LIST, AT(rates), 0, 0, "NAME=FACTOR", "times the optimiser's rate: backbone=0.01,head=1", NULL },
	{ 0, "freeze", OPT_LIST, AT(freeze), 0, 0, "NAMES", "tensors that training keeps: backbone, head, layer1., ...", NULL },
	{ 0, "ema", OPT_TEXT, AT(ema), 0, 0, "M", "momentum of the key encoder; .99..1 rises; 0: no key encoder", NULL },
	{ 0, "ema-buffers", OPT_FLAG, AT(ema_buffers), 0, 0, NULL, "it averages BN statistics, takes none of its own", NULL },
	{ 0, "optim", OPT_CHOICE, AT(optim), 0, 0, "O", "optimiser", &optimiser_table },
	{ 0, "clip", OPT_REAL, AT(clip), 0, 1e9, "N", "greatest norm of the gradient; 0: any", NULL },
	{ 0, "schedule", OPT_CHOICE, AT(schedule), 0, 0, "S", "learning rate over the run", &schedule_table },
	{ 0, "bn-splits", OPT_INT, AT(bn_splits), 0, 1 << 20, "N",
	  "parts of a batch with BN statistics of their own; 0: one, or --microbatch's", NULL },
	{ 0, "microbatch", OPT_INT, AT(microbatch), 0, 1 << 20, "N",
	  "rows in memory: a larger batch comes in parts, twice; 0: all", NULL },
	{ 0, "bn-momentum", OPT_REAL, AT(bn_momentum), 0, 1, "M", "of running statistics; 0: the architecture's", NULL },
	{ 0, "dropout", OPT_REAL, AT(dropout), 0, 0.99, "P", "dropout before the head; 0: none", NULL },
	{ 0, "drop-path", OPT_REAL, AT(drop_path), 0, 0.99, "P", "stochastic depth of the last block; 0: none", NULL },
	{ 0, "precision", OPT_TEXT, AT(precision), 0, 0, "P", "f32, or bf16 for activations and products", NULL },
	{ 0, "backend", OPT_TEXT, AT(backend), 0, 0, "NAME", "blas or onednn; best available", NULL },
	{ 0, "export", OPT_TEXT, AT(export), 0, 0, "FILE", "write the network of -w for other runtimes, then end", NULL },
	{ 0, "format", OPT_CHOICE, AT(format), 0, 0, "F", "export: what it gives, takes and keeps", &onnx_formats },
	{ 0, "size", OPT_INT, AT(size), 0, VIEW_MOST, "N", "export: pixels a side of its images; 0: those of -w", NULL },
	{ 'o', "out", OPT_TEXT, AT(out), 0, 0, "DIR", "folder of the run: checkpoint and model", NULL },
	{ 0, "save-every", OPT_INT, AT(save_every), 0, 1e9, "N", "steps between checkpoints; 0: an epoch", NULL },
	{ 0, "until", OPT_INT, AT(until), 0, 1e9, "EPOCH", "stop after this epoch; 0: the last", NULL },
	{ 0, "fresh", OPT_FLAG, AT(fresh), 0, 0, NULL, "start over, whatever -o holds", NULL },
	{ 0, "profile", OPT_FLAG, AT(profile), 0, 0, NULL, "say at the end where training's time went, and its bound", NULL },
	STAGE_ROWS(struct options, stage),
	STAGE_SERVER_ROWS(struct options, stage),
	STAGE_CLIENT_ROWS(struct options, stage),
	OPTIONS_END,
};

static const struct manual manual = {
	.name = "encode",
	.usage = "[OPTION]...",
	.summary = "Train a network on the views that come in, with the loss that follows; or serve a frozen one.",
	.tail = "example:\n"
		"  augment photos | encode -a mobilenet_v3_large -o run | loss moco >> moco.jsonl\n"
		"  augment --eval --like run/model.safetensors photos | encode --eval -w run/model.safetensors |"
		" probe knn linear\n",
	.rows = rows,
};

/* Predictors as the one text that everybody else reads. */
static int join_predictors(struct options *o)
{
	static char text[1024];
	struct predictors p = { 0 };

	for (int i = 0; i < o->predictors.count; i++)
		if (predictors_add(&p, o->predictors.items[i]) < 0)
			return -1;
	if (o->predictors.count > 0)
		o->predictor = predictors_spell(&p, text, sizeof(text));
	return 0;
}

static int check_export(const struct options *o, bool serves)
{
	bool trains = o->out || o->profile || o->freeze.count > 0 || o->rates.count > 0 || o->predictors.count > 0;

	if (o->export && (serves || trains || o->train_bn || o->calibrate || o->as))
		return fail_code(EXIT_USAGE, "--export writes a file and ends: leave what is about training and serving out");
	if (!o->export && (o->size > 0 || strcmp(o->format.spelling, "onnx") != 0))
		return fail_code(EXIT_USAGE, "%s is about what --export writes: give --export FILE, or leave it out",
				 o->size > 0 ? "--size" : "--format");
	return 0;
}

/* Options that are about another life of encode. */
static int check_life(const struct options *o)
{
	bool serves = o->eval || o->frozen;

	if (check_export(o, serves) < 0)
		return -1;
	if (serves && (o->profile || o->freeze.count > 0 || o->rates.count > 0))
		return fail_code(EXIT_USAGE, "%s is about training: leave it out with --eval and --frozen",
				 o->profile ? "--profile" : o->freeze.count > 0 ? "--freeze" : "--lr");
	if (o->train_bn && (!o->frozen || o->eval || o->calibrate))
		return fail_code(EXIT_USAGE, "--train-bn is about teachers: give it with --frozen, no --eval, no --calibrate");
	if (o->train_bn && (o->dropout > 0 || o->drop_path > 0))
		return fail_code(EXIT_USAGE, "--train-bn is about batch norm alone: leave --dropout and --drop-path out");
	return 0;
}

int main(int argc, char **argv)
{
	struct options o = {
		.precision = "f32",
		.stage = STAGE_SERVER_OPTIONS_INIT,
		.optim.spelling = "sgd",
		.schedule.spelling = "cosine",
		.format.spelling = "onnx",
		.ema = "0.999",
	};
	struct stage *s;
	int first, r;

	/* arguments */
	threads_passive(argv);
	first = options_parse(&manual, &o, argc, argv);
	if (first >= 0 && first < argc)
		first = fail_code(EXIT_USAGE, "unexpected operand '%s': try 'encode --help'", argv[first]);
	o.stage.serves = !o.export;
	if (first < 0 || check_life(&o) < 0 || join_predictors(&o) < 0 || isa_init() < 0)
		return stage_refuse(manual.name, o.stage.serves);

	/* train, serve or write */
	memory_keep(true);
	s = stage_new(manual.name, &o.stage, argc, argv);
	r = o.export ? export(&o) : o.eval || o.frozen ? serve(s, &o) : train(s, &o);

	/* close */
	return stage_finish(s, r);
}
