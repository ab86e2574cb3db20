/*
 * test_dump.c - the parts of a dump that need no image: zeros, blocks, digests,
 * appending with refcounts.
 *
 * SPDX-License-Identifier: MIT
 */
#include <check.h>
#include <stdlib.h>
#include <string.h>

#include "dump/append.h"
#include "dump/digest.h"
#include "dump/guest.h"
#include "dump/pack.h"
#include "format/refcount.h"
#include "image/decode.h"

START_TEST(zeros_of_any_length)
{
	uint8_t bytes[100] = {0};

	for (size_t n = 0; n <= sizeof(bytes); n++) {
		ck_assert(q2_zeros(bytes, n));
		for (size_t i = 0; i < n; i++) {
			bytes[i] = 1;
			ck_assert(!q2_zeros(bytes, n));
			bytes[i] = 0;
		}
	}
}
END_TEST

START_TEST(bits_of_blocks)
{
	struct q2_blocks b = {{0}};

	ck_assert(q2_blocks_none(&b));
	q2_blocks_set(&b, 63);
	q2_blocks_set(&b, 64);
	ck_assert(!q2_blocks_none(&b) && !q2_blocks_has(&b, 62));
	q2_blocks_clear(&b, 63);
	ck_assert(!q2_blocks_has(&b, 63) && q2_blocks_has(&b, 64));
}
END_TEST

/* What is marked and zeros is no data; what is not marked is not looked at. */
START_TEST(sifting)
{
	uint8_t *bytes = calloc(1, Q2_CHUNK_SIZE);
	struct q2_blocks b = {{0}};

	ck_assert_ptr_nonnull(bytes);
	bytes[2 * Q2_BLOCK_SIZE + 5] = 1;
	bytes[3 * Q2_BLOCK_SIZE] = 1;
	bytes[5 * Q2_BLOCK_SIZE + 99] = 1;
	bytes[5 * Q2_BLOCK_SIZE + 100] = 1;
	for (size_t i = 0; i < 8; i++)
		if (i != 3)
			q2_blocks_set(&b, i);
	q2_blocks_sift(&b, bytes, 5 * Q2_BLOCK_SIZE + 100);
	for (size_t i = 0; i < 8; i++)
		ck_assert(q2_blocks_has(&b, i) == (i == 2 || i == 5));
	q2_blocks_sift(&b, bytes, 5 * Q2_BLOCK_SIZE + 99);
	ck_assert(!q2_blocks_has(&b, 5));
	free(bytes);
}
END_TEST

/* The digest depends on content and place, and on nothing else. */
START_TEST(digests_of_chunks)
{
	uint8_t *bytes = calloc(1, Q2_CHUNK_SIZE);
	struct q2_blocks one = {{1}}, two = {{2}};
	struct q2_digest a, b;

	ck_assert_ptr_nonnull(bytes);
	memset(bytes, 7, 2 * Q2_BLOCK_SIZE);
	a = q2_digest_chunk(&one, bytes, Q2_CHUNK_SIZE);
	b = q2_digest_chunk(&two, bytes, Q2_CHUNK_SIZE);
	ck_assert_mem_ne(a.bytes, b.bytes, sizeof(a.bytes));
	memset(bytes + 2 * Q2_BLOCK_SIZE, 1, Q2_BLOCK_SIZE);
	b = q2_digest_chunk(&one, bytes, Q2_CHUNK_SIZE);
	ck_assert_mem_eq(a.bytes, b.bytes, sizeof(a.bytes));
	bytes[0] = 8;
	b = q2_digest_chunk(&one, bytes, Q2_CHUNK_SIZE);
	ck_assert_mem_ne(a.bytes, b.bytes, sizeof(a.bytes));
	free(bytes);
}
END_TEST

/* A sink in memory for what is appended. */
struct store {
	struct q2_io io;
	uint8_t bytes[1 << 20];
};

static enum q2_status put(struct q2_io *io, const void *buf, size_t len,
			  uint64_t off, struct q2_err *err)
{
	struct store *s = (struct store *)io;

	(void)err;
	ck_assert(off + len <= sizeof(s->bytes));
	memcpy(s->bytes + off, buf, len);
	return Q2_OK;
}

static const struct q2_io_ops store_ops = {.pwrite = put};

/* Refcounts of every width, counted again from what was appended. */
START_TEST(appending)
{
	unsigned order = (unsigned)_i;
	struct store *s = calloc(1, sizeof(*s));
	struct q2_budget budget = {0};
	static uint64_t want[2048];
	uint8_t cluster[512], stream[500], long_piece[600];
	const struct q2_append_piece pieces[] = {{cluster, 512},
						 {long_piece, 600}};
	uint64_t at, l1, table, max = q2_refcount_max(order);
	uint32_t clusters;
	struct q2_append a;

	ck_assert_ptr_nonnull(s);
	memset(want, 0, sizeof(want));
	s->io.ops = &store_ops;
	s->io.writable = true;
	memset(cluster, 1, sizeof(cluster));
	memset(stream, 2, sizeof(stream));
	memset(long_piece, 3, sizeof(long_piece));
	ck_assert(q2_append_open(&a, &s->io, 9, order, &budget, NULL) ==
		  Q2_OK);
	for (unsigned i = 0; i < 900; i++) {
		size_t len = 1 + i * 37 % sizeof(stream);

		if (i % 3 == 0) {
			ck_assert(q2_append_cluster(&a, cluster, &at, NULL) ==
				  Q2_OK);
			ck_assert(at % 512 == 0);
			want[at / 512]++;
			continue;
		}
		ck_assert(q2_append_stream(&a, stream, len, &at, NULL) ==
			  Q2_OK);
		for (uint64_t c = at / 512; c <= (at + len - 1) / 512; c++)
			ck_assert(++want[c] <= max);
	}
	/* Two pieces, the second of two clusters. */
	ck_assert(q2_append_place(&a, &l1, NULL) == Q2_OK);
	ck_assert(q2_append_finish(&a, pieces, 2, &table, &clusters, NULL) ==
		  Q2_OK);
	ck_assert_mem_eq(s->bytes + l1, cluster, 512);
	ck_assert_mem_eq(s->bytes + l1 + 512, long_piece, 600);
	for (uint64_t i = 0; i < 3; i++)
		want[l1 / 512 + i]++;
	for (uint32_t i = 0; i < clusters; i++)
		want[table / 512 + i]++;
	for (uint64_t i = 0; i < clusters * 64u; i++) {
		uint64_t block = q2_be64(s->bytes + table + 8 * i);

		if (block)
			want[block / 512]++;
	}
	for (uint64_t c = 0; c < a.end / 512; c++) {
		uint64_t per_block = 4096u >> order;
		uint64_t block = q2_be64(s->bytes + table +
					 8 * (c / per_block));

		ck_assert(block != 0);
		ck_assert_uint_eq(q2_refcount(s->bytes + block, order,
					      c % per_block), want[c]);
	}
	q2_append_free(&a);
	ck_assert_uint_eq(budget.used, 0);
	free(s);
}
END_TEST

/* What is packed comes out again, with its true length. */
START_TEST(packing)
{
	static const enum q2_compress methods[] = {Q2_COMPRESS_ZLIB,
						   Q2_COMPRESS_ZSTD};
	uint8_t plain[4096], packed[4096], again[4096];
	size_t len, n, used;

	for (size_t i = 0; i < sizeof(plain); i++)
		plain[i] = (uint8_t)(i * i >> 7);
	for (size_t m = 0; m < 2; m++) {
		struct q2_packer *p;
		struct q2_decoder *d;

		ck_assert(q2_packer_new(methods[m], 0, &p, NULL) == Q2_OK);
		ck_assert(q2_decoder_new(m == 1, &d, NULL) == Q2_OK);
		len = q2_pack(p, plain, sizeof(plain), packed, sizeof(packed));
		ck_assert(len > 0 && len < sizeof(plain));
		ck_assert_uint_eq(q2_pack(p, plain, sizeof(plain), again,
					  len - 1), 0);
		memset(packed + len, 0x55, sizeof(packed) - len);
		ck_assert(q2_decode(d, packed, sizeof(packed), again,
				    sizeof(again), &n, &used, NULL) == Q2_OK);
		ck_assert_uint_eq(n, sizeof(plain));
		ck_assert_uint_eq(used, len);
		ck_assert_mem_eq(again, plain, sizeof(plain));
		ck_assert(q2_decode(d, packed, len - 1, again, sizeof(again),
				    &n, &used, NULL) == Q2_OK);
		ck_assert_uint_eq(used, 0);
		/* QEMU reads a cluster of a deflate stream that goes on, but
		 * none of such a zstd frame, nor of one with an old magic. */
		ck_assert(q2_decode(d, packed, len, again, 2048, &n, &used,
				    NULL) == Q2_OK);
		ck_assert_uint_eq(n, m == 1 ? 0 : 2048);
		packed[0] = m == 1 ? 0x27 : packed[0];
		ck_assert(q2_decode(d, packed, len, again, sizeof(again), &n,
				    &used, NULL) == Q2_OK);
		ck_assert_uint_eq(n, m == 1 ? 0 : sizeof(plain));
		q2_decoder_free(d);
		q2_packer_free(p);
	}
}
END_TEST

#define DISK ((size_t)5 << 20)

/* The chunks of a digest, and their recall from a place on. */
struct chunks {
	uint64_t guest[8];
	struct q2_digest digest[8];
	size_t n, next;
};

static void keep_chunk(void *ctx, uint64_t guest, uint64_t length,
		       const struct q2_digest *digest)
{
	struct chunks *c = ctx;

	ck_assert_uint_eq(length, Q2_CHUNK_SIZE);
	c->guest[c->n] = guest;
	c->digest[c->n++] = *digest;
}

static bool recall_chunk(void *ctx, uint64_t *guest, struct q2_digest *digest)
{
	struct chunks *c = ctx;

	if (c->next == c->n)
		return false;
	*guest = c->guest[c->next];
	*digest = c->digest[c->next++];
	return true;
}

/* A digest that goes on is the same, whatever was known; what makes no sense is
 * refused. */
START_TEST(digests_that_go_on)
{
	uint8_t *bytes = calloc(1, DISK);
	struct q2_guest_opts opts = {.format = Q2_GUEST_RAW};
	struct chunks all = {.n = 0}, some;
	struct q2_read_opts scan = {.chunk = keep_chunk, .ctx = &all};
	struct q2_digest_known known = {.recall = recall_chunk, .ctx = &some};
	struct q2_digest want, got;
	struct q2_guest *g;
	struct q2_io *io;

	ck_assert_ptr_nonnull(bytes);
	bytes[7] = bytes[3 << 20] = bytes[DISK - 1] = 1;
	ck_assert_int_eq(q2_io_memory(bytes, DISK, &io, NULL), Q2_OK);
	ck_assert_int_eq(q2_guest_open_io(io, "disk", &opts, &g, NULL), Q2_OK);
	ck_assert_int_eq(q2_guest_digest(g, &scan, &want, NULL), Q2_OK);
	ck_assert_uint_eq(all.n, 3);
	scan.chunk = NULL;
	/* Chunks at 0, 3 and 4 MiB. */
	for (size_t n = 0; n <= 3; n++) {
		static const uint64_t ends[] = {0, 2 << 20, 4 << 20, 5 << 20};

		some = all;
		some.n = n;
		known.bytes = ends[n];
		ck_assert_int_eq(q2_guest_digest_on(g, &scan, &known, &got,
						    NULL), Q2_OK);
		ck_assert_mem_eq(&got, &want, sizeof(want));
		ck_assert_uint_eq(some.next, n);
	}
	for (size_t i = 0; i < 4; i++) {
		static const uint64_t bad[] = {1 << 20, 4096, 6 << 20, 7 << 20};

		known.bytes = bad[i];
		ck_assert_int_eq(q2_guest_digest_on(g, &scan, &known, &got,
						    NULL), Q2_E_ARG);
	}
	/* Twice the same; behind what is known; in the middle of one. */
	for (size_t i = 0; i < 3; i++) {
		some = all;
		known.bytes = 4 << 20;
		some.n = 2;
		some.guest[1] = i == 0 ? 0 : i == 1 ? 4 << 20 : 4096;
		ck_assert_int_eq(q2_guest_digest_on(g, &scan, &known, &got,
						    NULL), Q2_E_ARG);
	}
	q2_guest_close(g); /* and with it the disk in memory */
	free(bytes);
}
END_TEST

int main(void)
{
	Suite *s = suite_create("dump");
	TCase *c = tcase_create("parts");
	SRunner *r = srunner_create(s);
	int failed;

	tcase_add_test(c, zeros_of_any_length);
	tcase_add_test(c, bits_of_blocks);
	tcase_add_test(c, sifting);
	tcase_add_test(c, digests_of_chunks);
	tcase_add_test(c, digests_that_go_on);
	tcase_add_loop_test(c, appending, 0, 7);
	tcase_add_test(c, packing);
	suite_add_tcase(s, c);
	srunner_run_all(r, CK_ENV);
	failed = srunner_ntests_failed(r);
	srunner_free(r);
	return failed != 0;
}
