/*
 * fakenbd.h - an NBD server that is a piece of memory, instead of libnbd.
 *
 * SPDX-License-Identifier: MIT
 *
 * For a program that is linked with --wrap for dlopen, dlsym and dlclose.
 */
#ifndef FAKENBD_H
#define FAKENBD_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct fake_server {
	const char *uri; /* each connection to it gets here */
	const char *export;
	uint8_t *bytes;
	int64_t size;
	int64_t least, most; /* bytes in a request; 0: it does not say */
	bool read_only, no_zeros, no_flush, no_extents;
	bool mute;   /* what it says of extents is nothing */
	bool closes; /* a connection that fails is closed, not dead */
	int family; /* of its sockets: AF_UNIX, AF_INET or 0 for none */
	bool odd; /* a request outside the server's limits was made */
	unsigned zeros, writes, flushes; /* requests */
};

/* What is connected to from now on; the last one has no URI. */
void fake_servers(struct fake_server *servers);

#endif
