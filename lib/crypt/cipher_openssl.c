/*
 * cipher_openssl.c - hashes and AES by OpenSSL's libcrypto.
 *
 * SPDX-License-Identifier: MIT
 */
#include "crypt/cipher.h"

#include <stdlib.h>

#include <openssl/crypto.h>
#include <openssl/evp.h>

struct q2_aes {
	EVP_CIPHER_CTX *ctx;
};

static const EVP_MD *method(enum q2_hash_kind kind)
{
	switch (kind) {
	case Q2_HASH_MD5:
		return EVP_md5();
	case Q2_HASH_SHA1:
		return EVP_sha1();
	case Q2_HASH_SHA224:
		return EVP_sha224();
	case Q2_HASH_SHA256:
		return EVP_sha256();
	case Q2_HASH_SHA384:
		return EVP_sha384();
	case Q2_HASH_SHA512:
		return EVP_sha512();
	case Q2_HASH_RIPEMD160:
		return EVP_ripemd160();
	case Q2_HASH_NONE:
		break;
	}
	return NULL;
}

size_t q2_hash_len(enum q2_hash_kind kind)
{
	const EVP_MD *md = method(kind);

	return md ? (size_t)EVP_MD_get_size(md) : 0;
}

bool q2_hash_bytes(enum q2_hash_kind kind, const void *bytes, size_t n,
		   uint8_t *digest)
{
	return EVP_Digest(bytes, n, digest, NULL, method(kind), NULL) == 1;
}

bool q2_hash_stretch(enum q2_hash_kind kind, const uint8_t *secret, size_t n,
		     const uint8_t *salt, size_t salt_len, uint32_t rounds,
		     uint8_t *out, size_t len)
{
	return n <= INT32_MAX && rounds <= INT32_MAX &&
	       PKCS5_PBKDF2_HMAC((const char *)secret, (int)n, salt,
				 (int)salt_len, (int)rounds, method(kind),
				 (int)len, out) == 1;
}

static const EVP_CIPHER *cipher(enum q2_aes_mode mode, size_t len)
{
	switch (mode) {
	case Q2_AES_ECB:
		return len == 16 ? EVP_aes_128_ecb() :
		       len == 24 ? EVP_aes_192_ecb() :
		       len == 32 ? EVP_aes_256_ecb() : NULL;
	case Q2_AES_CBC:
		return len == 16 ? EVP_aes_128_cbc() :
		       len == 24 ? EVP_aes_192_cbc() :
		       len == 32 ? EVP_aes_256_cbc() : NULL;
	case Q2_AES_XTS:
		return len == 32 ? EVP_aes_128_xts() :
		       len == 64 ? EVP_aes_256_xts() : NULL;
	case Q2_AES_NONE:
		break;
	}
	return NULL;
}

bool q2_aes_fits(enum q2_aes_mode mode, size_t len)
{
	return cipher(mode, len) != NULL;
}

struct q2_aes *q2_aes_new(enum q2_aes_mode mode, bool encrypt,
			  const uint8_t *key, size_t len)
{
	struct q2_aes *aes = calloc(1, sizeof(*aes));

	if (aes == NULL)
		return NULL;
	aes->ctx = EVP_CIPHER_CTX_new();
	if (aes->ctx != NULL &&
	    EVP_CipherInit_ex(aes->ctx, cipher(mode, len), NULL, key, NULL,
			      encrypt) == 1 &&
	    EVP_CIPHER_CTX_set_padding(aes->ctx, 0) == 1)
		return aes;
	q2_aes_free(aes);
	return NULL;
}

void q2_aes_free(struct q2_aes *aes)
{
	if (aes == NULL)
		return;
	EVP_CIPHER_CTX_free(aes->ctx);
	free(aes);
}

bool q2_aes_run(struct q2_aes *aes, const uint8_t *iv, uint8_t *bytes,
		size_t len)
{
	int n;

	return EVP_CipherInit_ex(aes->ctx, NULL, NULL, NULL, iv, -1) == 1 &&
	       EVP_CipherUpdate(aes->ctx, bytes, &n, bytes, (int)len) == 1;
}

void q2_wipe(void *bytes, size_t n)
{
	OPENSSL_cleanse(bytes, n);
}

bool q2_same_secret(const uint8_t *a, const uint8_t *b, size_t n)
{
	return CRYPTO_memcmp(a, b, n) == 0;
}
