/*
 * nbd_load.c - finding libnbd and its functions.
 *
 * SPDX-License-Identifier: MIT
 */
#ifdef HAVE_LIBNBD

#include "io/nbd_load.h"

#include <dlfcn.h>
#include <stddef.h>
#include <string.h>

#include "base/err.h"

#define LIBRARY "libnbd.so.0"

#define ENTRY(name) {"nbd_" #name, offsetof(struct q2_libnbd, name)},

static const struct {
	const char *name;
	size_t at;
} calls[] = {Q2_NBD_CALLS(ENTRY)};

enum q2_status q2_libnbd_load(struct q2_libnbd *nbd, struct q2_err *err)
{
	/* Threads may hold what it has allocated for them until they end. */
	void *library = dlopen(LIBRARY, RTLD_NOW | RTLD_LOCAL | RTLD_NODELETE);

	*nbd = (struct q2_libnbd){0};
	if (library == NULL)
		return q2_fail(err, Q2_E_UNSUPPORTED, 0, Q2_NO_OFFSET,
			       "NBD servers are reached through libnbd, and "
			       LIBRARY " cannot be loaded");
	for (size_t i = 0; i < sizeof(calls) / sizeof(*calls); i++) {
		void *call = dlsym(library, calls[i].name);

		if (call == NULL) {
			dlclose(library);
			*nbd = (struct q2_libnbd){0};
			return q2_fail(err, Q2_E_UNSUPPORTED, 0, Q2_NO_OFFSET,
				       LIBRARY " is too old: it has no %s",
				       calls[i].name);
		}
		memcpy((char *)nbd + calls[i].at, &call, sizeof(call));
	}
	nbd->library = library;
	return Q2_OK;
}

void q2_libnbd_drop(struct q2_libnbd *nbd)
{
	if (nbd->library)
		dlclose(nbd->library);
	*nbd = (struct q2_libnbd){0};
}

#else

typedef int q2_no_libnbd; /* a file must not be empty */

#endif
