/*
 * keys.c - the keys of a chain's layers, from the secrets that open them.
 *
 * SPDX-License-Identifier: MIT
 */
#include "dump/keys.h"

#include <stdlib.h>

#include "base/err.h"

struct q2_keyed {
	struct q2_key *key; /* NULL: not encrypted */
	struct q2_decryptor *decrypt;
	struct q2_encryptor *encrypt;
	struct q2_veil veil;
};

enum q2_status q2_secrets_judge(const struct q2_secret *secrets, size_t n_secrets,
				unsigned n, struct q2_err *err)
{
	for (size_t i = 0; i < n_secrets; i++)
		if (secrets[i].layer != Q2_ANY_LAYER && secrets[i].layer >= n)
			return q2_fail(err, Q2_E_ARG, 0, Q2_NO_OFFSET,
				       "there is a secret for layer %u, but the "
				       "chain has %u, counted from 0",
				       (unsigned)secrets[i].layer, n);
	return Q2_OK;
}

static const struct q2_secret *secret_of(const struct q2_secret *secrets,
					 size_t n, unsigned layer)
{
	const struct q2_secret *any = NULL;

	for (size_t i = 0; i < n; i++) {
		if (secrets[i].layer == layer)
			return &secrets[i];
		if (secrets[i].layer == Q2_ANY_LAYER)
			any = &secrets[i];
	}
	return any;
}

static enum q2_status luks_key(const struct q2_opened *layer,
			       const struct q2_secret *secret,
			       struct q2_key **key, struct q2_err *err)
{
	struct q2_range area = layer->luks;

	if (area.len == 0)
		return q2_fail(err, Q2_E_FORMAT, 0, Q2_NO_OFFSET,
			       "the header does not say where the LUKS header "
			       "is");
	if (area.len > UINT64_MAX - area.start)
		area.len = UINT64_MAX - area.start;
	return q2_key_luks(layer->img.io, area, secret->bytes, secret->len, key,
			   err);
}

/* As in QEMU, a data file holds ciphertext as well. */
enum q2_status q2_layer_key(const struct q2_layer *layer, unsigned i,
			    const struct q2_secret *secrets, size_t n_secrets,
			    struct q2_key **key, struct q2_err *err)
{
	const struct q2_secret *secret = secret_of(secrets, n_secrets, i);
	struct q2_err why = {0};
	enum q2_status st;

	*key = NULL;
	if (layer->raw || layer->opened.img.geom.crypt == 0)
		return Q2_OK;
	if (secret == NULL)
		return q2_fail(err, Q2_E_REFUSED, 0, Q2_NO_OFFSET,
			       "'%.100s' is encrypted: --secret names a file "
			       "with its secret", layer->path);
	if (layer->opened.img.geom.crypt == 1)
		st = q2_key_aes(secret->bytes, secret->len, key, &why);
	else
		st = luks_key(&layer->opened, secret, key, &why);
	return st == Q2_OK ? st :
		q2_fail(err, st, why.sys_errno, why.offset, "'%.100s': %s",
			layer->path, why.text);
}

static uint64_t place_of(const struct q2_keyed *k, uint64_t guest,
			 uint64_t host)
{
	return q2_key_by_host(k->key) ? host : guest;
}

static enum q2_status show(void *ctx, uint8_t *bytes, size_t len,
			   uint64_t guest, uint64_t host, struct q2_err *err)
{
	const struct q2_keyed *k = ctx;

	return q2_decrypt(k->decrypt, bytes, len, place_of(k, guest, host),
			  err);
}

static enum q2_status hide(void *ctx, uint8_t *bytes, size_t len,
			   uint64_t guest, uint64_t host, struct q2_err *err)
{
	const struct q2_keyed *k = ctx;

	return q2_encrypt(k->encrypt, bytes, len, place_of(k, guest, host),
			  err);
}

static enum q2_status open_one(struct q2_keyed *k, struct q2_err *err)
{
	enum q2_status st = q2_decryptor_new(k->key, &k->decrypt, err);

	k->veil = (struct q2_veil){hide, show, k};
	return st == Q2_OK ? q2_encryptor_new(k->key, &k->encrypt, err) : st;
}

static uint32_t crypt_of(const struct q2_chain *chain, unsigned i)
{
	const struct q2_layer *l = chain->layers[i];

	return l->raw ? 0 : l->opened.img.geom.crypt;
}

/* Numbers may be those of before an interrupted run, which has taken layers out of
 * the chain.  The old encryption would not notice the wrong secret, and what is
 * written with it is lost.  But as each encrypted layer had its number, the highest
 * one now is of none. */
static enum q2_status judge_numbers(const struct q2_chain *chain,
				    const struct q2_secret *secrets, size_t n,
				    struct q2_err *err)
{
	bool aes = false, any = false;

	for (unsigned i = 0; i < chain->n; i++)
		aes |= crypt_of(chain, i) == 1;
	for (size_t i = 0; i < n; i++)
		any |= secrets[i].layer == Q2_ANY_LAYER;
	for (size_t i = 0; i < n; i++) {
		uint32_t layer = secrets[i].layer;

		if (layer == Q2_ANY_LAYER)
			continue;
		if (crypt_of(chain, layer) == 0)
			return q2_fail(err, Q2_E_ARG, 0, Q2_NO_OFFSET,
				       "there is a secret for layer %u, but "
				       "'%.100s' is not encrypted",
				       (unsigned)layer,
				       chain->layers[layer]->path);
		if (aes && any)
			return q2_fail(err, Q2_E_ARG, 0, Q2_NO_OFFSET,
				       "with the old encryption either one "
				       "secret has to be for all layers, or "
				       "each for one of them");
	}
	return Q2_OK;
}

enum q2_status q2_keyring_open(struct q2_keyring *ring,
			       const struct q2_chain *chain,
			       const struct q2_secret *secrets,
			       size_t n_secrets, struct q2_err *err)
{
	enum q2_status st = q2_secrets_judge(secrets, n_secrets, chain->n, err);

	*ring = (struct q2_keyring){0};
	if (st == Q2_OK)
		st = judge_numbers(chain, secrets, n_secrets, err);
	for (unsigned i = 0; i < chain->n && st == Q2_OK; i++) {
		struct q2_key *key;

		st = q2_layer_key(chain->layers[i], i, secrets, n_secrets, &key,
				  err);
		if (key == NULL)
			continue;
		if (ring->at == NULL) {
			ring->n = chain->n;
			ring->at = calloc(ring->n, sizeof(*ring->at));
		}
		if (ring->at == NULL) {
			q2_key_free(key);
			return q2_fail(err, Q2_E_NOMEM, 0, Q2_NO_OFFSET,
				       "no memory");
		}
		ring->at[i].key = key;
		st = open_one(&ring->at[i], err);
	}
	return st;
}

void q2_keyring_close(struct q2_keyring *ring)
{
	for (unsigned i = 0; ring->at && i < ring->n; i++) {
		q2_decryptor_free(ring->at[i].decrypt);
		q2_encryptor_free(ring->at[i].encrypt);
		q2_key_free(ring->at[i].key);
	}
	free(ring->at);
	*ring = (struct q2_keyring){0};
}

const struct q2_veil *q2_keyring_veil(const struct q2_keyring *ring,
				      unsigned i)
{
	return ring->at && ring->at[i].key ? &ring->at[i].veil : NULL;
}
