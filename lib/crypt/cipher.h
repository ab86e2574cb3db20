/*
 * cipher.h - what we need of a cryptographic library, and nothing of its own.
 *
 * SPDX-License-Identifier: MIT
 *
 * cipher_openssl.c does it with libcrypto; cipher_nettle.c, for programs without
 * shared libraries, with nettle, of which the linker takes only what is used.
 */
#ifndef Q2_CRYPT_CIPHER_H
#define Q2_CRYPT_CIPHER_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum q2_hash_kind {
	Q2_HASH_NONE,
	Q2_HASH_MD5,
	Q2_HASH_SHA1,
	Q2_HASH_SHA224,
	Q2_HASH_SHA256,
	Q2_HASH_SHA384,
	Q2_HASH_SHA512,
	Q2_HASH_RIPEMD160
};
#define Q2_HASH_MAX 64u /* bytes of the longest digest */

/* Bytes of such a digest. */
size_t q2_hash_len(enum q2_hash_kind kind);

/* The digest of n bytes; false if the library failed. */
bool q2_hash_bytes(enum q2_hash_kind kind, const void *bytes, size_t n,
		   uint8_t *digest);

/* PBKDF2 with HMAC of that hash; `rounds` is 1 at the least. */
bool q2_hash_stretch(enum q2_hash_kind kind, const uint8_t *secret, size_t n,
		     const uint8_t *salt, size_t salt_len, uint32_t rounds,
		     uint8_t *out, size_t len);

/* AES in one mode, ready for a key. */
enum q2_aes_mode { Q2_AES_NONE, Q2_AES_ECB, Q2_AES_CBC, Q2_AES_XTS };
struct q2_aes;

/* Whether keys of `len` bytes fit the mode; XTS has two in one. */
bool q2_aes_fits(enum q2_aes_mode mode, size_t len);

/* For one direction.  NULL if the library failed; freed with the key wiped. */
struct q2_aes *q2_aes_new(enum q2_aes_mode mode, bool encrypt,
			  const uint8_t *key, size_t len);
void q2_aes_free(struct q2_aes *aes);

/* `len` bytes in place, a multiple of 16, a sector at the most; `iv` has 16 bytes,
 * and is not used by ECB. */
bool q2_aes_run(struct q2_aes *aes, const uint8_t *iv, uint8_t *bytes,
		size_t len);

/* Zeros, which no compiler leaves out. */
void q2_wipe(void *bytes, size_t n);

/* Whether they are the same, in a time that does not tell where they differ. */
bool q2_same_secret(const uint8_t *a, const uint8_t *b, size_t n);

#endif
