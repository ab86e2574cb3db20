/*
 * t_beginnings.h - a part of target rescue.
 *
 * SPDX-License-Identifier: MIT
 */
#ifndef Q2F_T_BEGINNINGS_H
#define Q2F_T_BEGINNINGS_H

#include "q2fuzz.h"

/* What does not depend on any input, and is tried once in a run. */
void q2f_beginnings(void);

#endif
