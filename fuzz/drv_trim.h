/*
 * drv_trim.h - failing inputs made smaller, field by field.
 *
 * SPDX-License-Identifier: MIT
 */
#ifndef Q2F_DRV_TRIM_H
#define Q2F_DRV_TRIM_H

#include <stddef.h>
#include <stdint.h>

/* Runs the targets; called in a process of its own. */
typedef void q2f_trim_run(const uint8_t *data, size_t size);

/* Makes the file smaller for as long as it fails in the same way; an exit status. */
int q2f_trim_file(const char *path, q2f_trim_run *run);

#endif
