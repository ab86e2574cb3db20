/*
 * nbd.c - images on an NBD server, through libnbd.
 *
 * SPDX-License-Identifier: MIT
 */
#include "io/nbd.h"

#include <string.h>

#include "base/err.h"

bool q2_nbd_is_uri(const char *path)
{
	static const char *const known[] = {"nbd://", "nbds://", "nbd+unix://",
					    "nbds+unix://"};

	for (size_t i = 0; i < sizeof(known) / sizeof(*known); i++)
		if (strncmp(path, known[i], strlen(known[i])) == 0)
			return true;
	return false;
}

#ifndef HAVE_LIBNBD

enum q2_status q2_nbd_open(const char *uri, unsigned flags, struct q2_io **io,
			   struct q2_err *err)
{
	(void)uri;
	(void)flags;
	*io = NULL;
	return q2_fail(err, Q2_E_UNSUPPORTED, 0, Q2_NO_OFFSET,
		       "built without libnbd, which this takes");
}

enum q2_status q2_nbd_zero(struct q2_io *io, struct q2_range range, bool keep,
			   struct q2_err *err)
{
	(void)io;
	(void)keep;
	return q2_fail(err, Q2_E_UNSUPPORTED, 0, range.start,
		       "built without libnbd, which this takes");
}

bool q2_nbd_same(const struct q2_io *a, const struct q2_io *b)
{
	(void)a;
	(void)b;
	return false;
}

#else

#include <errno.h>
#include <stdlib.h>
#include <sys/socket.h>

#include "io/nbd_load.h"

#define ASK_MAX (UINT64_C(1) << 30)   /* bytes in a question about holes */
#define PART_MAX ((size_t)16 << 20) /* more than that helps nobody */

struct nbd {
	struct q2_io io; /* first */
	struct q2_libnbd nbd;
	struct nbd_handle *handle; /* has a lock of its own */
	bool connected;
	uint64_t unit; /* what offsets and lengths must be multiples of */
	size_t most;   /* so many bytes a request, at the most */
};

static enum q2_status failed(const struct nbd *n, struct q2_err *err,
			     uint64_t off)
{
	const char *why = n->nbd.get_error();
	int error = n->nbd.get_errno();

	/* Not this request's fault, and no other one would do better. */
	if (n->connected && (n->nbd.aio_is_dead(n->handle) == 1 ||
			     n->nbd.aio_is_closed(n->handle) == 1))
		return q2_fail(err, Q2_E_IO, ENOTCONN, off,
			       "the connection to the server is lost");
	return q2_fail(err, Q2_E_IO, error, off, "%s",
		       why ? why : "the NBD server does not answer");
}

static enum q2_status pread_units(struct nbd *n, char *at, size_t len,
				  uint64_t off, struct q2_err *err)
{
	while (len) {
		size_t part = len < n->most ? len : n->most;

		if (n->nbd.pread(n->handle, at, part, off, 0) < 0)
			return failed(n, err, off);
		at += part;
		off += part;
		len -= part;
	}
	return Q2_OK;
}

static enum q2_status remote_pread(struct q2_io *io, void *buf, size_t len,
				   uint64_t off, struct q2_err *err)
{
	struct nbd *n = (struct nbd *)io;
	uint64_t start = off - off % n->unit;
	size_t skip = (size_t)(off - start);
	size_t whole = (size_t)(q2_div_up(skip + len, n->unit) * n->unit);
	enum q2_status st;
	char *bytes;

	if (skip == 0 && whole == len)
		return pread_units(n, buf, len, off, err);
	bytes = malloc(whole);
	if (bytes == NULL)
		return q2_fail(err, Q2_E_NOMEM, 0, off, "no memory");
	st = pread_units(n, bytes, whole, start, err);
	if (st == Q2_OK)
		memcpy(buf, bytes + skip, len);
	free(bytes);
	return st;
}

static enum q2_status pwrite_units(struct nbd *n, const char *at, size_t len,
				   uint64_t off, struct q2_err *err)
{
	while (len) {
		size_t part = len < n->most ? len : n->most;

		if (n->nbd.pwrite(n->handle, at, part, off, 0) < 0)
			return failed(n, err, off);
		at += part;
		off += part;
		len -= part;
	}
	return Q2_OK;
}

/* What the server's units have besides stays as it is. */
static enum q2_status remote_pwrite(struct q2_io *io, const void *buf,
				    size_t len, uint64_t off,
				    struct q2_err *err)
{
	struct nbd *n = (struct nbd *)io;
	uint64_t start = off - off % n->unit;
	size_t skip = (size_t)(off - start);
	size_t whole = (size_t)(q2_div_up(skip + len, n->unit) * n->unit);
	enum q2_status st;
	char *bytes;

	if (!q2_inside(off, len, io->size))
		return q2_fail(err, Q2_E_RANGE, 0, off,
			       "%zu bytes do not fit on the server's disk",
			       len);
	if (skip == 0 && whole == len)
		return pwrite_units(n, buf, len, off, err);
	bytes = malloc(whole);
	if (bytes == NULL)
		return q2_fail(err, Q2_E_NOMEM, 0, off, "no memory");
	st = pread_units(n, bytes, whole, start, err);
	if (st == Q2_OK) {
		memcpy(bytes + skip, buf, len);
		st = pwrite_units(n, bytes, whole, start, err);
	}
	free(bytes);
	return st;
}

static enum q2_status remote_resize(struct q2_io *io, uint64_t size,
				    struct q2_err *err)
{
	if (size <= io->size)
		return Q2_OK;
	return q2_fail(err, Q2_E_RANGE, 0, Q2_NO_OFFSET,
		       "the server's disk is too small: %llu bytes are "
		       "needed, it has %llu",
		       (unsigned long long)size, (unsigned long long)io->size);
}

/* A server that cannot be asked for this is one that has nothing to do. */
static enum q2_status remote_flush(struct q2_io *io, struct q2_err *err)
{
	struct nbd *n = (struct nbd *)io;

	if (n->nbd.can_flush(n->handle) != 1 || n->nbd.flush(n->handle, 0) == 0)
		return Q2_OK;
	return failed(n, err, Q2_NO_OFFSET);
}

/* What one answer about holes says: where data start at or after `at`. */
struct answer {
	uint64_t at;
	uint64_t data; /* bytes of data from there on */
};

static int on_extent(void *ctx, const char *meta, uint64_t offset,
		     uint32_t *entries, size_t n, int *error)
{
	struct answer *a = ctx;
	uint64_t end = offset;

	(void)error;
	if (strcmp(meta, LIBNBD_CONTEXT_BASE_ALLOCATION) != 0)
		return 0;
	for (size_t i = 0; i + 1 < n; i += 2) {
		bool zero = entries[i + 1] & LIBNBD_STATE_ZERO;

		end += entries[i];
		if (zero && a->data)
			break;
		if (zero)
			a->at = end;
		else
			a->data += entries[i];
	}
	return 0;
}

static struct q2_range remote_data(struct q2_io *io, uint64_t off)
{
	struct nbd *n = (struct nbd *)io;
	struct q2_range all = {off, io->size - off};
	struct answer a = {.at = off};

	if (off % n->unit ||
	    n->nbd.can_meta_context(n->handle,
				    LIBNBD_CONTEXT_BASE_ALLOCATION) != 1)
		return all;
	while (a.data == 0 && a.at < io->size) {
		uint64_t before = a.at;
		nbd_extent_callback tell = {.callback = on_extent,
					    .user_data = &a};

		if (n->nbd.block_status(n->handle,
				     q2_min(io->size - a.at, ASK_MAX), a.at,
				     tell, 0) < 0 ||
		    (a.at == before && a.data == 0))
			return all;
	}
	if (a.data == 0)
		return (struct q2_range){io->size, 0};
	return (struct q2_range){a.at, q2_min(a.data, io->size - a.at)};
}

static void remote_close(struct q2_io *io)
{
	struct nbd *n = (struct nbd *)io;

	if (n->handle) {
		(void)n->nbd.shutdown(n->handle, 0);
		n->nbd.close(n->handle);
	}
	q2_libnbd_drop(&n->nbd);
	free(n);
}

static const struct q2_io_ops remote_ops = {
	.pread = remote_pread,
	.close = remote_close,
	.data = remote_data,
};

static const struct q2_io_ops remote_rw_ops = {
	.pread = remote_pread,
	.pwrite = remote_pwrite,
	.resize = remote_resize,
	.flush = remote_flush,
	.close = remote_close,
	.data = remote_data,
};

/* A server may have smaller buffers than most, and say so. */
static size_t most_of(const struct nbd *n)
{
	int64_t most = n->nbd.get_block_size(n->handle, LIBNBD_SIZE_MAXIMUM);

	if (most < (int64_t)n->unit || (uint64_t)most >= PART_MAX)
		return PART_MAX;
	return (size_t)((uint64_t)most - (uint64_t)most % n->unit);
}

static enum q2_status connect_to(struct nbd *n, const char *uri,
				 unsigned flags, struct q2_err *err)
{
	bool files = !(flags & Q2_NBD_NO_FILES);
	int64_t size, unit;
	enum q2_status st = q2_libnbd_load(&n->nbd, err);

	if (st != Q2_OK)
		return st;
	n->handle = n->nbd.create();
	if (n->handle == NULL ||
	    n->nbd.set_uri_allow_local_file(n->handle, files) < 0 ||
	    n->nbd.add_meta_context(n->handle,
				 LIBNBD_CONTEXT_BASE_ALLOCATION) < 0 ||
	    n->nbd.connect_uri(n->handle, uri) < 0)
		return failed(n, err, Q2_NO_OFFSET);
	size = n->nbd.get_size(n->handle);
	unit = n->nbd.get_block_size(n->handle, LIBNBD_SIZE_MINIMUM);
	if (size < 0)
		return failed(n, err, Q2_NO_OFFSET);
	if ((flags & Q2_NBD_WRITE) && n->nbd.is_read_only(n->handle) != 0)
		return q2_fail(err, Q2_E_ARG, 0, Q2_NO_OFFSET,
			       "the server's disk is read-only");
	n->connected = true;
	n->io.writable = flags & Q2_NBD_WRITE;
	n->unit = unit > 0 ? (uint64_t)unit : 1;
	n->most = most_of(n);
	n->io.size = n->io.stored = (uint64_t)size;
	return Q2_OK;
}

enum q2_status q2_nbd_open(const char *uri, unsigned flags, struct q2_io **io,
			   struct q2_err *err)
{
	struct nbd *n = calloc(1, sizeof(*n));
	enum q2_status st;

	*io = NULL;
	if (n == NULL)
		return q2_fail(err, Q2_E_NOMEM, 0, Q2_NO_OFFSET, "no memory");
	n->io.ops = flags & Q2_NBD_WRITE ? &remote_rw_ops : &remote_ops;
	st = connect_to(n, uri, flags, err);
	if (st == Q2_OK)
		*io = &n->io;
	else
		remote_close(&n->io);
	return st;
}

enum q2_status q2_nbd_zero(struct q2_io *io, struct q2_range r, bool keep,
			   struct q2_err *err)
{
	struct nbd *n = (struct nbd *)io;
	uint32_t flags = keep ? LIBNBD_CMD_FLAG_NO_HOLE : 0;

	if (n->nbd.can_zero(n->handle) != 1 || r.start % n->unit ||
	    r.len % n->unit || !q2_inside(r.start, r.len, io->size))
		return q2_fail(err, Q2_E_UNSUPPORTED, 0, r.start,
			       "the server cannot make this range zeros");
	while (r.len) {
		uint64_t part = q2_min(r.len, ASK_MAX);

		if (n->nbd.zero(n->handle, part, r.start, flags) < 0)
			return failed(n, err, r.start);
		r.start += part;
		r.len -= part;
	}
	return Q2_OK;
}

static const struct nbd *nbd_of(const struct q2_io *io)
{
	return io && (io->ops == &remote_ops || io->ops == &remote_rw_ops) ?
		       (const struct nbd *)io : NULL;
}

static bool same_peer(const struct nbd *a, const struct nbd *b)
{
	int fd[2] = {a->nbd.aio_get_fd(a->handle),
		     b->nbd.aio_get_fd(b->handle)};
	struct sockaddr_storage addr[2];
	socklen_t len[2];
	struct ucred who[2];

	for (int i = 0; i < 2; i++) {
		socklen_t n = sizeof(who[i]);

		len[i] = sizeof(addr[i]);
		memset(&addr[i], 0, sizeof(addr[i]));
		memset(&who[i], 0, sizeof(who[i]));
		if (fd[i] < 0 || getpeername(fd[i],
					     (struct sockaddr *)&addr[i],
					     &len[i]) < 0)
			return false;
		/* Where it is not known it is no process. */
		(void)getsockopt(fd[i], SOL_SOCKET, SO_PEERCRED, &who[i], &n);
	}
	/* One socket may have many names, but not many servers. */
	if (addr[0].ss_family == AF_UNIX && addr[1].ss_family == AF_UNIX &&
	    who[0].pid > 0 && who[0].pid == who[1].pid)
		return true;
	return len[0] == len[1] &&
	       memcmp(&addr[0], &addr[1], sizeof(addr[0])) == 0;
}

bool q2_nbd_same(const struct q2_io *a, const struct q2_io *b)
{
	const struct nbd *m = nbd_of(a), *n = nbd_of(b);
	char *name[2];
	bool same;

	if (m == NULL || n == NULL || !same_peer(m, n))
		return false;
	name[0] = m->nbd.get_export_name(m->handle);
	name[1] = n->nbd.get_export_name(n->handle);
	same = name[0] == NULL || name[1] == NULL ||
	       strcmp(name[0], name[1]) == 0;
	free(name[0]);
	free(name[1]);
	return same;
}

#endif
