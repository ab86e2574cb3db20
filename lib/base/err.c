/*
 * err.c - filling the caller's error record, and the names of statuses.
 *
 * SPDX-License-Identifier: MIT
 */
#include "base/err.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#undef q2_fail
#undef q2_fail_errno

enum q2_status q2_fail(struct q2_err *err, enum q2_status code, int sys_errno,
		       uint64_t offset, const char *format, ...)
{
	va_list args;

	if (err == NULL || err->code != Q2_OK)
		return code;
	err->code = code;
	err->sys_errno = sys_errno;
	err->offset = offset;
	va_start(args, format);
	vsnprintf(err->text, sizeof(err->text), format, args);
	va_end(args);
	return code;
}

enum q2_status q2_fail_errno(struct q2_err *err, int sys_errno,
			     uint64_t offset, const char *what)
{
	/* Safe in threads: glibc since 2.32, musl. */
	return q2_fail(err, Q2_E_IO, sys_errno, offset, "%s: %s", what,
		       strerror(sys_errno));
}

const char *q2_status_text(enum q2_status status)
{
	switch (status) {
	case Q2_OK:
		return "done";
	case Q2_E_IO:
		return "input/output error";
	case Q2_E_NOMEM:
		return "out of memory";
	case Q2_E_BUDGET:
		return "memory limit reached";
	case Q2_E_ARG:
		return "invalid argument";
	case Q2_E_RANGE:
		return "out of range";
	case Q2_E_FORMAT:
		return "not usable as QCOW2";
	case Q2_E_UNSUPPORTED:
		return "unsupported feature";
	case Q2_E_INTERRUPTED:
		return "interrupted";
	case Q2_E_IN_USE:
		return "in use by another process";
	case Q2_E_CHANGED:
		return "changed since";
	case Q2_E_REFUSED:
		return "not allowed";
	}
	return "unknown status";
}
