/*
 * onnx.h - a network as an ONNX file, for runtimes that know nothing of sprat (onnx/onnx, onnx.proto: IR version 8, opset 17)
 *
 * Input "image": f32 (N, 3, height, width), RGB; outputs "feature" and, where it is asked for, "q": f32 (N, width).
 * Names of constants are those of the network's tensors.
 *
 *	struct onnx_options o = { .head = true };
 *	return onnx_write("net.onnx", net, params, buffers, &o, meta, meta_count);
 */
#ifndef NN_ONNX_H
#define NN_ONNX_H

#include "lib/base/options.h"
#include "lib/nn/engine/net.h"
#include "lib/tensor/tensors.h"

struct onnx_options {
	bool head;               /* "q", the head's output, too */
	bool bn;                 /* batch norm stays an operation of its own, and is not in the weights before it */
	bool pixels;             /* "image" is pixels of 0 to 1, which the net's mean and deviation normalise first */
	int batch;               /* images at a time; 0: any number */
};

/* Formats of exported networks and their parameters; the options of a choice of it. */
extern const struct table onnx_formats;
struct onnx_options onnx_options(const struct choice *format);

/* Writes path whole or not at all, for images of the net's height and width. meta: what the file says of itself beyond its
 * shapes. 0, or -1 after fail(). */
int onnx_write(const char *path, const struct net *net, const float *params, const float *buffers, const struct onnx_options *o,
	       const struct metadata *meta, int meta_count);

#endif
