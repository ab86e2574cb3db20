/*
 * t_medium.h - a part of target write: images whose data are apart, or hidden.
 *
 * SPDX-License-Identifier: MIT
 */
#ifndef Q2F_T_MEDIUM_H
#define Q2F_T_MEDIUM_H

#include "q2fuzz.h"

/* Writes to the image, of which a check said `result`, as a guest would, if its data
 * are in another file or encrypted. */
void q2f_medium(const struct q2f_input *in,
		const struct q2_check_result *result);

#endif
