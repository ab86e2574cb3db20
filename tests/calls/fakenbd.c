/*
 * fakenbd.c - the functions of libnbd that the library loads.
 *
 * SPDX-License-Identifier: MIT
 *
 * Each may fail (FAIL_NET).  As with libnbd, no answer is an error without a text, and
 * a connection on which one call after the other fails is dead.
 */
#ifdef HAVE_LIBNBD

#include "fakenbd.h"

#include <arpa/inet.h>
#include <dlfcn.h>
#include <errno.h>
#include <netinet/in.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "failcall.h"
#include "io/nbd_load.h"

struct nbd_handle {
	struct fake_server *server;
	int fd, other;
	bool untold; /* it could not say what it wants to be asked */
};

static struct fake_server *known;
static bool last_failed;

void fake_servers(struct fake_server *servers)
{
	known = servers;
}

/* Whether this call fails. */
static bool fails(void)
{
	last_failed = fail_now(FAIL_NET);
	return last_failed;
}

static struct nbd_handle *fake_create(void)
{
	struct nbd_handle *h = fails() ? NULL : malloc(sizeof(*h));

	if (h)
		*h = (struct nbd_handle){.fd = -1, .other = -1};
	return h;
}

static void fake_close(struct nbd_handle *h)
{
	if (h->fd >= 0)
		close(h->fd);
	if (h->other >= 0)
		close(h->other);
	free(h);
}

static int fake_shutdown(struct nbd_handle *h, uint32_t flags)
{
	(void)h;
	(void)flags;
	return fails() ? -1 : 0;
}

static int fake_set_uri_allow_local_file(struct nbd_handle *h, bool allow)
{
	(void)h;
	(void)allow;
	return fails() ? -1 : 0;
}

static int fake_add_meta_context(struct nbd_handle *h, const char *name)
{
	(void)h;
	(void)name;
	return fails() ? -1 : 0;
}

/* One end of a connection of this family to ourselves. */
static void connect_sockets(struct nbd_handle *h, int family)
{
	struct sockaddr_in at = {.sin_family = AF_INET,
				 .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
	socklen_t n = sizeof(at);
	int ends[2];

	if (family == AF_UNIX && socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC,
					    0, ends) == 0) {
		h->fd = ends[0];
		h->other = ends[1];
	} else if (family == AF_INET) {
		/* Its peer is a port that it alone has. */
		h->fd = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
		h->other = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
		if (bind(h->other, (struct sockaddr *)&at, n) == 0 &&
		    getsockname(h->other, (struct sockaddr *)&at, &n) == 0)
			(void)connect(h->fd, (struct sockaddr *)&at, n);
	}
}

static int fake_connect_uri(struct nbd_handle *h, const char *uri)
{
	if (fails())
		return -1;
	for (h->server = known; h->server->uri; h->server++)
		if (strcmp(h->server->uri, uri) == 0)
			break;
	if (h->server->uri == NULL)
		return -1;
	connect_sockets(h, h->server->family);
	return 0;
}

static int64_t fake_get_size(struct nbd_handle *h)
{
	return fails() ? -1 : h->server->size;
}

static int64_t fake_get_block_size(struct nbd_handle *h, int type)
{
	if (fails()) {
		h->untold = true;
		return -1;
	}
	return type == LIBNBD_SIZE_MINIMUM ? h->server->least :
					     h->server->most;
}

static int fake_is_read_only(struct nbd_handle *h)
{
	return fails() ? -1 : h->server->read_only;
}

static int fake_can_flush(struct nbd_handle *h)
{
	return fails() ? -1 : !h->server->no_flush;
}

static int fake_can_zero(struct nbd_handle *h)
{
	return fails() ? -1 : !h->server->no_zeros;
}

static int fake_can_meta_context(struct nbd_handle *h, const char *name)
{
	(void)name;
	return fails() ? -1 : !h->server->no_extents;
}

static int fake_aio_is_dead(struct nbd_handle *h)
{
	return fail_now(FAIL_NET) && !h->server->closes;
}

static int fake_aio_is_closed(struct nbd_handle *h)
{
	return fail_now(FAIL_NET) && h->server->closes;
}

static int fake_aio_get_fd(struct nbd_handle *h)
{
	return fails() ? -1 : h->fd;
}

static char *fake_get_export_name(struct nbd_handle *h)
{
	return fails() ? NULL : strdup(h->server->export);
}

static const char *fake_get_error(void)
{
	return last_failed ? "the server says no" : NULL;
}

static int fake_get_errno(void)
{
	return last_failed ? EPROTO : 0;
}

/* The bytes that a request is about; NULL: it must not be made. */
static uint8_t *asked(struct nbd_handle *h, uint64_t n, uint64_t at, bool data)
{
	struct fake_server *s = h->server;
	uint64_t unit = s->least > 0 ? (uint64_t)s->least : 1;

	if (n == 0 || n % unit || at % unit || at > (uint64_t)s->size ||
	    n > (uint64_t)s->size - at ||
	    (data && s->most > 0 && n > (uint64_t)s->most)) {
		s->odd |= !h->untold;
		return NULL;
	}
	return s->bytes + at;
}

static int fake_pread(struct nbd_handle *h, void *p, size_t n, uint64_t at,
		      uint32_t flags)
{
	const uint8_t *from = asked(h, n, at, true);

	(void)flags;
	if (fails() || from == NULL)
		return -1;
	memcpy(p, from, n);
	return 0;
}

static int fake_pwrite(struct nbd_handle *h, const void *p, size_t n,
		       uint64_t at, uint32_t flags)
{
	uint8_t *to = asked(h, n, at, true);

	(void)flags;
	if (fails() || to == NULL || h->server->read_only)
		return -1;
	memcpy(to, p, n);
	h->server->writes++;
	return 0;
}

static int fake_zero(struct nbd_handle *h, uint64_t n, uint64_t at,
		     uint32_t flags)
{
	uint8_t *to = asked(h, n, at, false);

	(void)flags;
	if (fails() || to == NULL || h->server->read_only)
		return -1;
	memset(to, 0, n);
	h->server->zeros++;
	return 0;
}

static int fake_flush(struct nbd_handle *h, uint32_t flags)
{
	(void)flags;
	if (fails())
		return -1;
	h->server->flushes++;
	return 0;
}

/* Pieces of 4 KiB, some at once, and after what is of no interest here. */
#define PIECE 4096u
#define PIECES 8u

static int fake_block_status(struct nbd_handle *h, uint64_t n, uint64_t at,
			     nbd_extent_callback tell, uint32_t flags)
{
	const uint8_t *p = asked(h, n, at, false);
	uint32_t piece[2 * PIECES], other[] = {PIECE, 0};
	size_t used = 0;
	int error = 0;

	(void)flags;
	if (fails() || p == NULL)
		return -1;
	for (uint64_t i = 0; i < n && used < PIECES && !h->server->mute; used++) {
		uint32_t some = n - i < PIECE ? (uint32_t)(n - i) : PIECE;
		bool zero = true;

		for (uint32_t j = 0; j < some; j++)
			zero = zero && p[i + j] == 0;
		piece[2 * used] = some;
		piece[2 * used + 1] = zero ? LIBNBD_STATE_ZERO : 0;
		i += some;
	}
	(void)tell.callback(tell.user_data, "test:other", at, other, 2, &error);
	return tell.callback(tell.user_data, LIBNBD_CONTEXT_BASE_ALLOCATION, at,
			     piece, 2 * used, &error);
}

/* ----------------------------------------------------------------- loading */
#define MEMBER(name) .name = fake_##name,
#define ENTRY(name) {"nbd_" #name, offsetof(struct q2_libnbd, name)},

static struct q2_libnbd fake = {Q2_NBD_CALLS(MEMBER)};
static const struct {
	const char *name;
	size_t at;
} entries[] = {Q2_NBD_CALLS(ENTRY)};

void *__wrap_dlopen(const char *name, int how);
void *__wrap_dlsym(void *library, const char *name);
int __wrap_dlclose(void *library);

void *__wrap_dlopen(const char *name, int how)
{
	(void)how;
	return strcmp(name, "libnbd.so.0") != 0 || fails() ? NULL : &fake;
}

void *__wrap_dlsym(void *library, const char *name)
{
	void *call = NULL;

	for (size_t i = 0; i < sizeof(entries) / sizeof(*entries); i++)
		if (strcmp(entries[i].name, name) == 0 && !fails())
			memcpy(&call, (char *)library + entries[i].at,
			       sizeof(call));
	return call;
}

int __wrap_dlclose(void *library)
{
	(void)library;
	return 0;
}

#else

typedef int q2_no_libnbd; /* a file must not be empty */

#endif
