/*
 * rescue_apart.c - tables of an image whose data lies in another file.
 *
 * SPDX-License-Identifier: MIT
 *
 * There a cluster lies where it lies for the guest: an entry's offset tells in which
 * place of its table it stands.  That hardly happens elsewhere.
 */
#include "base/endian.h"
#include "format/entry.h"
#include "repair/rescue_head.h"

#define SECTOR 512u
#define PIECE 65536u
#define MOST (UINT64_C(256) << 20) /* bytes: such files hold tables only */
#define LEAST 8u		   /* entries that agree */

/* Whether the entries of this sector, `width` words each, tell their own places with
 * clusters of that size. */
static bool tells_places(const uint8_t *p, uint64_t at, unsigned width,
			 uint64_t cs)
{
	uint64_t per = cs / 8 / width, first = at % cs / 8 / width;
	unsigned agree = 0;

	for (unsigned i = 0; i < SECTOR / 8 / width; i++) {
		uint64_t raw = q2_be64(p + (size_t)8 * width * i);

		if (raw == 0)
			continue;
		if (!(raw & Q2_COPIED) ||
		    (raw & ~(Q2_COPIED | Q2_ENTRY_OFFSET | Q2_ZERO)) ||
		    (raw & Q2_ENTRY_OFFSET) % cs ||
		    (raw & Q2_ENTRY_OFFSET) / cs % per != first + i)
			return false;
		agree++;
	}
	return agree >= LEAST;
}

static bool sector_tells(const uint8_t *p, uint64_t at)
{
	for (unsigned bits = 9; bits <= 21; bits++)
		for (unsigned width = 1; width <= 2; width++)
			if ((width == 1 || bits >= 14) &&
			    tells_places(p, at, width, UINT64_C(1) << bits))
				return true;
	return false;
}

enum q2_status q2_tables_apart(struct q2_repair *r, bool *apart)
{
	uint8_t *piece;
	void *block;
	enum q2_status st = q2_get(&r->budget, PIECE, &block, r->err);

	*apart = false;
	piece = block;
	for (uint64_t at = 0; at < q2_min(r->io->size, MOST) &&
			      st == Q2_OK && !*apart; at += PIECE) {
		if (q2_pread_zero(r->io, piece, PIECE, at, NULL) != Q2_OK)
			continue;
		for (unsigned i = 0; i < PIECE && !*apart; i += SECTOR)
			*apart = sector_tells(piece + i, at + i);
	}
	q2_put(&r->budget, block, PIECE);
	return st;
}
