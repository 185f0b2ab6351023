/*
 * arch.h - architectures as tables of rows
 *
 * To add an architecture: write its rows in arch.c and add one line to archs[]. net_new() checks shapes; help, parity tests and
 * the man-page check iterate the table. Rows hold an op and integers only.
 */
#ifndef NN_ARCH_H
#define NN_ARCH_H

#include "lib/base/options.h"

struct arch;
extern const struct table arch_table;
const struct arch *arch_find(const char *name);   /* NULL when there is none */

#endif
