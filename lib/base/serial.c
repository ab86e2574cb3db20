/*
 * serial.c - numbers and bytes one after the other, for a state that is kept.
 *
 * SPDX-License-Identifier: MIT
 */
#include "base/serial.h"

uint8_t q2_take_byte(struct q2_source *s)
{
	if (!s->failed && s->at == s->n) {
		s->at = 0;
		s->n = s->read(s->ctx, s->held, sizeof(s->held));
		s->failed = s->n == 0 || s->n > sizeof(s->held);
	}
	return s->failed ? 0 : s->held[s->at++];
}

uint64_t q2_take_number(struct q2_source *s)
{
	uint64_t v = 0;

	for (unsigned shift = 0; shift < 64; shift += 7) {
		uint8_t byte = q2_take_byte(s);

		v |= (uint64_t)(byte & 0x7f) << shift;
		if (byte < 0x80) {
			/* The tenth byte has room for one bit. */
			s->failed |= shift == 63 && byte > 1;
			return s->failed ? 0 : v;
		}
	}
	s->failed = true;
	return 0;
}

uint64_t q2_take_up_to(struct q2_source *s, uint64_t most)
{
	uint64_t v = q2_take_number(s);

	s->failed |= v > most;
	return s->failed ? 0 : v;
}
