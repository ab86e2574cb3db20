/*
 * test_crypt.c - keys: headers that cannot be used, and sectors decrypted and
 * encrypted.
 *
 * SPDX-License-Identifier: MIT
 *
 * That real headers open is tested on images that QEMU made.
 */
#include <check.h>
#include <stdlib.h>
#include <string.h>

#include <openssl/evp.h>

#include "base/endian.h"
#include "crypt/crypt.h"

#define AREA 8192u

static uint8_t area[AREA];

/* A header with one key slot in use, which no secret opens. */
static void make_header(void)
{
	memset(area, 0, sizeof(area));
	q2_put_be64(area, UINT64_C(0x4c554b53babe0001));
	memcpy(area + 8, "aes", 3);
	memcpy(area + 40, "xts-plain64", 11);
	memcpy(area + 72, "sha256", 6);
	q2_put_be32(area + 108, 32);
	q2_put_be32(area + 164, 1000);
	q2_put_be32(area + 208, 0x00ac71f3);
	q2_put_be32(area + 212, 1000);
	q2_put_be32(area + 248, 2);
	q2_put_be32(area + 252, 100);
}

static enum q2_status unlock(uint64_t len)
{
	struct q2_io *io;
	struct q2_key *key;
	enum q2_status st;

	ck_assert(q2_io_memory(area, sizeof(area), &io, NULL) == Q2_OK);
	st = q2_key_luks(io, (struct q2_range){0, len}, "secret", 6, &key,
			 NULL);
	ck_assert((st == Q2_OK) == (key != NULL));
	q2_key_free(key);
	q2_io_close(io);
	return st;
}

START_TEST(bad_headers)
{
	make_header();
	ck_assert_int_eq(unlock(AREA), Q2_E_ARG);
	ck_assert_int_eq(unlock(591), Q2_E_FORMAT);
	ck_assert_int_eq(unlock(AREA / 2), Q2_E_FORMAT); /* the slot is cut */
	area[0] = 'X';
	ck_assert_int_eq(unlock(AREA), Q2_E_FORMAT);
	make_header();
	q2_put_be32(area + 108, 65);
	ck_assert_int_eq(unlock(AREA), Q2_E_FORMAT);
	make_header();
	q2_put_be32(area + 108, 33);
	ck_assert_int_eq(unlock(AREA), Q2_E_UNSUPPORTED);
	make_header();
	q2_put_be32(area + 212, UINT32_MAX); /* would take hours */
	ck_assert_int_eq(unlock(AREA), Q2_E_FORMAT);
	make_header();
	q2_put_be32(area + 252, UINT32_MAX);
	ck_assert_int_eq(unlock(AREA), Q2_E_FORMAT);
	make_header();
	q2_put_be32(area + 248, UINT32_MAX);
	ck_assert_int_eq(unlock(AREA), Q2_E_FORMAT);
	make_header();
	q2_put_be32(area + 208, 0); /* no slot is in use */
	ck_assert_int_eq(unlock(AREA), Q2_E_ARG);
}
END_TEST

START_TEST(unknown_methods)
{
	static const struct {
		unsigned at;
		const char *text;
	} bad[] = {
		{8, "twofish"}, {40, "ecb"}, {40, "xts-essiv:md4"},
		{40, "xts-"}, {40, "ctr-plain64"}, {72, "md4"}, {72, ""},
	};

	for (size_t i = 0; i < sizeof(bad) / sizeof(*bad); i++) {
		make_header();
		memset(area + bad[i].at, 0, 32);
		memcpy(area + bad[i].at, bad[i].text, strlen(bad[i].text));
		ck_assert_int_eq(unlock(AREA), Q2_E_UNSUPPORTED);
	}
	/* Texts that are not terminated. */
	make_header();
	memset(area + 40, 'x', 32);
	ck_assert_int_eq(unlock(AREA), Q2_E_UNSUPPORTED);
}
END_TEST

/* Sector 5 and 6 of the old method: AES-128-CBC, the number as IV. */
START_TEST(old_method)
{
	static const uint8_t secret[] = "sixteen bytes ok and more";
	uint8_t plain[1024], bytes[1024], stored[1024], iv[16] = {0};
	EVP_CIPHER_CTX *ctx = EVP_CIPHER_CTX_new();
	struct q2_decryptor *d;
	struct q2_encryptor *e;
	struct q2_key *key;
	int n;

	ck_assert_ptr_nonnull(ctx);
	for (size_t i = 0; i < sizeof(plain); i++)
		plain[i] = (uint8_t)(i * 7);
	for (unsigned s = 0; s < 2; s++) {
		iv[0] = (uint8_t)(5 + s);
		ck_assert(EVP_EncryptInit_ex(ctx, EVP_aes_128_cbc(), NULL,
					     secret, iv) == 1);
		ck_assert(EVP_CIPHER_CTX_set_padding(ctx, 0) == 1);
		ck_assert(EVP_EncryptUpdate(ctx, bytes + 512 * s, &n,
					    plain + 512 * s, 512) == 1);
	}
	EVP_CIPHER_CTX_free(ctx);
	memcpy(stored, bytes, sizeof(stored));
	ck_assert(q2_key_aes(secret, sizeof(secret) - 1, &key, NULL) == Q2_OK);
	ck_assert(!q2_key_by_host(key));
	ck_assert(q2_decryptor_new(key, &d, NULL) == Q2_OK);
	ck_assert_int_eq(q2_decrypt(d, bytes, 1024, 100, NULL), Q2_E_ARG);
	ck_assert_int_eq(q2_decrypt(d, bytes, 100, 0, NULL), Q2_E_ARG);
	ck_assert(q2_decrypt(d, bytes, 1024, UINT64_C(5) * 512, NULL) == Q2_OK);
	ck_assert_mem_eq(bytes, plain, sizeof(plain));
	q2_decryptor_free(d);
	ck_assert(q2_encryptor_new(key, &e, NULL) == Q2_OK);
	ck_assert_int_eq(q2_encrypt(e, plain, 1024, 100, NULL), Q2_E_ARG);
	ck_assert(q2_encrypt(e, plain, 1024, UINT64_C(5) * 512, NULL) == Q2_OK);
	ck_assert_mem_eq(plain, stored, sizeof(plain));
	q2_encryptor_free(e);
	q2_key_free(key);
}
END_TEST

int main(void)
{
	Suite *s = suite_create("crypt");
	TCase *c = tcase_create("keys");
	SRunner *r = srunner_create(s);
	int failed;

	tcase_add_test(c, bad_headers);
	tcase_add_test(c, unknown_methods);
	tcase_add_test(c, old_method);
	suite_add_tcase(s, c);
	srunner_run_all(r, CK_ENV);
	failed = srunner_ntests_failed(r);
	srunner_free(r);
	return failed != 0;
}
