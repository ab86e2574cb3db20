/*
 * t_asked.h - parts of targets map and report.
 *
 * SPDX-License-Identifier: MIT
 */
#ifndef Q2F_T_ASKED_H
#define Q2F_T_ASKED_H

#include "world.h"

/* What else may be asked of a disk, with its snapshots. */
void q2f_asked_of_disk(struct q2_disk *disk);

/* What does not depend on any input, and is asked once in a run. */
void q2f_asked_once(void);

#endif
