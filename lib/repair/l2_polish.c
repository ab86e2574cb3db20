/*
 * l2_polish.c - what is wrong in an L2 entry itself.
 *
 * SPDX-License-Identifier: MIT
 */
#include "repair/guess.h"

bool q2_polish(const struct q2_case *k, struct q2_guess *to,
	       enum q2_problem_id *why, enum q2_effect *effect,
	       const char **text)
{
	const struct q2_geom *g = &k->r->c->img.geom;
	unsigned faults = k->e.faults;
	uint64_t guest = q2_guest(g, k->ref->slot, k->index);

	*to = (struct q2_guess){k->raw, k->bitmap, 1, false};
	*effect = Q2_EFFECT_NONE;
	if (faults & (Q2_EF_UNALIGNED | Q2_EF_OUTSIDE |
		      Q2_EF_COMPRESSED_DATA_FILE))
		return false;
	if (faults & Q2_EF_RESERVED) {
		*why = Q2_P_L2_RESERVED;
		*text = "loses its reserved bits";
		to->raw &= ~Q2_L2_RESERVED;
	} else if (faults & Q2_EF_ZERO_V2) {
		*why = Q2_P_L2_ZERO_FLAG_V2;
		*effect = k->e.host.len ? Q2_EFFECT_GAIN : Q2_EFFECT_NONE;
		*text = "loses the zero flag that version 2 does not have";
		to->raw &= ~Q2_ZERO;
	} else if (faults & Q2_EF_ZERO_EXTL2) {
		*why = Q2_P_L2_ZERO_FLAG_EXTL2;
		*text = "loses bit 0, which extended entries do not have";
		to->raw &= ~Q2_ZERO;
	} else if (faults & Q2_EF_COMPRESSED_BITMAP) {
		*why = Q2_P_COMPRESSED_EXTL2;
		*text = "loses the bitmap that compressed data cannot have";
		to->bitmap = 0;
	} else if (faults & Q2_EF_COPIED_COMPRESSED) {
		*why = Q2_P_COMPRESSED_COPIED;
		*text = "loses COPIED, which compressed data cannot have";
		to->raw &= ~Q2_COPIED;
	} else if (faults & Q2_EF_DATA_FILE_OFFSET) {
		*why = Q2_P_DATA_FILE_OFFSET;
		*effect = Q2_EFFECT_GAIN;
		*text = "gets its own place in the data file";
		to->raw = (k->raw & ~Q2_ENTRY_OFFSET) | guest | Q2_COPIED;
	} else if (faults & Q2_EF_SUB_NO_OFFSET) {
		*why = Q2_P_SUBCLUSTER_NO_OFFSET;
		*effect = Q2_EFFECT_LOSS;
		*text = "loses subclusters that have no host cluster";
		to->bitmap &= ~(uint64_t)UINT32_MAX;
	} else if (faults & Q2_EF_SUB_CONFLICT) {
		*why = Q2_P_SUBCLUSTER_CONFLICT;
		*effect = Q2_EFFECT_SUSPECT;
		*text = "shows data where subclusters were marked as data and "
			"as zeros";
		to->bitmap &= ~(k->bitmap << 32);
	} else {
		return false;
	}
	return true;
}

enum q2_problem_id q2_lost_because(const struct q2_case *k)
{
	if (k->e.faults & Q2_EF_COMPRESSED_DATA_FILE)
		return Q2_P_COMPRESSED_DATA_FILE;
	if (k->e.faults & Q2_EF_UNALIGNED)
		return Q2_P_L2_UNALIGNED;
	return k->e.type == Q2_L2_COMPRESSED ? Q2_P_COMPRESSED_OUTSIDE :
					       Q2_P_L2_ENTRY_OUTSIDE;
}
