/*
 * net.h - a network: named parameters of an architecture; its plans for views of one size; passes, forward and backward
 *
 * A net is tensors and layout only; it owns no weights and has no size. Parameters, gradients, momentum and the key encoder are
 * flat f32 vectors of net_params() elements in one common layout (body, head, predictor), BN running statistics flat vectors of
 * net_buffers() elements, so that optimiser, EMA, checkpoint, norm and the finite check are one loop each. A plan is how views
 * of one size go through it: plans of several sizes read the same vectors. Activations live in a pass of a plan: one pass for
 * every forward whose backward is still to come (a symmetric loss needs two), planned once, no malloc in the training loop.
 *
 * A plan's loops and products are those of the level of instructions when it was made (lib/base/isa.h), a pass takes the number
 * of OpenMP threads then; how it works inside stands in engine.h.
 *
 * Layout is NHWC throughout. Views enter as u8; (x/255 - mean)/std is fused into the first layer's reading.
 *
 *	struct net_config c = { .arch = arch_find("resnet18"), .small = true, .head = "linear", .dim = 128,
 *	                        .height = 32, .width = 32, .mean = {...}, .std = {...} };
 *	struct net *net = net_new(&c);                                   NULL after fail()
 *	float *params = xaligned(net_params(net) * sizeof(float));
 *	float *buffers = xaligned(net_buffers(net) * sizeof(float));
 *	net_init(net, seed, params, buffers);
 *	struct plan *plan = plan_new(net, 32, 32);                       NULL after fail()
 *	struct pass *pass = pass_new(plan, 256, true);
 *	pass_forward(pass, params, statistics, views, 256, PASS_TRAIN);
 *	loss_gradient(pass_output(pass, OUTPUT_HEAD), d_head);           (256, dim)
 *	pass_backward(pass, params, (const float *[OUTPUTS]){ [OUTPUT_HEAD] = d_head }, grads);    grads += d loss / d params
 */
#ifndef NN_NET_H
#define NN_NET_H

#include "lib/nn/model/arch.h"
#include "lib/nn/model/heads.h"
#include "lib/tensor/tensor.h"

struct meter;

/* What a network gives, each computed from the one before; the layers of a parameter's output are those that lead to it. */
enum output {
	OUTPUT_FEATURE,         /* of the backbone */
	OUTPUT_HEAD,
	OUTPUT_PREDICTOR,       /* the first of several, all of the head's output, which keys do without */
	OUTPUTS = OUTPUT_PREDICTOR + PREDICTORS
};

struct net_config {
	const struct arch *arch;
	bool small;             /* small images: stride 1 in front (3x3 for ResNet), no max-pool there */
	const char *head;       /* "none", "linear", ..., or spelled: heads.h */
	const char *predictor;  /* the same, or several; NULL: "none" */
	int dim;                /* of the head's output, where that is named */
	int height, width;      /* of the views that a position embedding is laid out for: plans of other sizes resize it */
	double dropout;         /* probability, in training, where torchvision's network has it before the last layer; 0: none */
	double drop_path;       /* stochastic depth: probability of the last block's branch, growing from 0 at the first */
	float mean[3], std[3];  /* of the normalisation of u8 views */
	bool bf16;              /* activations, their gradients and working weights in bf16; all sums in f32 */
	const char *backend;    /* "blas", "onednn"; NULL: onednn where built in, else blas */
	const char *freeze;     /* what training keeps as it is, with commas between: backbone, head, predictor, a tensor's name,
				 * or what names begin with up to a dot; NULL or "none": nothing */
	const char *rates;      /* multiples of the optimiser's learning rate for tensors named alike, the last that names one
				 * counts: "backbone=0.01,head=1"; NULL or "1": that rate for all */
};

/* One named tensor of the network under torchvision's name (head under head.*, predictor under predictor.*), with torchvision's
 * shape. */
struct net_tensor {
	char name[TENSOR_NAME];
	enum output output;     /* the first that depends on it */
	bool buffer;            /* BN running statistics, not a parameter */
	bool norm_or_bias;      /* for optimisers that decay neither */
	bool frozen;            /* no gradient counts, no update; of a buffer: its batch norm's weight and bias are frozen */
	double rate;            /* times the optimiser's learning rate */
	int rank;
	int64_t shape[4];       /* as in torchvision: conv (out, in/groups, kh, kw), linear (out, in) */
	int grid[2];            /* of a position embedding: rows and columns of patches behind the class token; else 0 */
	int64_t offset, count;  /* in the flat vector of parameters or buffers */
};

struct net *net_new(const struct net_config *c);
void net_free(struct net *net);
const struct net_config *net_configuration(const struct net *net);
int64_t net_params(const struct net *net);
int64_t net_buffers(const struct net *net);
int net_width(const struct net *net, enum output output);   /* 0: it has none */
/* The predictor of this word ("": the one without); 0 where there is none. And the word of one. */
enum output net_predictor(const struct net *net, const char *word);
const char *net_word(const struct net *net, enum output predictor);
int net_tensors(const struct net *net, const struct net_tensor **list);   /* how many; list may be NULL */
/* torchvision's initialisation of the architecture, drawn by Philox (seed, tensor number); running mean 0, variance 1. */
void net_init(const struct net *net, uint64_t seed, float *params, float *buffers);

/* Copies between a flat vector and one tensor in torchvision's layout (exact, a permutation). */
void net_export(const struct net *net, const struct net_tensor *t, const float *flat, float *out);
void net_import(const struct net *net, const struct net_tensor *t, const float *in, float *flat);

/* The net for views of this size; NULL after fail() with EXIT_USAGE: they are too small, or do not suit its patches. net must
 * outlive it. */
struct plan *plan_new(const struct net *net, int height, int width);
void plan_free(struct plan *plan);

enum pass_mode {
	PASS_TRAIN,             /* normalised by the batch's statistics, kept for backward */
	PASS_KEY,               /* by the batch's, nothing kept: the momentum encoder */
	PASS_EVAL,              /* by given ones, nothing kept */
};

/*
 * Where the masks of dropout and stochastic depth come from, by the counter-based stream: equal members, equal masks, whatever
 * the threads or the parts. In force in PASS_TRAIN and PASS_KEY, as in PyTorch's training mode.
 */
#define MASK_STREAMS 32
struct masks {
	uint64_t seed;
	uint32_t step;
	int stream;             /* below MASK_STREAMS: a step's passes draw apart */
	uint32_t row;           /* place in the whole batch of the first row */
};

/* Room for the activations of at most batch rows; grad: whether backward may follow. Without it there is no predictor. */
struct pass *pass_new(const struct plan *plan, int batch, bool grad);
void pass_free(struct pass *p);
size_t pass_bytes(const struct pass *p);
/*
 * Products want the weights in orders and precisions of their own. A pass makes such factors at every forward pass; passes of
 * one plan and the same parameters may share them: the first forward pass after factors_renew() makes them for all. grad: as of
 * the passes.
 */
struct factors *factors_new(const struct plan *plan, bool grad);
void factors_free(struct factors *f);
void factors_renew(struct factors *f);               /* the parameters have changed */
void pass_share(struct pass *p, struct factors *f);  /* f must outlive p */
/* Forward and backward passes tell a meter where their time goes (meter.h); NULL: none. */
void pass_meter(struct pass *p, struct meter *meter);
void pass_masks(struct pass *p, struct masks m);     /* of the next forward passes and their backward; zeros at first */
/* (rows, net_width()), valid until the next forward of this pass; NULL: there is none. */
const float *pass_output(const struct pass *p, enum output output);

/*
 * views u8 (rows, height, width, 3), any alignment. statistics: BN's means and variances, net_buffers() elements. In PASS_EVAL
 * they are read, those that are frozen in every mode; else those of these rows are written there (variances unbiased, as
 * PyTorch's), or not where it is NULL: moving the running ones is the caller's (statistics.h). Same arguments, same threads: same
 * bytes.
 */
void pass_forward(struct pass *p, const float *params, float *statistics, const uint8_t *views, int rows, enum pass_mode mode);
/* Adds to grads (flat) the gradient for d[i] (rows, width) of each output, NULL where that has none: what it adds for frozen
 * tensors says nothing, it goes no further than to the first that is not. The views given to the forward pass must still be
 * there. */
void pass_backward(struct pass *p, const float *params, const float *const d[OUTPUTS], float *grads);

#endif
