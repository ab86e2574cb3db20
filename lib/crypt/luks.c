/*
 * luks.c - getting the key out of a LUKS1 header.
 *
 * SPDX-License-Identifier: MIT
 */
#include <stdlib.h>
#include <string.h>

#include "base/endian.h"
#include "base/err.h"
#include "crypt/key.h"

enum {
	HEADER = 592,
	TEXT = 32, /* bytes of each name */
	AT_CIPHER = 8,
	AT_MODE = 40,
	AT_HASH = 72,
	AT_KEY_BYTES = 108,
	AT_DIGEST = 112,
	AT_DIGEST_SALT = 132,
	AT_DIGEST_ROUNDS = 164,
	AT_SLOTS = 208,
	SLOTS = 8,
	SLOT_LEN = 48,
	SLOT_ROUNDS = 4,
	SLOT_SALT = 8,
	SLOT_OFFSET = 40, /* of the key material, in sectors */
	SLOT_STRIPES = 44,
	DIGEST = 20,
	SALT = 32
};
#define MAGIC UINT64_C(0x4c554b53babe0001) /* with version 1 */
#define SLOT_IN_USE UINT32_C(0x00ac71f3)
#define STRIPES_MAX 16384u
/* A hostile header must not keep us busy for hours. */
#define ROUNDS_MAX UINT32_C(100000000)

struct luks {
	struct q2_io *io;
	struct q2_range area;
	const uint8_t *secret;
	size_t secret_len;
	enum q2_hash_kind hash;
	enum q2_hash_kind essiv_hash;
	struct q2_key *key; /* its method is set, its bytes are a candidate's */
	uint8_t head[HEADER];
};

static enum q2_status bad(const struct luks *l, const char *what,
			  struct q2_err *err)
{
	return q2_fail(err, Q2_E_FORMAT, 0, l->area.start,
		       "the LUKS header is damaged: %s", what);
}

static enum q2_status derive(const struct luks *l, const uint8_t *secret,
			     size_t n, const uint8_t *salt, uint32_t rounds,
			     uint8_t *out, size_t len, struct q2_err *err)
{
	if (rounds == 0 || rounds > ROUNDS_MAX)
		return bad(l, "an absurd number of rounds", err);
	if (!q2_hash_stretch(l->hash, secret, n, salt, SALT, rounds, out, len))
		return q2_fail(err, Q2_E_NOMEM, 0, Q2_NO_OFFSET,
			       "no key could be derived");
	return Q2_OK;
}

/* Spreads each bit of the block over a digest's length of it. */
static bool diffuse(enum q2_hash_kind hash, uint8_t *block, size_t len)
{
	size_t step = q2_hash_len(hash);
	uint8_t in[4 + Q2_HASH_MAX], out[Q2_HASH_MAX];

	for (size_t i = 0; i * step < len; i++) {
		size_t n = (size_t)q2_min(step, len - i * step);

		in[0] = (uint8_t)(i >> 24);
		in[1] = (uint8_t)(i >> 16);
		in[2] = (uint8_t)(i >> 8);
		in[3] = (uint8_t)i;
		memcpy(in + 4, block + i * step, n);
		if (!q2_hash_bytes(hash, in, 4 + n, out))
			return false;
		memcpy(block + i * step, out, n);
	}
	q2_wipe(in, sizeof(in));
	q2_wipe(out, sizeof(out));
	return true;
}

/* The anti-forensic split undone. */
static bool merge(const struct luks *l, const uint8_t *split, size_t stripes,
		  uint8_t *out)
{
	size_t len = l->key->len;

	memset(out, 0, len);
	for (size_t s = 0; s < stripes; s++) {
		for (size_t i = 0; i < len; i++)
			out[i] ^= split[s * len + i];
		if (s + 1 < stripes && !diffuse(l->hash, out, len))
			return false;
	}
	return true;
}

/* Decrypts a slot's key material with the key made from the secret. */
static enum q2_status open_material(struct luks *l, uint8_t *split, size_t len,
				    uint64_t at, const uint8_t *slot_key,
				    struct q2_err *err)
{
	struct q2_decryptor *d;
	enum q2_status st;

	st = q2_pread_zero(l->io, split, len, at, err);
	if (st == Q2_OK)
		st = q2_key_set(l->key, slot_key, l->essiv_hash, err);
	if (st == Q2_OK)
		st = q2_decryptor_new(l->key, &d, err);
	if (st != Q2_OK)
		return st;
	st = q2_decrypt(d, split, len, 0, err);
	q2_decryptor_free(d);
	return st;
}

/* *opened: the candidate is the key, by the header's digest. */
static enum q2_status judge(const struct luks *l, const uint8_t *candidate,
			    bool *opened, struct q2_err *err)
{
	uint8_t digest[DIGEST];
	enum q2_status st;

	st = derive(l, candidate, l->key->len, l->head + AT_DIGEST_SALT,
		    q2_be32(l->head + AT_DIGEST_ROUNDS), digest, DIGEST, err);
	*opened = st == Q2_OK &&
		  q2_same_secret(digest, l->head + AT_DIGEST, DIGEST);
	return st;
}

static enum q2_status try_slot(struct luks *l, const uint8_t *slot,
			       bool *opened, struct q2_err *err)
{
	uint8_t key[Q2_KEY_MAX];
	size_t stripes = q2_be32(slot + SLOT_STRIPES);
	uint64_t off = (uint64_t)q2_be32(slot + SLOT_OFFSET) * Q2_CRYPT_SECTOR;
	uint8_t *split;
	size_t len, room;
	enum q2_status st;

	*opened = false;
	if (stripes == 0 || stripes > STRIPES_MAX)
		return bad(l, "an absurd number of stripes", err);
	len = stripes * l->key->len;
	room = (len + Q2_CRYPT_SECTOR - 1) & ~(size_t)(Q2_CRYPT_SECTOR - 1);
	if (!q2_inside(off, len, l->area.len))
		return bad(l, "a key slot lies outside of it", err);
	split = calloc(1, room);
	if (split == NULL)
		return q2_fail(err, Q2_E_NOMEM, 0, Q2_NO_OFFSET, "no memory");
	st = derive(l, l->secret, l->secret_len, slot + SLOT_SALT,
		    q2_be32(slot + SLOT_ROUNDS), key, l->key->len, err);
	if (st == Q2_OK)
		st = open_material(l, split, room, l->area.start + off, key,
				   err);
	if (st == Q2_OK && !merge(l, split, stripes, key))
		st = q2_fail(err, Q2_E_NOMEM, 0, Q2_NO_OFFSET, "no digest");
	if (st == Q2_OK)
		st = judge(l, key, opened, err);
	if (*opened)
		st = q2_key_set(l->key, key, l->essiv_hash, err);
	q2_wipe(key, sizeof(key));
	q2_wipe(split, room);
	free(split);
	return st;
}

static enum q2_status read_method(struct luks *l, struct q2_err *err)
{
	char cipher[TEXT + 1] = "", mode[TEXT + 1] = "", hash[TEXT + 1] = "";
	size_t len = q2_be32(l->head + AT_KEY_BYTES);

	memcpy(cipher, l->head + AT_CIPHER, TEXT);
	memcpy(mode, l->head + AT_MODE, TEXT);
	memcpy(hash, l->head + AT_HASH, TEXT);
	if (len == 0 || len > Q2_KEY_MAX)
		return bad(l, "an absurd length of the key", err);
	l->hash = q2_key_hash(hash);
	if (l->hash == Q2_HASH_NONE)
		return q2_fail(err, Q2_E_UNSUPPORTED, 0, Q2_NO_OFFSET,
			       "the hash %.32s is not supported", hash);
	l->key->by_host = true;
	return q2_key_method(l->key, cipher, mode, len, &l->essiv_hash, err);
}

static enum q2_status try_slots(struct luks *l, struct q2_err *err)
{
	bool opened = false;

	for (unsigned i = 0; i < SLOTS; i++) {
		const uint8_t *slot = l->head + AT_SLOTS + (size_t)i * SLOT_LEN;
		enum q2_status st;

		if (q2_be32(slot) != SLOT_IN_USE)
			continue;
		st = try_slot(l, slot, &opened, err);
		if (st != Q2_OK || opened)
			return st;
	}
	return q2_fail(err, Q2_E_ARG, 0, Q2_NO_OFFSET,
		       "the secret opens none of the image's key slots");
}

enum q2_status q2_key_luks(struct q2_io *io, struct q2_range area,
			   const void *secret, size_t n, struct q2_key **key,
			   struct q2_err *err)
{
	struct luks l = {.io = io,
			 .area = area,
			 .secret = secret,
			 .secret_len = n};
	enum q2_status st;

	*key = NULL;
	if (area.len < HEADER)
		return bad(&l, "it is too short", err);
	st = q2_pread(io, l.head, HEADER, area.start, err);
	if (st != Q2_OK)
		return st;
	if (q2_be64(l.head) != MAGIC)
		return bad(&l, "no LUKS version 1 magic", err);
	l.key = calloc(1, sizeof(*l.key));
	if (l.key == NULL)
		return q2_fail(err, Q2_E_NOMEM, 0, Q2_NO_OFFSET, "no memory");
	st = read_method(&l, err);
	if (st == Q2_OK)
		st = try_slots(&l, err);
	if (st != Q2_OK)
		q2_key_free(l.key);
	else
		*key = l.key;
	return st;
}
