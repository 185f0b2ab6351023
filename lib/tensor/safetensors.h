/*
 * safetensors.h - files of named tensors: u64 LE header size, JSON header, data (the format's README, huggingface/safetensors)
 *
 * Reading checks what the reference implementation checks: sizes, overflow, duplicate names, no holes, no overlap, exact file
 * length. Writing is whole or not at all (write_whole). Metadata is a flat text map. Files that are written with metadata carry
 * a checksum there, which is verified when they are read: sprat.crc32, zlib's CRC-32 of the whole file in hexadecimal, its own
 * eight digits taken for zeros.
 *
 *	struct tensors f;
 *	if (safetensors_open(&f, "run/model.safetensors") < 0) return -1;
 *	const struct tensor *w = tensors_find(&f, "conv1.weight");      borrows from f
 *	tensors_close(&f);
 */
#ifndef TENSOR_SAFETENSORS_H
#define TENSOR_SAFETENSORS_H

#include "lib/tensor/tensors.h"

/* Maps and validates a file. 0, or -1 after fail(). Tensors may be misaligned for their type only if the file makes them so;
 * such files are copied to aligned memory. */
int safetensors_open(struct tensors *f, const char *path);
/* The same for a file that is mapped already, and may be another program's: one that changes the weights of our file often
 * copies its metadata, and a checksum that does not fit any more. It is not looked at where the header is none of ours. */
int safetensors_parse(struct tensors *f, const char *path);

/* Writes path whole or not at all; the bytes depend only on the arguments (tensors are ordered by alignment, then name). */
int safetensors_write(const char *path, const struct tensor *tensors, int count, const struct metadata *meta, int meta_count);
/* The same, and what was at path is at kept afterwards (write_keeping). */
int safetensors_replace(const char *path, const char *kept, const struct tensor *tensors, int count, const struct metadata *meta,
			int meta_count);

#endif
