/*
 * test_chain.c - names, policies, and the guest's disk through several layers.
 *
 * SPDX-License-Identifier: MIT
 */
#include <check.h>
#include <stdio.h>
#include <unistd.h>

#include "base/err.h"
#include "image/chain.h"
#include "image/naming.h"
#include "image/snaptable.h"
#include "mini.h"

#define COPIED (UINT64_C(1) << 63)
#define CS 512u

/* ------------------------------------------------------------------- names */
static const struct name_case {
	const char *name;
	enum q2_name_kind kind;
	const char *path; /* NULL: none */
	bool from_cwd;
} names[] = {
	{"base", Q2_NAME_PATH, "base", false},
	{"sub/base", Q2_NAME_PATH, "sub/base", false},
	{"../base", Q2_NAME_PATH, "../base", false},
	{"/x/base", Q2_NAME_PATH, "/x/base", true},
	{"./a:b", Q2_NAME_PATH, "./a:b", false},
	{"d/a:b", Q2_NAME_PATH, "d/a:b", false},
	{"a:b", Q2_NAME_PROTOCOL, NULL, false},
	{"nbd://host/disk", Q2_NAME_PROTOCOL, NULL, false},
	{"file:base", Q2_NAME_PATH, "base", true},
	{"file:/x", Q2_NAME_PATH, "/x", true},
	{"json:{}", Q2_NAME_JSON, NULL, false},
};

START_TEST(name)
{
	const struct name_case *t = &names[_i];
	const char *path;
	bool from_cwd;

	ck_assert(q2_name_split(t->name, &path, &from_cwd) == t->kind);
	ck_assert_pstr_eq(path, t->path);
	ck_assert(from_cwd == t->from_cwd);
}
END_TEST

static const struct climb_case {
	const char *path;
	bool climbs;
} climbs[] = {
	{"", false}, {"a", false}, {"..", true}, {"../a", true},
	{"a/..", true}, {"a/../b", true}, {"..a", false}, {"a..", false},
	{"a/..b", false}, {"/..", true},
};

START_TEST(climb)
{
	ck_assert(q2_path_climbs(climbs[_i].path) == climbs[_i].climbs);
}
END_TEST

/* ------------------------------------------------- files that are in memory */
#define FILES 4
struct world {
	struct {
		const char *path;
		struct mini m;
	} file[FILES];
	unsigned opened;
};

static enum q2_status world_open(void *ctx, const char *path,
				 struct q2_io **io, struct q2_err *err)
{
	struct world *w = ctx;

	for (size_t i = 0; i < FILES; i++)
		if (w->file[i].path && strcmp(w->file[i].path, path) == 0) {
			w->opened++;
			return q2_io_memory(w->file[i].m.bytes,
					    w->file[i].m.size, io, err);
		}
	*io = NULL;
	return q2_fail(err, Q2_E_IO, 0, Q2_NO_OFFSET, "no such file");
}

static void world_free(struct world *w)
{
	for (size_t i = 0; i < FILES; i++)
		free(w->file[i].m.bytes);
}

static struct mini filled(uint64_t disk, const char *backing,
			  const char *format)
{
	struct mini m = mini_new(3, 9, 16, disk, 1);

	mini_l1(&m, 0, COPIED | 4 * CS);
	if (backing)
		mini_backing(&m, backing, format);
	return m;
}

/* d/top over d/mid over d/low, a raw file of two and a half clusters. */
static struct world three(void)
{
	struct world w = {0};

	w.file[0].path = "d/top";
	w.file[0].m = filled(16 * CS, "mid", "qcow2");
	mini_l2(&w.file[0].m, 4, 0, 8, COPIED | 5 * CS, 0);
	mini_l2(&w.file[0].m, 4, 9, 8, 1, 0);
	w.file[1].path = "d/mid";
	w.file[1].m = filled(8 * CS, "sub/low", "raw");
	mini_l2(&w.file[1].m, 4, 1, 8, COPIED | 5 * CS, 0);
	mini_l2(&w.file[1].m, 4, 4, 8, 1, 0);
	w.file[2].path = "d/sub/low";
	w.file[2].m.size = 1280;
	w.file[2].m.bytes = calloc(1, 1280);
	return w;
}

struct got {
	size_t n;
	struct q2_piece p[32];
};

static enum q2_status take(void *ctx, const struct q2_piece *p)
{
	struct got *g = ctx;

	ck_assert_uint_lt(g->n, 32);
	g->p[g->n++] = *p;
	return Q2_OK;
}

static void expect(const struct got *g, size_t i, uint64_t guest,
		   uint64_t length, unsigned depth, enum q2_map_kind kind)
{
	const struct q2_piece *p = &g->p[i];

	ck_assert_uint_lt(i, g->n);
	ck_assert_msg(p->e.guest == guest && p->e.length == length &&
			      p->depth == depth && p->e.kind == kind,
		      "piece %zu: %llu + %llu depth %u kind %d", i,
		      (unsigned long long)p->e.guest,
		      (unsigned long long)p->e.length, p->depth,
		      (int)p->e.kind);
}

START_TEST(through_three)
{
	struct world w = three();
	struct q2_policy policy = {.backing = true,
				   .open = world_open,
				   .ctx = &w};
	struct q2_budget b = {0};
	struct q2_chain c;
	struct got g = {0};
	struct q2_err err = {0};

	ck_assert_msg(q2_chain_open("d/top", Q2_FORMAT_QCOW2, &policy, &b, &c,
				    &err) == Q2_OK, "%s", err.text);
	ck_assert_uint_eq(c.n, 3);
	ck_assert(!c.cut);
	ck_assert_str_eq(c.layers[2]->path, "d/sub/low");
	ck_assert_int_eq(q2_chain_walk(&c, 0, UINT64_MAX, take, &g), Q2_OK);
	expect(&g, 0, 0, CS, 0, Q2_MAP_DATA);
	expect(&g, 1, CS, CS, 1, Q2_MAP_DATA);
	expect(&g, 2, 2 * CS, CS / 2, 2, Q2_MAP_DATA);
	expect(&g, 3, 2 * CS + CS / 2, CS / 2, 2, Q2_MAP_ZERO_ALLOC);
	/* The raw file is over: the layer above it is the last one. */
	expect(&g, 4, 3 * CS, CS, 1, Q2_MAP_NONE);
	expect(&g, 5, 4 * CS, CS, 1, Q2_MAP_ZERO);
	expect(&g, 6, 5 * CS, 3 * CS, 1, Q2_MAP_NONE);
	expect(&g, 7, 8 * CS, CS, 0, Q2_MAP_NONE);
	expect(&g, 8, 9 * CS, CS, 0, Q2_MAP_ZERO);
	expect(&g, 9, 10 * CS, 6 * CS, 0, Q2_MAP_NONE);
	ck_assert_uint_eq(g.n, 10);
	q2_chain_close(&c);
	ck_assert_uint_eq(b.used, 0);
	world_free(&w);
}
END_TEST

START_TEST(alone)
{
	struct world w = three();
	struct q2_policy policy = {.open = world_open, .ctx = &w};
	struct q2_budget b = {0};
	struct q2_chain c;
	struct q2_piece p;

	ck_assert_int_eq(q2_chain_open("d/top", Q2_FORMAT_QCOW2, &policy, &b,
				       &c, NULL), Q2_OK);
	ck_assert_uint_eq(c.n, 1);
	ck_assert_uint_eq(w.opened, 1);
	ck_assert(c.cut);
	q2_chain_at(&c, CS + 10, 100, &p);
	ck_assert(p.e.guest == CS + 10 && p.e.length == 100 &&
		  p.e.kind == Q2_MAP_NONE && p.depth == 0);
	q2_chain_close(&c);
	world_free(&w);
}
END_TEST

/* -------------------------------------------------------------- what may be */
static const char *const allow_x[] = {"/x", NULL};

static const struct policy_case {
	const char *backing, *format;
	bool probe, any;
	const char *const *allow;
	enum q2_status st;
	const char *text; /* a part of the error's */
} policies[] = {
	{"low", "raw", false, false, NULL, Q2_OK, NULL},
	{"./low", "raw", false, false, NULL, Q2_OK, NULL},
	{"low", "file", false, false, NULL, Q2_OK, NULL},
	{"low", NULL, false, false, NULL, Q2_E_REFUSED, "--allow-probe"},
	{"low", NULL, true, false, NULL, Q2_OK, NULL},
	{"low", "vmdk", true, true, NULL, Q2_E_UNSUPPORTED, "vmdk"},
	{"low", "qcow2", false, false, NULL, Q2_E_FORMAT, "not a QCOW2"},
	{"/x/low", "raw", false, false, NULL, Q2_E_REFUSED,
	 "--allow-path=/x"},
	{"/x/low", "raw", false, false, allow_x, Q2_OK, NULL},
	{"/x/low", "raw", false, true, NULL, Q2_OK, NULL},
	{"/xx/low", "raw", false, false, allow_x, Q2_E_REFUSED,
	 "--allow-path=/xx"},
	{"/x/../x/low", "raw", false, false, allow_x, Q2_E_REFUSED,
	 "--allow-path"},
	{"../low", "raw", false, false, NULL, Q2_E_REFUSED, "--allow-path"},
	{"file:low", "raw", false, false, NULL, Q2_E_REFUSED, "--allow-path"},
	{"nbd://h/x", "raw", false, true, NULL, Q2_E_REFUSED,
	 "--allow-path=nbd://h/x"},
	{"json:{\"driver\":\"nbd\"}", "raw", false, true, NULL,
	 Q2_E_UNSUPPORTED, "driver 'nbd'"},
	{"gone", "raw", false, false, NULL, Q2_E_IO, "no such file"},
	{"top", "qcow2", false, false, NULL, Q2_E_FORMAT, "loop"},
	{"./top", "qcow2", false, false, NULL, Q2_E_FORMAT, "layers"},
};

START_TEST(policy)
{
	const struct policy_case *t = &policies[_i];
	struct world w = {0};
	struct q2_policy p = {.backing = true,
			      .allow_probe = t->probe,
			      .allow_any = t->any,
			      .allow = t->allow,
			      .max_layers = 2,
			      .open = world_open,
			      .ctx = &w};
	struct q2_budget b = {0};
	struct q2_chain c;
	struct q2_err err = {0};

	w.file[0].path = "d/top";
	w.file[0].m = filled(16 * CS, t->backing, t->format);
	w.file[1].path = "d/low";
	if (strcmp(t->backing, "./low") == 0)
		w.file[1].path = "d/./low";
	if (t->backing[0] == '/')
		w.file[1].path = t->backing;
	w.file[1].m = (struct mini){.bytes = calloc(1, CS), .size = CS};
	if (strcmp(t->backing, "./top") == 0) {
		w.file[2].path = "d/./top";
		w.file[2].m = filled(16 * CS, "low", "raw");
	}
	ck_assert_msg(q2_chain_open("d/top", Q2_FORMAT_QCOW2, &p, &b, &c,
				    &err) == t->st, "%s", err.text);
	if (t->text)
		ck_assert_msg(strstr(err.text, t->text), "%s", err.text);
	else
		ck_assert_uint_eq(c.n, 2);
	q2_chain_close(&c);
	ck_assert_uint_eq(b.used, 0);
	world_free(&w);
}
END_TEST

START_TEST(data_file)
{
	struct world w = {0};
	struct q2_policy p = {.data_files = true, .open = world_open,
			      .ctx = &w};
	struct q2_budget b = {0};
	struct q2_chain c;
	struct q2_err err = {0};

	w.file[0].path = "top";
	w.file[0].m = filled(8 * CS, NULL, NULL);
	mini_put(&w.file[0].m, 72, 8, 1 << 2);
	mini_ext(&w.file[0].m, 104, 0x44415441, "top.data");
	w.file[1].path = "top.data";
	w.file[1].m = (struct mini){.bytes = calloc(1, CS), .size = CS};
	ck_assert_msg(q2_chain_open("top", Q2_FORMAT_QCOW2, &p, &b, &c,
				    &err) == Q2_OK, "%s", err.text);
	ck_assert_ptr_nonnull(c.layers[0]->data);
	ck_assert_uint_eq(c.layers[0]->data->size, CS);
	q2_chain_close(&c);
	/* Another one, on request; and one that is not there. */
	p.data_file = "other";
	ck_assert_int_eq(q2_chain_open("top", Q2_FORMAT_QCOW2, &p, &b, &c,
				       &err), Q2_E_IO);
	w.file[1].path = "other";
	ck_assert_int_eq(q2_chain_open("top", Q2_FORMAT_QCOW2, &p, &b, &c,
				       NULL), Q2_OK);
	q2_chain_close(&c);
	ck_assert_uint_eq(b.used, 0);
	world_free(&w);
}
END_TEST

/* ------------------------------------------------- files, links and loops */
static void store(const char *path, const struct mini *m)
{
	FILE *f = fopen(path, "wb");

	ck_assert_ptr_nonnull(f);
	ck_assert_uint_eq(fwrite(m->bytes, 1, m->size, f), m->size);
	ck_assert_int_eq(fclose(f), 0);
}

START_TEST(real_files)
{
	char dir[] = "/tmp/q2chain.XXXXXX";
	struct q2_policy p = {.backing = true};
	const char *out[] = {".", NULL};
	struct q2_budget b = {0};
	struct q2_chain c;
	struct q2_err err = {0};
	struct mini top = filled(8 * CS, "link", "qcow2");
	struct mini low = filled(8 * CS, NULL, NULL);

	ck_assert_ptr_nonnull(mkdtemp(dir));
	ck_assert_int_eq(chdir(dir), 0);
	ck_assert_int_eq(system("mkdir in out"), 0);
	store("in/top", &top);
	store("out/low", &low);
	ck_assert_int_eq(symlink("../out/low", "in/link"), 0);
	/* A link out of the folder is no way around the policy. */
	ck_assert_int_eq(q2_chain_open("in/top", Q2_FORMAT_QCOW2, &p, &b, &c,
				       &err), Q2_E_REFUSED);
	ck_assert_msg(strstr(err.text, "--allow-path=/") != NULL, "%s",
		      err.text);
	p.allow = out;
	ck_assert_int_eq(q2_chain_open("in/top", Q2_FORMAT_QCOW2, &p, &b, &c,
				       NULL), Q2_OK);
	ck_assert_uint_eq(c.n, 2);
	q2_chain_close(&c);
	/* A loop under another name. */
	ck_assert_int_eq(unlink("in/link"), 0);
	ck_assert_int_eq(symlink("top", "in/link"), 0);
	err = (struct q2_err){0};
	ck_assert_int_eq(q2_chain_open("in/top", Q2_FORMAT_QCOW2, &p, &b, &c,
				       &err), Q2_E_FORMAT);
	ck_assert_msg(strstr(err.text, "loop") != NULL, "%s", err.text);
	ck_assert_uint_eq(b.used, 0);
	ck_assert_int_eq(system("rm in/top in/link out/low; rmdir in out"), 0);
	ck_assert_int_eq(chdir(".."), 0);
	ck_assert_int_eq(rmdir(dir), 0);
	free(top.bytes);
	free(low.bytes);
}
END_TEST

/* --------------------------------------------------------------- snapshots */
static size_t record(struct mini *m, size_t at, uint64_t l1, uint32_t entries,
		     uint64_t disk, const char *id, const char *text)
{
	size_t n = strlen(id), k = strlen(text);

	mini_put(m, at, 8, l1);
	mini_put(m, at + 8, 4, entries);
	mini_put(m, at + 12, 2, n);
	mini_put(m, at + 14, 2, k);
	mini_put(m, at + 36, 4, 16);
	mini_put(m, at + 48, 8, disk);
	memcpy(m->bytes + at + 56, id, n);
	memcpy(m->bytes + at + 56 + n, text, k);
	return (at + 56 + n + k + 7) & ~(size_t)7;
}

START_TEST(snapshots)
{
	struct mini m = filled(16 * CS, NULL, NULL);
	struct q2_budget b = {0};
	struct q2_snaptable t;
	struct q2_opened o;
	struct q2_io *io;
	size_t at = 8 * CS;

	mini_put(&m, 60, 4, 3);
	mini_put(&m, 64, 8, at);
	at = record(&m, at, 9 * CS, 1, 4 * CS, "1", "2");
	at = record(&m, at, 10 * CS, 1, 8 * CS, "2", "late");
	ck_assert_int_eq(q2_io_memory(m.bytes, m.size, &io, NULL), Q2_OK);
	ck_assert_int_eq(q2_image_open(io, &b, &o, NULL), Q2_OK);
	ck_assert_int_eq(q2_snaptable_read(&o.img, &t, NULL), Q2_OK);
	/* The third one is zeros. */
	ck_assert(t.damaged);
	ck_assert_uint_eq(t.snaps.n, 2);
	ck_assert_str_eq(t.snaps.at[1].id, "2");
	ck_assert_str_eq(t.snaps.at[1].name, "late");
	ck_assert_uint_eq(t.snaps.at[1].tree.disk_size, 8 * CS);
	ck_assert_uint_eq(t.snaps.at[1].tree.l1_offset, 10 * CS);
	/* An id goes before a name. */
	ck_assert_ptr_eq(q2_snaptable_find(&t, "2"), &t.snaps.at[1]);
	ck_assert_ptr_eq(q2_snaptable_find(&t, "1"), &t.snaps.at[0]);
	ck_assert_ptr_eq(q2_snaptable_find(&t, "late"), &t.snaps.at[1]);
	ck_assert_ptr_null(q2_snaptable_find(&t, "lat"));
	q2_snaptable_free(&t, &b);
	ck_assert_uint_eq(b.used, 0);
	q2_io_close(io);
	free(m.bytes);
}
END_TEST

int main(void)
{
	Suite *s = suite_create("chain");
	TCase *t = tcase_create("chain");
	SRunner *r;
	int failed;

	tcase_add_loop_test(t, name, 0, sizeof(names) / sizeof(*names));
	tcase_add_loop_test(t, climb, 0, sizeof(climbs) / sizeof(*climbs));
	tcase_add_test(t, through_three);
	tcase_add_test(t, alone);
	tcase_add_loop_test(t, policy, 0,
			    sizeof(policies) / sizeof(*policies));
	tcase_add_test(t, data_file);
	tcase_add_test(t, real_files);
	tcase_add_test(t, snapshots);
	suite_add_tcase(s, t);
	r = srunner_create(s);
	srunner_run_all(r, CK_NORMAL);
	failed = srunner_ntests_failed(r);
	srunner_free(r);
	return failed != 0;
}
