/*
 * keys.h - the keys of a chain's layers, from the secrets that open them.
 *
 * SPDX-License-Identifier: MIT
 */
#ifndef Q2_DUMP_KEYS_H
#define Q2_DUMP_KEYS_H

#include "crypt/crypt.h"
#include "image/chain.h"
#include "image/veil.h"

/* Q2_E_ARG: a secret is for a layer that a chain of n layers does not have. */
enum q2_status q2_secrets_judge(const struct q2_secret *secrets, size_t n_secrets,
				unsigned n, struct q2_err *err) Q2_MUST_CHECK;

/* The key of layer i, to be freed; *key is NULL if it is not encrypted.
 * Q2_E_REFUSED: there is no secret for it. */
enum q2_status q2_layer_key(const struct q2_layer *layer, unsigned i,
			    const struct q2_secret *secrets, size_t n_secrets,
			    struct q2_key **key,
			    struct q2_err *err) Q2_MUST_CHECK;

/* The keys of all layers, and one thread's means to use them. */
struct q2_keyring {
	struct q2_keyed *at; /* for each layer; NULL: none is encrypted */
	unsigned n;
};

/* What was opened is wiped by q2_keyring_close(), also after failure.  Q2_E_ARG:
 * secrets with numbers that may not be those of this chain. */
enum q2_status q2_keyring_open(struct q2_keyring *ring,
			       const struct q2_chain *chain,
			       const struct q2_secret *secrets,
			       size_t n_secrets,
			       struct q2_err *err) Q2_MUST_CHECK;
void q2_keyring_close(struct q2_keyring *ring);

/* How layer i stores its data; NULL: as they are.  Valid as long as the ring. */
const struct q2_veil *q2_keyring_veil(const struct q2_keyring *ring,
				      unsigned i);

#endif
