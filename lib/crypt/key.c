/*
 * key.c - ciphers by name, and the decryption of sectors.
 *
 * SPDX-License-Identifier: MIT
 */
#include "crypt/key.h"

#include <stdlib.h>
#include <string.h>

#include "base/err.h"

#define IV_LEN 16u
#define AES_LEGACY_LEN 16u

/* One direction. */
struct machine {
	const struct q2_key *key;
	struct q2_aes *data;
	struct q2_aes *essiv;
};

struct q2_decryptor {
	struct machine m;
};

struct q2_encryptor {
	struct machine m;
};

static enum q2_status failed(struct q2_err *err)
{
	return q2_fail(err, Q2_E_NOMEM, 0, Q2_NO_OFFSET,
		       "the cryptographic library failed");
}

enum q2_hash_kind q2_key_hash(const char *name)
{
	static const struct {
		const char *name;
		enum q2_hash_kind kind;
	} known[] = {{"md5", Q2_HASH_MD5},
		     {"sha1", Q2_HASH_SHA1},
		     {"sha224", Q2_HASH_SHA224},
		     {"sha256", Q2_HASH_SHA256},
		     {"sha384", Q2_HASH_SHA384},
		     {"sha512", Q2_HASH_SHA512},
		     {"ripemd160", Q2_HASH_RIPEMD160}};

	for (size_t i = 0; i < sizeof(known) / sizeof(*known); i++)
		if (strcmp(name, known[i].name) == 0)
			return known[i].kind;
	return Q2_HASH_NONE;
}

static enum q2_aes_mode mode_of(const char *name)
{
	return strcmp(name, "xts") == 0 ? Q2_AES_XTS :
	       strcmp(name, "cbc") == 0 ? Q2_AES_CBC :
	       strcmp(name, "ecb") == 0 ? Q2_AES_ECB : Q2_AES_NONE;
}

static enum q2_status unknown(const char *cipher, const char *mode, size_t len,
			      struct q2_err *err)
{
	if (strcmp(cipher, "aes") != 0)
		return q2_fail(err, Q2_E_UNSUPPORTED, 0, Q2_NO_OFFSET,
			       "the cipher %.32s-%.32s is not supported: of "
			       "ciphers only aes is", cipher, mode);
	return q2_fail(err, Q2_E_UNSUPPORTED, 0, Q2_NO_OFFSET,
		       "the cipher %.32s-%.32s with a key of %zu bytes is not "
		       "supported", cipher, mode, len);
}

enum q2_status q2_key_method(struct q2_key *key, const char *cipher,
			     const char *mode, size_t len,
			     enum q2_hash_kind *essiv_hash, struct q2_err *err)
{
	const char *iv = strchr(mode, '-');
	char chain[8] = "";

	*essiv_hash = Q2_HASH_NONE;
	if (strcmp(cipher, "aes") != 0 || iv == NULL ||
	    (size_t)(iv - mode) >= sizeof(chain))
		return unknown(cipher, mode, len, err);
	memcpy(chain, mode, (size_t)(iv - mode));
	iv++;
	key->mode = mode_of(chain);
	key->essiv_len = 0;
	key->len = len;
	if (!q2_aes_fits(key->mode, len))
		return unknown(cipher, mode, len, err);
	if (strcmp(iv, "plain64") == 0) {
		key->iv = Q2_IV_PLAIN64;
		return Q2_OK;
	}
	if (strcmp(iv, "plain") == 0) {
		key->iv = Q2_IV_PLAIN;
		return Q2_OK;
	}
	key->iv = Q2_IV_ESSIV;
	if (strncmp(iv, "essiv:", 6) == 0)
		*essiv_hash = q2_key_hash(iv + 6);
	key->essiv_len = q2_hash_len(*essiv_hash);
	return q2_aes_fits(Q2_AES_ECB, key->essiv_len) ?
		       Q2_OK : unknown(cipher, mode, len, err);
}

enum q2_status q2_key_set(struct q2_key *key, const uint8_t *bytes,
			  enum q2_hash_kind essiv_hash, struct q2_err *err)
{
	if (key->iv == Q2_IV_ESSIV &&
	    !q2_hash_bytes(essiv_hash, bytes, key->len, key->essiv_bytes))
		return failed(err);
	memcpy(key->bytes, bytes, key->len);
	return Q2_OK;
}

enum q2_status q2_key_aes(const void *secret, size_t n, struct q2_key **key,
			  struct q2_err *err)
{
	struct q2_key *k = calloc(1, sizeof(*k));

	*key = NULL;
	if (k == NULL)
		return q2_fail(err, Q2_E_NOMEM, 0, Q2_NO_OFFSET, "no memory");
	k->mode = Q2_AES_CBC;
	k->iv = Q2_IV_PLAIN64;
	k->len = AES_LEGACY_LEN;
	if (n)
		memcpy(k->bytes, secret, n < k->len ? n : k->len);
	*key = k;
	return Q2_OK;
}

void q2_key_free(struct q2_key *key)
{
	if (key == NULL)
		return;
	q2_wipe(key, sizeof(*key));
	free(key);
}

bool q2_key_by_host(const struct q2_key *key)
{
	return key->by_host;
}

static enum q2_status make_machine(struct machine *m, const struct q2_key *key,
				   bool encrypt, struct q2_err *err)
{
	m->key = key;
	m->data = q2_aes_new(key->mode, encrypt, key->bytes, key->len);
	if (key->iv == Q2_IV_ESSIV)
		m->essiv = q2_aes_new(Q2_AES_ECB, true, key->essiv_bytes,
				      key->essiv_len);
	return m->data && (m->essiv || key->iv != Q2_IV_ESSIV) ? Q2_OK :
								 failed(err);
}

static void free_machine(struct machine *m)
{
	q2_aes_free(m->data);
	q2_aes_free(m->essiv);
}

enum q2_status q2_decryptor_new(const struct q2_key *key,
				struct q2_decryptor **out, struct q2_err *err)
{
	struct q2_decryptor *d = calloc(1, sizeof(*d));
	enum q2_status st;

	*out = NULL;
	if (d == NULL)
		return q2_fail(err, Q2_E_NOMEM, 0, Q2_NO_OFFSET, "no memory");
	st = make_machine(&d->m, key, false, err);
	if (st == Q2_OK)
		*out = d;
	else
		q2_decryptor_free(d);
	return st;
}

void q2_decryptor_free(struct q2_decryptor *d)
{
	if (d == NULL)
		return;
	free_machine(&d->m);
	free(d);
}

enum q2_status q2_encryptor_new(const struct q2_key *key,
				struct q2_encryptor **out, struct q2_err *err)
{
	struct q2_encryptor *e = calloc(1, sizeof(*e));
	enum q2_status st;

	*out = NULL;
	if (e == NULL)
		return q2_fail(err, Q2_E_NOMEM, 0, Q2_NO_OFFSET, "no memory");
	st = make_machine(&e->m, key, true, err);
	if (st == Q2_OK)
		*out = e;
	else
		q2_encryptor_free(e);
	return st;
}

void q2_encryptor_free(struct q2_encryptor *e)
{
	if (e == NULL)
		return;
	free_machine(&e->m);
	free(e);
}

static bool make_iv(struct machine *m, uint64_t sector, uint8_t iv[IV_LEN])
{
	unsigned bytes = m->key->iv == Q2_IV_PLAIN ? 4 : 8;

	memset(iv, 0, IV_LEN);
	for (unsigned i = 0; i < bytes; i++)
		iv[i] = (uint8_t)(sector >> (8 * i));
	return m->essiv == NULL || q2_aes_run(m->essiv, NULL, iv, IV_LEN);
}

/* Sector by sector, in place. */
static enum q2_status work(struct machine *m, uint8_t *bytes, size_t len,
			   uint64_t off, struct q2_err *err)
{
	uint64_t sector = off / Q2_CRYPT_SECTOR;
	uint8_t iv[IV_LEN];

	if (len % Q2_CRYPT_SECTOR || off % Q2_CRYPT_SECTOR)
		return q2_fail(err, Q2_E_ARG, 0, off,
			       "encrypted data come in whole sectors");
	for (; len; len -= Q2_CRYPT_SECTOR, bytes += Q2_CRYPT_SECTOR) {
		if (!make_iv(m, sector++, iv) ||
		    !q2_aes_run(m->data, iv, bytes, Q2_CRYPT_SECTOR))
			return failed(err);
	}
	return Q2_OK;
}

enum q2_status q2_decrypt(struct q2_decryptor *d, uint8_t *bytes, size_t len,
			  uint64_t off, struct q2_err *err)
{
	return work(&d->m, bytes, len, off, err);
}

enum q2_status q2_encrypt(struct q2_encryptor *e, uint8_t *bytes, size_t len,
			  uint64_t off, struct q2_err *err)
{
	return work(&e->m, bytes, len, off, err);
}
