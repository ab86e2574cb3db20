/*
 * cipher_nettle.c - hashes and AES by nettle.
 *
 * SPDX-License-Identifier: MIT
 */
#include "crypt/cipher.h"

#include <stdlib.h>
#include <string.h>

#include <nettle/aes.h>
#include <nettle/cbc.h>
#include <nettle/hmac.h>
#include <nettle/memops.h>
#include <nettle/pbkdf2.h>
#include <nettle/nettle-meta.h>

#define SECTOR 512u

struct q2_aes {
	enum q2_aes_mode mode;
	bool encrypt;
	nettle_cipher_func *run; /* a block after the other */
	nettle_cipher_func *tweak_run;
	union key {
		struct aes128_ctx a128;
		struct aes192_ctx a192;
		struct aes256_ctx a256;
	} key, tweak;
};

static const struct nettle_hash *method(enum q2_hash_kind kind)
{
	switch (kind) {
	case Q2_HASH_MD5:
		return &nettle_md5;
	case Q2_HASH_SHA1:
		return &nettle_sha1;
	case Q2_HASH_SHA224:
		return &nettle_sha224;
	case Q2_HASH_SHA256:
		return &nettle_sha256;
	case Q2_HASH_SHA384:
		return &nettle_sha384;
	case Q2_HASH_SHA512:
		return &nettle_sha512;
	case Q2_HASH_RIPEMD160:
		return &nettle_ripemd160;
	case Q2_HASH_NONE:
		break;
	}
	return NULL;
}

/* Room for the state of any of these hashes. */
union state {
	struct md5_ctx md5;
	struct sha1_ctx sha1;
	struct sha256_ctx sha256;
	struct sha512_ctx sha512;
	struct ripemd160_ctx ripemd160;
};

size_t q2_hash_len(enum q2_hash_kind kind)
{
	const struct nettle_hash *h = method(kind);

	return h ? h->digest_size : 0;
}

bool q2_hash_bytes(enum q2_hash_kind kind, const void *bytes, size_t n,
		   uint8_t *digest)
{
	const struct nettle_hash *h = method(kind);
	union state state;

	h->init(&state);
	h->update(&state, n, bytes);
	h->digest(&state, h->digest_size, digest);
	q2_wipe(&state, sizeof(state));
	return true;
}

/* A message's authentication with one secret. */
struct keyed {
	const struct nettle_hash *hash;
	union state outer;
	union state inner;
	union state state;
};

static void keyed_update(void *ctx, size_t n, const uint8_t *bytes)
{
	struct keyed *k = ctx;

	k->hash->update(&k->state, n, bytes);
}

static void keyed_digest(void *ctx, size_t n, uint8_t *digest)
{
	struct keyed *k = ctx;

	hmac_digest(&k->outer, &k->inner, &k->state, k->hash, n, digest);
}

bool q2_hash_stretch(enum q2_hash_kind kind, const uint8_t *secret, size_t n,
		     const uint8_t *salt, size_t salt_len, uint32_t rounds,
		     uint8_t *out, size_t len)
{
	struct keyed k = {.hash = method(kind)};

	if (rounds == 0)
		return false;
	hmac_set_key(&k.outer, &k.inner, &k.state, k.hash, n, secret);
	nettle_pbkdf2(&k, keyed_update, keyed_digest, k.hash->digest_size,
		      rounds, salt_len, salt, len, out);
	q2_wipe(&k, sizeof(k));
	return true;
}

/* ---------------------------------------------------------------------- AES */

bool q2_aes_fits(enum q2_aes_mode mode, size_t len)
{
	switch (mode) {
	case Q2_AES_ECB:
	case Q2_AES_CBC:
		return len == 16 || len == 24 || len == 32;
	case Q2_AES_XTS:
		return len == 32 || len == 64;
	case Q2_AES_NONE:
		break;
	}
	return false;
}

static const struct nettle_cipher *cipher(size_t len)
{
	return len == 16 ? &nettle_aes128 :
	       len == 24 ? &nettle_aes192 :
			   &nettle_aes256;
}

/* What then runs with it. */
static nettle_cipher_func *set_key(union key *k, const uint8_t *bytes, size_t len,
				   bool encrypt)
{
	const struct nettle_cipher *c = cipher(len);

	if (encrypt)
		c->set_encrypt_key(k, bytes);
	else
		c->set_decrypt_key(k, bytes);
	return encrypt ? c->encrypt : c->decrypt;
}

struct q2_aes *q2_aes_new(enum q2_aes_mode mode, bool encrypt,
			  const uint8_t *key, size_t len)
{
	struct q2_aes *aes = calloc(1, sizeof(*aes));

	if (aes == NULL || !q2_aes_fits(mode, len)) {
		free(aes);
		return NULL;
	}
	aes->mode = mode;
	aes->encrypt = encrypt;
	if (mode == Q2_AES_XTS) {
		len /= 2;
		aes->tweak_run = set_key(&aes->tweak, key + len, len, true);
	}
	aes->run = set_key(&aes->key, key, len, encrypt);
	return aes;
}

void q2_aes_free(struct q2_aes *aes)
{
	if (aes == NULL)
		return;
	q2_wipe(aes, sizeof(*aes));
	free(aes);
}

/* The tweak of the next block: times x in the field of IEEE 1619. */
static void next_tweak(uint8_t to[16], const uint8_t from[16])
{
	uint8_t carry = from[15] >> 7;

	for (unsigned i = 15; i > 0; i--)
		to[i] = (uint8_t)(from[i] << 1 | from[i - 1] >> 7);
	to[0] = (uint8_t)(from[0] << 1 ^ (carry ? 0x87 : 0));
}

/* nettle's own does one block at a time. */
static void run_xts(struct q2_aes *aes, const uint8_t *iv, uint8_t *bytes,
		    size_t len)
{
	uint8_t tweaks[SECTOR];

	aes->tweak_run(&aes->tweak, 16, tweaks, iv);
	for (size_t at = 16; at < len; at += 16)
		next_tweak(tweaks + at, tweaks + at - 16);
	for (size_t i = 0; i < len; i++)
		bytes[i] ^= tweaks[i];
	aes->run(&aes->key, len, bytes, bytes);
	for (size_t i = 0; i < len; i++)
		bytes[i] ^= tweaks[i];
}

bool q2_aes_run(struct q2_aes *aes, const uint8_t *iv, uint8_t *bytes,
		size_t len)
{
	uint8_t chained[16];

	if (len % 16 || len > SECTOR)
		return false;
	switch (aes->mode) {
	case Q2_AES_XTS:
		run_xts(aes, iv, bytes, len);
		return true;
	case Q2_AES_CBC:
		memcpy(chained, iv, sizeof(chained));
		(aes->encrypt ? cbc_encrypt : cbc_decrypt)(
			&aes->key, aes->run, 16, chained, len, bytes, bytes);
		return true;
	default:
		aes->run(&aes->key, len, bytes, bytes);
		return true;
	}
}

void q2_wipe(void *bytes, size_t n)
{
	explicit_bzero(bytes, n);
}

bool q2_same_secret(const uint8_t *a, const uint8_t *b, size_t n)
{
	return memeql_sec(a, b, n) != 0;
}
