/*
 * t_keys.c - a part of target dump: chains with encrypted layers, and their keys.
 *
 * SPDX-License-Identifier: MIT
 *
 * M-5 what is hidden with a key is shown again by it; M-7 a guest that is decrypted
 * reads the same twice.  A key of LUKS takes as many rounds as the header asks for:
 * only those that ask for few are tried.
 */
#include <string.h>

#include "base/endian.h"
#include "format/luks.h"
#include "t_fresh.h"

static const char secret[] = "a secret of more than 16 bytes";

/* Secrets that fit the chain, or not. */
static enum q2_status ring_of(const struct q2_chain *c, unsigned choice,
			      struct q2_keyring *ring)
{
	const struct q2_secret any = {Q2_ANY_LAYER, secret, sizeof(secret) - 1};
	struct q2_secret s[2] = {any, any};
	struct q2_err err = {0};
	enum q2_status st;

	if (choice % 5 == 1)
		s[0].len = 7;
	if (choice % 5 > 1)
		s[1].layer = choice / 10 % (c->n + 1);
	if (choice % 5 == 3)
		s[0].layer = 0;
	st = q2_keyring_open(ring, c, s,
			     choice % 5 == 4 ? 0 : 1 + choice / 5 % 2, &err);
	if (st != Q2_OK && err.code == Q2_OK)
		q2f_violation("C-1", "keys: status %d without a cause", (int)st);
	return st;
}

static void there_and_back(const struct q2_veil *veil)
{
	uint8_t bytes[4 * Q2_VEIL_UNIT], was[sizeof(bytes)];
	struct q2_err err = {0};

	for (size_t i = 0; i < sizeof(bytes); i++)
		was[i] = bytes[i] = (uint8_t)(i * i >> 3);
	if (veil->hide(veil->ctx, bytes, sizeof(bytes), 4096, 8192, &err) !=
		    Q2_OK ||
	    memcmp(bytes, was, sizeof(bytes)) == 0 ||
	    veil->show(veil->ctx, bytes, sizeof(bytes), 4096, 8192, &err) !=
		    Q2_OK ||
	    memcmp(bytes, was, sizeof(bytes)) != 0)
		q2f_violation("M-5", "what is hidden is not shown again");
}

static struct q2_digest digest(struct q2_guest *g, bool salvage)
{
	static const struct q2_sink_ops nothing = {0};
	struct q2_read_opts opts = {.threads = 1, .salvage = salvage};
	struct q2_pass s = {.opts = &opts,
			    .guest = {g},
			    .length = q2_min(g->size, Q2F_VIEW),
			    .phase = "fuzz",
			    .digest = true,
			    .sink = &nothing};

	struct q2_err err = {0};

	if (q2_pass_run(&s, &err) != Q2_OK && salvage)
		q2f_violation("M-6", "salvaging what is encrypted fails: %s",
			      err.text);
	return s.result;
}

#define ROUNDS 1000u

/* Whether no LUKS header of the chain asks for many rounds (LUKS 1.2.3: of the digest
 * at 164, and of eight slots, 48 bytes each, at 212). */
static bool cheap(const struct q2_chain *c)
{
	for (unsigned i = 0; i < c->n; i++) {
		const struct q2_opened *o = &c->layers[i]->opened;
		uint8_t head[Q2_LUKS_HEADER];

		if (c->layers[i]->raw || o->img.geom.crypt != 2)
			continue;
		if (o->luks.start > o->img.io->size ||
		    q2_pread_zero(o->img.io, head, sizeof(head), o->luks.start,
				  NULL) != Q2_OK ||
		    q2_be32(head + 164) > ROUNDS)
			return false;
		for (unsigned slot = 0; slot < 8; slot++)
			if (q2_be32(head + 212 + 48 * slot) > ROUNDS)
				return false;
	}
	return true;
}

/* The keys, where each encrypted layer has got one. */
static bool with_keys(struct q2_guest *g)
{
	const struct q2_secret any = {Q2_ANY_LAYER, secret, sizeof(secret) - 1};

	for (unsigned i = 0; i < g->chain.n; i++)
		if (q2_layer_key(g->chain.layers[i], i, &any, 1, &g->keys[i],
				 NULL) != Q2_OK)
			return false;
	return true;
}

/* No secret, no key: that is told of what is encrypted, and of nothing else. */
static void without_secrets(const struct q2_chain *c)
{
	struct q2_keyring ring;
	struct q2_key *key;
	bool hidden = false;

	for (unsigned i = 0; i < c->n; i++) {
		bool one = !c->layers[i]->raw &&
			   c->layers[i]->opened.img.geom.crypt;

		hidden |= one;
		if (q2_layer_key(c->layers[i], i, NULL, 0, &key, NULL) !=
			    (one ? Q2_E_REFUSED : Q2_OK) ||
		    key)
			q2f_violation("M-5", "layer %u has a key without a secret",
				      i);
	}
	if (q2_keyring_open(&ring, c, NULL, 0, NULL) !=
	    (hidden ? Q2_E_REFUSED : Q2_OK))
		q2f_violation("M-5", "no secrets are %s", hidden ? "enough" :
			      "refused");
	if (q2_keyring_veil(&ring, 0))
		q2f_violation("M-5", "there is a veil without a secret");
	q2_keyring_close(&ring);
}

static bool encrypted(const struct q2_chain *c)
{
	for (unsigned i = 0; i < c->n; i++)
		if (!c->layers[i]->raw && c->layers[i]->opened.img.geom.crypt)
			return true;
	return false;
}

/* With the secrets of a choice. */
static void with_ring(const struct q2_chain *c, unsigned choice)
{
	struct q2_keyring ring;

	if (ring_of(c, choice, &ring) == Q2_OK)
		for (unsigned k = 0; k < c->n; k++)
			if (q2_keyring_veil(&ring, k))
				there_and_back(q2_keyring_veil(&ring, k));
	q2_keyring_close(&ring);
}

void q2f_keys(struct q2_guest *g, unsigned choice)
{
	without_secrets(&g->chain);
	if (!cheap(&g->chain))
		return;
	for (unsigned i = 0; i < (q2f_thorough ? 20u : 1u); i++)
		with_ring(&g->chain, choice + i);
	if (!encrypted(&g->chain))
		return;
	if (with_keys(g)) {
		struct q2_digest a = digest(g, true), b = digest(g, true);

		if (memcmp(&a, &b, sizeof(a)) != 0)
			q2f_violation("M-7", "it is decrypted to two things");
		(void)digest(g, false);
	}
	for (unsigned i = 0; i < g->chain.n; i++) {
		q2_key_free(g->keys[i]);
		g->keys[i] = NULL;
	}
}
