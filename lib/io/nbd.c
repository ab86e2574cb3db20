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

enum q2_status q2_nbd_open(const char *uri, struct q2_io **io,
			   struct q2_err *err)
{
	(void)uri;
	*io = NULL;
	return q2_fail(err, Q2_E_UNSUPPORTED, 0, Q2_NO_OFFSET,
		       "built without libnbd, which this takes");
}

#else

#include <stdlib.h>

#include <libnbd.h>

#define ASK_MAX (UINT64_C(1) << 30)   /* bytes in a question about holes */
#define READ_MAX ((size_t)16 << 20) /* every server takes that much */

struct nbd {
	struct q2_io io; /* first */
	struct nbd_handle *handle; /* has a lock of its own */
	uint64_t unit; /* what offsets and lengths must be multiples of */
};

static enum q2_status failed(struct q2_err *err, uint64_t off)
{
	const char *why = nbd_get_error();

	return q2_fail(err, Q2_E_IO, nbd_get_errno(), off, "%s",
		       why ? why : "the NBD server does not answer");
}

static enum q2_status pread_units(struct nbd *n, char *at, size_t len,
				  uint64_t off, struct q2_err *err)
{
	while (len) {
		size_t part = len < READ_MAX ? len : READ_MAX;

		if (nbd_pread(n->handle, at, part, off, 0) < 0)
			return failed(err, off);
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
	    nbd_can_meta_context(n->handle, LIBNBD_CONTEXT_BASE_ALLOCATION) !=
		    1)
		return all;
	while (a.data == 0 && a.at < io->size) {
		uint64_t before = a.at;
		nbd_extent_callback tell = {.callback = on_extent,
					    .user_data = &a};

		if (nbd_block_status(n->handle,
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
		(void)nbd_shutdown(n->handle, 0);
		nbd_close(n->handle);
	}
	free(n);
}

static const struct q2_io_ops remote_ops = {
	.pread = remote_pread,
	.close = remote_close,
	.data = remote_data,
};

static enum q2_status connect_to(struct nbd *n, const char *uri,
				 struct q2_err *err)
{
	int64_t size, unit;

	n->handle = nbd_create();
	if (n->handle == NULL ||
	    nbd_add_meta_context(n->handle,
				 LIBNBD_CONTEXT_BASE_ALLOCATION) < 0 ||
	    nbd_connect_uri(n->handle, uri) < 0)
		return failed(err, Q2_NO_OFFSET);
	size = nbd_get_size(n->handle);
	unit = nbd_get_block_size(n->handle, LIBNBD_SIZE_MINIMUM);
	if (size < 0)
		return failed(err, Q2_NO_OFFSET);
	n->unit = unit > 0 ? (uint64_t)unit : 1;
	n->io.size = n->io.stored = (uint64_t)size;
	return Q2_OK;
}

enum q2_status q2_nbd_open(const char *uri, struct q2_io **io,
			   struct q2_err *err)
{
	struct nbd *n = calloc(1, sizeof(*n));
	enum q2_status st;

	*io = NULL;
	if (n == NULL)
		return q2_fail(err, Q2_E_NOMEM, 0, Q2_NO_OFFSET, "no memory");
	n->io.ops = &remote_ops;
	st = connect_to(n, uri, err);
	if (st == Q2_OK)
		*io = &n->io;
	else
		remote_close(&n->io);
	return st;
}

#endif
