/*
 * crypt.h - keys of encrypted images, and guest data decrypted and encrypted.
 *
 * SPDX-License-Identifier: MIT
 *
 * Format, "Header" (crypt_method) and "Full disk encryption header pointer"; the
 * LUKS on-disk format 1.2.3.  Only data are encrypted, in units of 512 bytes,
 * never metadata or compressed clusters.  A key is wiped when it is freed.
 */
#ifndef Q2_CRYPT_CRYPT_H
#define Q2_CRYPT_CRYPT_H

#include "base/num.h"
#include "io/io.h"

#define Q2_CRYPT_SECTOR 512u

struct q2_key;

/* Unlocks the LUKS1 header that lies in `area` of `io` with a secret of n bytes.
 * Q2_E_ARG: no key slot opens with it.  Q2_E_UNSUPPORTED: a cipher, mode or hash
 * that we lack.  Q2_E_FORMAT: no sound LUKS header. */
enum q2_status q2_key_luks(struct q2_io *io, struct q2_range area,
			   const void *secret, size_t n, struct q2_key **key,
			   struct q2_err *err) Q2_MUST_CHECK;

/* The key of crypt_method 1: the secret's first 16 bytes.  Nothing in the image
 * tells whether it is the right one. */
enum q2_status q2_key_aes(const void *secret, size_t n, struct q2_key **key,
			  struct q2_err *err) Q2_MUST_CHECK;

void q2_key_free(struct q2_key *key);

/* Whether a sector's number comes from where the data lie in the image file
 * (LUKS), or from where they lie on the guest's disk (AES). */
bool q2_key_by_host(const struct q2_key *key);

/* One thread's means to decrypt with a key, which is borrowed. */
struct q2_decryptor;

enum q2_status q2_decryptor_new(const struct q2_key *key,
				struct q2_decryptor **out,
				struct q2_err *err) Q2_MUST_CHECK;
void q2_decryptor_free(struct q2_decryptor *d);

/* Decrypts `len` bytes in place.  `len` and `off`, their offset as
 * q2_key_by_host() says, are multiples of Q2_CRYPT_SECTOR. */
enum q2_status q2_decrypt(struct q2_decryptor *d, uint8_t *bytes, size_t len,
			  uint64_t off, struct q2_err *err) Q2_MUST_CHECK;

/* The same for the other direction. */
struct q2_encryptor;

enum q2_status q2_encryptor_new(const struct q2_key *key,
				struct q2_encryptor **out,
				struct q2_err *err) Q2_MUST_CHECK;
void q2_encryptor_free(struct q2_encryptor *e);
enum q2_status q2_encrypt(struct q2_encryptor *e, uint8_t *bytes, size_t len,
			  uint64_t off, struct q2_err *err) Q2_MUST_CHECK;

#endif
