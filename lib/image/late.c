#include "lib/image/late.h"

#include <dlfcn.h>
#include <pthread.h>

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;

static void *open_first(struct late *l)
{
	void *library = NULL;

	for (size_t i = 0; i < ARRAY_SIZE(l->files) && l->files[i] && !library; i++) {
		library = dlopen(l->files[i], RTLD_NOW | RTLD_LOCAL);
		l->found = l->files[i];
	}
	return library;
}

/* Fills the pointers; the name of the first function that is not there, or NULL. */
static const char *find_calls(struct late *l, void *library)
{
	for (size_t i = 0; i < l->count; i++) {
		void *address = dlsym(library, l->names[i]);

		if (!address)
			return l->names[i];
		memcpy((char *)l->calls + i * sizeof(address), &address, sizeof(address));
	}
	return NULL;
}

static void find(struct late *l)
{
	void *library = open_first(l);
	const char *lacks = library ? find_calls(l, library) : NULL;

	if (!library)
		format(l->why, sizeof(l->why), "%s, which reads it, is not installed; on Debian: apt-get install %s", l->files[0],
		       l->package);
	else if (lacks)
		format(l->why, sizeof(l->why), "%s, which reads it, is too old: it has no %s", l->found, lacks);
	else if (l->begin)
		l->begin();
	l->state = library && !lacks ? LATE_HERE : LATE_MISSING;
}

int late_open(struct late *l)
{
	pthread_mutex_lock(&lock);
	if (l->state == LATE_NEW)
		find(l);
	pthread_mutex_unlock(&lock);
	return l->state == LATE_HERE ? 0 : fail("%s", l->why);
}
