/*
 * torn.h - what of a write is on the disk when the machine stops.
 *
 * SPDX-License-Identifier: MIT
 */
#ifndef TORN_H
#define TORN_H

#include <stddef.h>
#include <stdint.h>

/* How far sector `sector` gets in the events [from, to): those before the result
 * have reached it.  `number` tells ways for this to be apart. */
static inline size_t reached(uint64_t sector, size_t from, size_t to,
			     unsigned number)
{
	uint64_t mix = (sector + 1) * UINT64_C(0x9e3779b97f4a7c15) ^
		       (from * 31 + number) * UINT64_C(0xc2b2ae3d27d4eb4f);

	mix ^= mix >> 29;
	mix *= UINT64_C(0xbf58476d1ce4e5b9);
	mix ^= mix >> 32;
	/* None or all of it in two cases of four. */
	if ((mix & 3) < 2)
		return mix & 1 ? from : to;
	return from + (size_t)((mix >> 2) % (to - from + 1));
}

#endif
