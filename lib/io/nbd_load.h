/*
 * nbd_load.h - libnbd, loaded when the first NBD server is named.
 *
 * SPDX-License-Identifier: MIT
 *
 * Linked as usual it would bring a dozen libraries into each run, which takes
 * longer than checking a small image.
 */
#ifndef Q2_IO_NBD_LOAD_H
#define Q2_IO_NBD_LOAD_H

#include <libnbd.h>

#include "q2.h"

/* The functions of libnbd that are used, without their prefix. */
#define Q2_NBD_CALLS(CALL)                                                     \
	CALL(add_meta_context) CALL(aio_get_fd) CALL(aio_is_closed)            \
	CALL(aio_is_dead) CALL(block_status) CALL(can_flush)                   \
	CALL(can_meta_context) CALL(can_zero) CALL(close) CALL(connect_uri)    \
	CALL(create) CALL(flush) CALL(get_block_size) CALL(get_errno)          \
	CALL(get_error) CALL(get_export_name) CALL(get_size)                   \
	CALL(is_read_only) CALL(pread) CALL(pwrite)                            \
	CALL(set_uri_allow_local_file) CALL(shutdown) CALL(zero)

/* NOLINTNEXTLINE(bugprone-macro-parentheses): it is declared here */
#define Q2_NBD_MEMBER(name) __typeof__(nbd_##name) *name;

struct q2_libnbd {
	void *library;
	Q2_NBD_CALLS(Q2_NBD_MEMBER)
};

/* Q2_E_UNSUPPORTED if it is not installed, or lacks a function. */
enum q2_status q2_libnbd_load(struct q2_libnbd *nbd,
			      struct q2_err *err) Q2_MUST_CHECK;

/* What was not loaded, but is all zero, is fine. */
void q2_libnbd_drop(struct q2_libnbd *nbd);

#endif
