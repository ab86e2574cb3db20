/*
 * key.h - what a key consists of.
 *
 * SPDX-License-Identifier: MIT
 */
#ifndef Q2_CRYPT_KEY_H
#define Q2_CRYPT_KEY_H

#include <openssl/evp.h>

#include "crypt/crypt.h"

#define Q2_KEY_MAX 64u

enum q2_iv {
	Q2_IV_PLAIN,   /* 32 bits of the sector's number, little-endian */
	Q2_IV_PLAIN64, /* 64 bits */
	Q2_IV_ESSIV    /* these, encrypted with the key's hash */
};

struct q2_key {
	const EVP_CIPHER *cipher;
	const EVP_CIPHER *essiv; /* NULL unless iv is Q2_IV_ESSIV */
	enum q2_iv iv;
	bool by_host;
	size_t len;
	uint8_t bytes[Q2_KEY_MAX];
	uint8_t essiv_bytes[EVP_MAX_MD_SIZE];
};

/* Sets cipher and IV from LUKS's texts, such as "aes" and "xts-plain64", for a
 * key of `len` bytes; the key's bytes are not touched. */
enum q2_status q2_key_method(struct q2_key *key, const char *cipher,
			     const char *mode, size_t len,
			     const EVP_MD **essiv_hash,
			     struct q2_err *err) Q2_MUST_CHECK;

/* Sets the key's bytes (key->len of them). */
enum q2_status q2_key_set(struct q2_key *key, const uint8_t *bytes,
			  const EVP_MD *essiv_hash,
			  struct q2_err *err) Q2_MUST_CHECK;

/* The hash of that name, or NULL. */
const EVP_MD *q2_key_hash(const char *name);

#endif
