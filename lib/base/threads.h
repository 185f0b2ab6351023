/*
 * threads.h - how many threads a stage uses, and how they wait
 *
 * OpenMP loops are the only threads of sprat's own. Stages share cores, so a thread that waits must sleep:
 * libgomp spins by default, which costs milliseconds a region on a shared machine.
 */
#ifndef BASE_THREADS_H
#define BASE_THREADS_H

/* Re-executes the program with OMP_WAIT_POLICY=passive unless the variable is set. First call of main. */
void threads_passive(char **argv);
/* n threads for the loops that follow; 0: every processor this process may run on. Returns the number. */
int threads_set(int n);

#endif
