/*
 * chk_ext.h - what the files of the extension phase share.
 *
 * SPDX-License-Identifier: MIT
 */
#ifndef Q2_CHECK_CHK_EXT_H
#define Q2_CHECK_CHK_EXT_H

#include "check/checker.h"
#include "format/ext.h"

/* Judges where the LUKS header lies; `e` is its extension, NULL if there is
 * none. */
enum q2_status q2_chk_luks(struct q2_checker *c, const struct q2_ext *e);

#endif
