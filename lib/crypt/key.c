/*
 * key.c - ciphers by name, and the decryption of sectors.
 *
 * SPDX-License-Identifier: MIT
 */
#include "crypt/key.h"

#include <stdlib.h>
#include <string.h>

#include <openssl/crypto.h>

#include "base/err.h"

#define IV_LEN 16u
#define AES_LEGACY_LEN 16u

/* One direction. */
struct machine {
	const struct q2_key *key;
	EVP_CIPHER_CTX *data;
	EVP_CIPHER_CTX *essiv;
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

const EVP_MD *q2_key_hash(const char *name)
{
	static const char *const known[] = {"md5", "sha1", "sha224", "sha256",
					    "sha384", "sha512", "ripemd160"};

	for (size_t i = 0; i < sizeof(known) / sizeof(*known); i++)
		if (strcmp(name, known[i]) == 0)
			return EVP_get_digestbyname(name);
	return NULL;
}

static const EVP_CIPHER *aes_ecb(size_t len)
{
	return len == 16 ? EVP_aes_128_ecb() :
	       len == 24 ? EVP_aes_192_ecb() :
	       len == 32 ? EVP_aes_256_ecb() : NULL;
}

static const EVP_CIPHER *aes(const char *mode, size_t len)
{
	if (strcmp(mode, "xts") == 0)
		return len == 32 ? EVP_aes_128_xts() :
		       len == 64 ? EVP_aes_256_xts() : NULL;
	if (strcmp(mode, "cbc") == 0)
		return len == 16 ? EVP_aes_128_cbc() :
		       len == 24 ? EVP_aes_192_cbc() :
		       len == 32 ? EVP_aes_256_cbc() : NULL;
	return strcmp(mode, "ecb") == 0 ? aes_ecb(len) : NULL;
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
			     const EVP_MD **essiv_hash, struct q2_err *err)
{
	const char *iv = strchr(mode, '-');
	char chain[8] = "";

	*essiv_hash = NULL;
	if (strcmp(cipher, "aes") != 0 || iv == NULL ||
	    (size_t)(iv - mode) >= sizeof(chain))
		return unknown(cipher, mode, len, err);
	memcpy(chain, mode, (size_t)(iv - mode));
	iv++;
	key->cipher = aes(chain, len);
	key->essiv = NULL;
	key->len = len;
	if (key->cipher == NULL)
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
	if (*essiv_hash != NULL)
		key->essiv = aes_ecb((size_t)EVP_MD_get_size(*essiv_hash));
	return key->essiv ? Q2_OK : unknown(cipher, mode, len, err);
}

enum q2_status q2_key_set(struct q2_key *key, const uint8_t *bytes,
			  const EVP_MD *essiv_hash, struct q2_err *err)
{
	if (key->iv == Q2_IV_ESSIV &&
	    EVP_Digest(bytes, key->len, key->essiv_bytes, NULL, essiv_hash,
		       NULL) != 1)
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
	k->cipher = EVP_aes_128_cbc();
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
	OPENSSL_cleanse(key, sizeof(*key));
	free(key);
}

bool q2_key_by_host(const struct q2_key *key)
{
	return key->by_host;
}

/* Ciphers without an IV take NULL. */
static EVP_CIPHER_CTX *context(const EVP_CIPHER *cipher, const uint8_t *bytes,
			       bool encrypt)
{
	EVP_CIPHER_CTX *ctx = EVP_CIPHER_CTX_new();

	if (ctx == NULL)
		return NULL;
	if (EVP_CipherInit_ex(ctx, cipher, NULL, bytes, NULL, encrypt) == 1 &&
	    EVP_CIPHER_CTX_set_padding(ctx, 0) == 1)
		return ctx;
	EVP_CIPHER_CTX_free(ctx);
	return NULL;
}

static enum q2_status make_machine(struct machine *m, const struct q2_key *key,
				   bool encrypt, struct q2_err *err)
{
	m->key = key;
	m->data = context(key->cipher, key->bytes, encrypt);
	if (key->essiv)
		m->essiv = context(key->essiv, key->essiv_bytes, true);
	return m->data == NULL || (key->essiv && m->essiv == NULL) ?
		       failed(err) : Q2_OK;
}

/* OpenSSL wipes what a context holds. */
static void free_machine(struct machine *m)
{
	EVP_CIPHER_CTX_free(m->data);
	EVP_CIPHER_CTX_free(m->essiv);
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
	int n;

	memset(iv, 0, IV_LEN);
	for (unsigned i = 0; i < bytes; i++)
		iv[i] = (uint8_t)(sector >> (8 * i));
	return m->essiv == NULL ||
	       EVP_CipherUpdate(m->essiv, iv, &n, iv, IV_LEN) == 1;
}

/* Sector by sector, in place. */
static enum q2_status work(struct machine *m, uint8_t *bytes, size_t len,
			   uint64_t off, struct q2_err *err)
{
	uint64_t sector = off / Q2_CRYPT_SECTOR;
	uint8_t iv[IV_LEN];
	int n;

	if (len % Q2_CRYPT_SECTOR || off % Q2_CRYPT_SECTOR)
		return q2_fail(err, Q2_E_ARG, 0, off,
			       "encrypted data come in whole sectors");
	for (; len; len -= Q2_CRYPT_SECTOR, bytes += Q2_CRYPT_SECTOR) {
		if (!make_iv(m, sector++, iv) ||
		    EVP_CipherInit_ex(m->data, NULL, NULL, NULL, iv, -1) != 1 ||
		    EVP_CipherUpdate(m->data, bytes, &n, bytes,
				     Q2_CRYPT_SECTOR) != 1)
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
