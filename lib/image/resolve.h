/*
 * resolve.h - what a name in an image, or of one, leads to.
 *
 * SPDX-License-Identifier: MIT
 *
 * Besides plain names: "file:" names, NBD's URIs, and of the json: names those that
 * describe a file, nested or with flattened keys, as
 *
 *   json:{"driver":"qcow2","file":{"driver":"file","filename":"base.qcow2"}}
 *   json:{"driver":"qcow2","file.driver":"file","file.filename":"base.qcow2"}
 *
 * Tried with QEMU 7.2: such a file's name is taken as it is, whatever it looks like,
 * and starts in the current folder.
 */
#ifndef Q2_IMAGE_RESOLVE_H
#define Q2_IMAGE_RESOLVE_H

#include "q2.h"

#define Q2_PLACE_MAX 4096u

struct q2_place {
	bool server;   /* `path` is the URI of an NBD export */
	bool from_cwd; /* else a relative path starts in the overlay's folder */
	/* "qcow2" or "raw" if the name itself says so; NULL if it does not. */
	const char *format;
	char path[Q2_PLACE_MAX];
};

/* Q2_E_UNSUPPORTED names the protocol, driver or option that is not understood;
 * Q2_E_FORMAT: it is no JSON. */
enum q2_status q2_resolve(const char *name, struct q2_place *out,
			  struct q2_err *err) Q2_MUST_CHECK;

/* The same for a data file's name in an image: a path as it stands, whatever it
 * looks like, from the current folder (QEMU 7.2). */
enum q2_status q2_resolve_data(const char *name, struct q2_place *out,
			       struct q2_err *err) Q2_MUST_CHECK;

/* The same for a name that a user gave: only "json:" and "file:" at the start are
 * special, everything else is a path, or a URI, as it stands. */
enum q2_status q2_resolve_given(const char *name, struct q2_place *out,
				struct q2_err *err) Q2_MUST_CHECK;

#endif
