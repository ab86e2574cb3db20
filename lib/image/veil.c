/*
 * veil.c - reading data that are encrypted, from any byte on.
 *
 * SPDX-License-Identifier: MIT
 */
#include "image/veil.h"

#include <string.h>

/* The part of a unit that starts at or before `guest`. */
static enum q2_status read_part(const struct q2_veil *veil, struct q2_io *io,
				uint8_t *to, size_t n, uint64_t guest,
				uint64_t host, struct q2_err *err)
{
	size_t skip = (size_t)(guest % Q2_VEIL_UNIT);
	uint8_t unit[Q2_VEIL_UNIT];
	enum q2_status st;

	st = q2_pread_zero(io, unit, sizeof(unit), host - skip, err);
	if (st == Q2_OK)
		st = veil->show(veil->ctx, unit, sizeof(unit), guest - skip,
				host - skip, err);
	if (st == Q2_OK)
		memcpy(to, unit + skip, n);
	explicit_bzero(unit, sizeof(unit));
	return st;
}

enum q2_status q2_veil_read(const struct q2_veil *veil, struct q2_io *io,
			    void *buf, size_t len, uint64_t guest,
			    uint64_t host, struct q2_err *err)
{
	enum q2_status st = Q2_OK;
	uint8_t *to = buf;

	if (veil == NULL)
		return q2_pread_zero(io, buf, len, host, err);
	while (len && st == Q2_OK) {
		size_t in = (size_t)(guest % Q2_VEIL_UNIT);
		size_t n = len - len % Q2_VEIL_UNIT;

		if (in || n == 0) {
			n = (size_t)q2_min(len, Q2_VEIL_UNIT - in);
			st = read_part(veil, io, to, n, guest, host, err);
		} else {
			st = q2_pread_zero(io, to, n, host, err);
			if (st == Q2_OK)
				st = veil->show(veil->ctx, to, n, guest, host,
						err);
		}
		to += n;
		guest += n;
		host += n;
		len -= n;
	}
	return st;
}
