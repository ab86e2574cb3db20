/*
 * drv_novelty.h - which inputs run what none before did.
 *
 * SPDX-License-Identifier: MIT
 */
#ifndef Q2F_NOVELTY_H
#define Q2F_NOVELTY_H

#include <stddef.h>

/* What was seen by earlier runs of the same program; none if there is no such
 * file. */
void q2f_novelty_load(const char *path);

/* Edges that were run since it was asked last, and never before. */
size_t q2f_novelty(void);

/* Keeps what was seen; returns an exit status. */
int q2f_novelty_store(const char *path);

#endif
