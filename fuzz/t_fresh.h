/*
 * t_fresh.h - a part of target dump that writes images cluster by cluster.
 *
 * SPDX-License-Identifier: MIT
 */
#ifndef Q2F_T_FRESH_H
#define Q2F_T_FRESH_H

#include "dump/newimage.h"
#include "world.h"

/* Writes what `view` has, in the form `n`, and reads it again (M-7). */
void q2f_fresh_by_hand(const struct q2f_view *view,
		       struct q2_newimage_opts n, uint64_t choice);

#endif
