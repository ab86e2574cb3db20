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
#include "crypt/cipher.h"
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

/* One block under 24 bytes of key: the examples of NIST's SP 800-38A. */
START_TEST(long_keys)
{
	static const uint8_t key[24] = {
		0x8e, 0x73, 0xb0, 0xf7, 0xda, 0x0e, 0x64, 0x52,
		0xc8, 0x10, 0xf3, 0x2b, 0x80, 0x90, 0x79, 0xe5,
		0x62, 0xf8, 0xea, 0xd2, 0x52, 0x2c, 0x6b, 0x7b};
	static const uint8_t plain[16] = {
		0x6b, 0xc1, 0xbe, 0xe2, 0x2e, 0x40, 0x9f, 0x96,
		0xe9, 0x3d, 0x7e, 0x11, 0x73, 0x93, 0x17, 0x2a};
	static const uint8_t iv[16] = {0, 1, 2,	 3,  4,	 5,  6,	 7,
				       8, 9, 10, 11, 12, 13, 14, 15};
	static const struct {
		enum q2_aes_mode mode;
		uint8_t bytes[16];
	} each[] = {
		{Q2_AES_ECB,
		 {0xbd, 0x33, 0x4f, 0x1d, 0x6e, 0x45, 0xf2, 0x5f, 0xf7, 0x12,
		  0xa2, 0x14, 0x57, 0x1f, 0xa5, 0xcc}},
		{Q2_AES_CBC,
		 {0x4f, 0x02, 0x1d, 0xb2, 0x43, 0xbc, 0x63, 0x3d, 0x71, 0x78,
		  0x18, 0x3a, 0x9f, 0xa0, 0x71, 0xe8}},
	};

	for (size_t i = 0; i < sizeof(each) / sizeof(*each); i++) {
		struct q2_aes *to = q2_aes_new(each[i].mode, true, key, 24);
		struct q2_aes *from = q2_aes_new(each[i].mode, false, key, 24);
		uint8_t bytes[16];

		ck_assert(to && from);
		memcpy(bytes, plain, sizeof(bytes));
		ck_assert(q2_aes_run(to, iv, bytes, sizeof(bytes)));
		ck_assert_mem_eq(bytes, each[i].bytes, sizeof(bytes));
		ck_assert(q2_aes_run(from, iv, bytes, sizeof(bytes)));
		ck_assert_mem_eq(bytes, plain, sizeof(bytes));
		q2_aes_free(to);
		q2_aes_free(from);
	}
}
END_TEST

/* A sector with the key that fits, beside libcrypto, there and back. */
static void one_cipher(enum q2_aes_mode mode, size_t len, const EVP_CIPHER *type)
{
	uint8_t key[64], iv[16], plain[512], bytes[512], want[512];
	struct q2_aes *to, *from;
	EVP_CIPHER_CTX *ctx = EVP_CIPHER_CTX_new();
	int n;

	for (size_t i = 0; i < sizeof(plain); i++)
		plain[i] = (uint8_t)(i * 11 + (i >> 5));
	memcpy(key, plain + 100, sizeof(key));
	memcpy(iv, plain + 300, sizeof(iv));
	ck_assert(q2_aes_fits(mode, len) && ctx);
	ck_assert(EVP_EncryptInit_ex(ctx, type, NULL, key, iv) == 1);
	ck_assert(EVP_CIPHER_CTX_set_padding(ctx, 0) == 1);
	ck_assert(EVP_EncryptUpdate(ctx, want, &n, plain, sizeof(plain)) == 1);
	EVP_CIPHER_CTX_free(ctx);
	to = q2_aes_new(mode, true, key, len);
	from = q2_aes_new(mode, false, key, len);
	ck_assert(to && from);
	for (unsigned times = 0; times < 2; times++) {
		memcpy(bytes, plain, sizeof(bytes));
		ck_assert(q2_aes_run(to, iv, bytes, sizeof(bytes)));
		ck_assert_mem_eq(bytes, want, sizeof(bytes));
		ck_assert(q2_aes_run(from, iv, bytes, sizeof(bytes)));
		ck_assert_mem_eq(bytes, plain, sizeof(bytes));
	}
	q2_aes_free(to);
	q2_aes_free(from);
}

START_TEST(every_cipher)
{
	one_cipher(Q2_AES_ECB, 16, EVP_aes_128_ecb());
	one_cipher(Q2_AES_ECB, 24, EVP_aes_192_ecb());
	one_cipher(Q2_AES_ECB, 32, EVP_aes_256_ecb());
	one_cipher(Q2_AES_CBC, 16, EVP_aes_128_cbc());
	one_cipher(Q2_AES_CBC, 24, EVP_aes_192_cbc());
	one_cipher(Q2_AES_CBC, 32, EVP_aes_256_cbc());
	one_cipher(Q2_AES_XTS, 32, EVP_aes_128_xts());
	one_cipher(Q2_AES_XTS, 64, EVP_aes_256_xts());
	ck_assert(!q2_aes_fits(Q2_AES_XTS, 48));
	ck_assert(!q2_aes_fits(Q2_AES_CBC, 20));
	ck_assert_ptr_null(q2_aes_new(Q2_AES_CBC, true, area, 20));
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
	tcase_add_test(c, long_keys);
	tcase_add_test(c, every_cipher);
	suite_add_tcase(s, c);
	srunner_run_all(r, CK_ENV);
	failed = srunner_ntests_failed(r);
	srunner_free(r);
	return failed != 0;
}
