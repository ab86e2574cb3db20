/*
 * err.h - filling the caller's error record.
 *
 * SPDX-License-Identifier: MIT
 */
#ifndef Q2_BASE_ERR_H
#define Q2_BASE_ERR_H

#include "q2.h"

#define Q2_NO_OFFSET UINT64_MAX

/* Stores code, errno value, offset and text in *err unless err is NULL or
 * already holds a cause; returns `code`, so that a failure is one line. */
enum q2_status q2_fail(struct q2_err *err, enum q2_status code, int sys_errno,
		       uint64_t offset, const char *format, ...)
	__attribute__((format(printf, 5, 6)));

/* The same for a system call that failed: code Q2_E_IO, text from errno. */
enum q2_status q2_fail_errno(struct q2_err *err, int sys_errno,
			     uint64_t offset, const char *what);

/* For who follows paths through the sources without running them: which code these
 * return. */
#ifdef __clang_analyzer__
#define q2_fail(err, code, ...) ((void)q2_fail(err, code, __VA_ARGS__), (code))
#define q2_fail_errno(...) ((void)q2_fail_errno(__VA_ARGS__), Q2_E_IO)
#endif

#endif
