/*
 * key.h - what a key consists of.
 *
 * SPDX-License-Identifier: MIT
 */
#ifndef Q2_CRYPT_KEY_H
#define Q2_CRYPT_KEY_H

#include "crypt/cipher.h"
#include "crypt/crypt.h"

#define Q2_KEY_MAX 64u

enum q2_iv {
	Q2_IV_PLAIN,   /* 32 bits of the sector's number, little-endian */
	Q2_IV_PLAIN64, /* 64 bits */
	Q2_IV_ESSIV    /* these, encrypted with the key's hash */
};

struct q2_key {
	enum q2_aes_mode mode;
	enum q2_iv iv;
	bool by_host;
	size_t len;
	uint8_t bytes[Q2_KEY_MAX];
	uint8_t essiv_bytes[Q2_HASH_MAX];
	size_t essiv_len; /* 0 unless iv is Q2_IV_ESSIV */
};

/* Sets cipher and IV from LUKS's texts, such as "aes" and "xts-plain64", for a
 * key of `len` bytes; the key's bytes are not touched. */
enum q2_status q2_key_method(struct q2_key *key, const char *cipher,
			     const char *mode, size_t len,
			     enum q2_hash_kind *essiv_hash,
			     struct q2_err *err) Q2_MUST_CHECK;

/* Sets the key's bytes (key->len of them). */
enum q2_status q2_key_set(struct q2_key *key, const uint8_t *bytes,
			  enum q2_hash_kind essiv_hash,
			  struct q2_err *err) Q2_MUST_CHECK;

/* The hash of that name, or Q2_HASH_NONE. */
enum q2_hash_kind q2_key_hash(const char *name);

#endif
