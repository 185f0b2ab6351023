/*
 * nearest.h - the k largest scores of a long stream
 *
 * Scores come in runs x[j] * scale[j] + shift[j], with indices that never fall. Of equal scores the lower index is better.
 * What exceeds the floor is kept; when the room is full, the k best stay and the floor rises to the worst of them. A vector loop
 * passes over short runs that hold nothing above the floor, which soon are most.
 *
 *	struct nearest h = { .keys = room, .k = 200 };      NEAREST_ROOM(200) keys
 *	nearest_clear(&h);
 *	nearest_offer(&h, x, scale, shift, n, first);       indices first .. first+n-1
 *	nearest_sort(&h);                                   h.count keys, best first
 *	nearest_score(h.keys[0]), nearest_index(h.keys[0])
 */
#ifndef PROBE_NEAREST_H
#define PROBE_NEAREST_H

#include "lib/base/base.h"

enum { NEAREST_RUN = 64 };
#define NEAREST_ROOM(k) (2 * (k) + 2 * NEAREST_RUN)

/* Scores and indices in numbers that sort alike: the larger is the better. */
typedef uint64_t nearest_key;

struct nearest {
	nearest_key *keys;
	int k, count;
	float floor;
};

void nearest_clear(struct nearest *h);
void nearest_offer(struct nearest *h, const float *x, const float *scale, const float *shift, int n, int32_t first);
void nearest_sort(struct nearest *h);
float nearest_score(nearest_key key);
int32_t nearest_index(nearest_key key);

#endif
