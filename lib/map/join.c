/*
 * join.c - the results of other scans become nodes of this one.
 *
 * SPDX-License-Identifier: MIT
 *
 * The lines come from programs of ours, but anybody may have changed them: each is
 * judged by itself, and all of a file must fit together.
 */
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/buf.h"
#include "base/hash.h"
#include "base/vec.h"
#include "map/record.h"
#include "map/scan.h"

/* What the scan that wrote the line found out by names alone; the rest is found
 * again from all that was joined. */
#define FLAGS_KEPT                                                             \
	(Q2_FF_NO_BASE | Q2_FF_NO_FORMAT | Q2_FF_OUTSIDE | Q2_FF_NOT_A_FILE |  \
	 Q2_FF_NO_DATA_FILE)

/* One file that is joined. */
struct stream {
	struct q2_scan *scan;
	const char *filename;
	uint64_t line;
	size_t host;
	size_t number; /* of the stream, from 1 */
	uint64_t files;
	struct device {
		uint64_t device;
		size_t volume;
	} *devices;
	size_t n_devices;
	bool ended;
};

static enum q2_status refuse(const struct stream *t, const char *why,
			     struct q2_err *err)
{
	return q2_fail(err, Q2_E_FORMAT, 0, Q2_NO_OFFSET, "%.120s:%llu: %s",
		       t->filename, (unsigned long long)t->line, why);
}

/* -------------------------------------------------------------------- lines */
/* Digest of the paths, whatever their order. */
static uint64_t digest(const struct q2_json_value *paths)
{
	const char *at = paths->text;
	uint64_t sum = 0;

	for (size_t i = 0; i < paths->count; i++) {
		sum += q2_hash(at, strlen(at));
		at += strlen(at) + 1;
	}
	return sum;
}

static enum q2_status take_head(struct stream *t,
				const struct q2_json_value *v,
				struct q2_err *err)
{
	struct q2_scan *s = t->scan;
	struct q2_scan_part part = {digest(&v[Q2_REC_PATHS]),
				    v[Q2_REC_PARTS].number,
				    v[Q2_REC_PART].number};
	struct q2_scan_part *parts;

	if (part.parts == 0 || part.part == 0 || part.part > part.parts ||
	    part.parts > UINT_MAX)
		return refuse(t, "there is no such part of a scan", err);
	parts = realloc(s->parts, (s->n_parts + 1) * sizeof(*parts));
	if (parts == NULL)
		return q2_scan_no_memory(err);
	s->parts = parts;
	parts[s->n_parts++] = part;
	return q2_scan_add_host(s, v[Q2_REC_HOST].text, v[Q2_REC_BOOT].text,
				&t->host, err);
}

/* The volume that another scan has seen already; Q2_NO_FILE if none has. */
static size_t same_volume(const struct stream *t,
			  const struct q2_scan_volume *v)
{
	const struct q2_scan *s = t->scan;

	for (size_t i = 0; i < s->n_volumes; i++)
		if (s->seen_by[i] == t->host ?
			    s->volumes[i].device == v->device :
			    v->shared[0] && strcmp(s->volumes[i].shared,
						   v->shared) == 0)
			return i;
	return Q2_NO_FILE;
}

static const struct device *find_device(const struct stream *t,
					uint64_t device)
{
	for (size_t i = 0; i < t->n_devices; i++)
		if (t->devices[i].device == device)
			return &t->devices[i];
	return NULL;
}

static enum q2_status take_volume(struct stream *t,
				  const struct q2_json_value *j,
				  struct q2_err *err)
{
	struct q2_scan_volume v = {.device = j[Q2_REC_DEVICE].number,
				   .shared = j[Q2_REC_SHARED].text,
				   .is_device = j[Q2_REC_BLOCK].number != 0,
				   .known = j[Q2_REC_SIZE].given,
				   .size = j[Q2_REC_SIZE].number,
				   .free = j[Q2_REC_FREE].number};
	struct device *devices;
	struct q2_scan_volume *old;
	size_t number = same_volume(t, &v);
	enum q2_status st = Q2_OK;

	if (v.is_device ? !v.known || j[Q2_REC_FREE].given :
			  v.known != j[Q2_REC_FREE].given)
		return refuse(t, "size without free, or free without size",
			      err);
	if (find_device(t, v.device))
		return refuse(t, "a file system is there twice", err);
	devices = realloc(t->devices, (t->n_devices + 1) * sizeof(*devices));
	if (devices == NULL)
		return q2_scan_no_memory(err);
	t->devices = devices;
	if (number == Q2_NO_FILE) {
		st = q2_scan_add_volume(t->scan, t->host, &v, &number, err);
	} else {
		/* They looked one after the other: the least is the safest. */
		old = &t->scan->volumes[number];
		if (v.known && (!old->known || v.free < old->free)) {
			old->known = true;
			old->size = v.size;
			old->free = v.free;
		}
	}
	if (st == Q2_OK)
		devices[t->n_devices++] = (struct device){v.device, number};
	return st;
}

/* A file that could not even be found is known by its path only. */
static struct q2_identity nobody(size_t host, const char *path)
{
	uint64_t hash = q2_hash_on(host, path, strlen(path));

	return (struct q2_identity){UINT64_MAX, hash ? hash : 1};
}

/* A file that is named; one on a file system that has no files is in no scan. */
static struct q2_identity named(const struct stream *t, uint64_t device,
				uint64_t inode)
{
	const struct device *d = find_device(t, device);

	if (d == NULL)
		return (struct q2_identity){0};
	return (struct q2_identity){d->volume, inode};
}

static bool copy(const struct q2_json_value *v, const char **to)
{
	*to = v->given ? strdup(v->text) : NULL;
	return !v->given || *to;
}

/* The better of two reports about one file: by a scan that was asked for it, then
 * the newer one. */
static bool is_better(const struct q2_scan_node *a,
		      const struct q2_scan_node *b)
{
	if (a->f.asked != b->f.asked)
		return a->f.asked;
	if ((a->f.kind == Q2_FILE_BAD) != (b->f.kind == Q2_FILE_BAD))
		return b->f.kind == Q2_FILE_BAD;
	if (a->f.changed != b->f.changed)
		return a->f.changed > b->f.changed;
	if (a->f.allocation != b->f.allocation)
		return a->f.allocation > b->f.allocation;
	return strcmp(a->f.path, b->f.path) < 0;
}

static enum q2_status put_node(struct stream *t, const char *path,
			       struct q2_scan_node *n, struct q2_err *err)
{
	size_t number = q2_scan_by_identity(t->scan, n->id);
	struct q2_scan_node *old, swap;

	n->stream = t->number;
	if (number == Q2_NO_FILE)
		return q2_scan_add_node(t->scan, path, n, &number, err);
	old = &t->scan->at[number];
	if (old->stream == t->number)
		return refuse(t, "a file is there twice", err);
	old->stream = t->number;
	n->f.path = strdup(path);
	if (n->f.path == NULL)
		return q2_scan_no_memory(err);
	if (is_better(n, old)) {
		swap = *old;
		*old = *n;
		*n = swap;
	}
	return Q2_OK;
}

static enum q2_status take_file(struct stream *t,
				const struct q2_json_value *v,
				struct q2_err *err)
{
	struct q2_scan_node n = {.f = {.base = Q2_NO_FILE,
				       .data_file = Q2_NO_FILE,
				       .volume = Q2_NO_FILE}};
	const struct device *d = find_device(t, v[Q2_REC_DEVICE].number);
	const char *why = q2_record_file(v, &n.f);
	enum q2_status st = Q2_OK;

	if (why)
		return refuse(t, why, err);
	n.f.flags &= FLAGS_KEPT;
	if (n.f.inode && (d == NULL || n.f.is_device !=
			  t->scan->volumes[d->volume].is_device))
		return refuse(t, "its file system was not told of", err);
	if (n.f.inode) {
		n.f.volume = d->volume;
		n.id = (struct q2_identity){d->volume, n.f.inode};
	} else {
		n.id = nobody(t->host, v[Q2_REC_FILENAME].text);
	}
	n.base = named(t, v[Q2_REC_BASE_DEVICE].number,
		       v[Q2_REC_BASE_INODE].number);
	n.data = named(t, v[Q2_REC_DATA_DEVICE].number,
		       v[Q2_REC_DATA_INODE].number);
	if (!copy(&v[Q2_REC_ERROR], &n.f.error) ||
	    !copy(&v[Q2_REC_BACKING_NAME], &n.f.backing) ||
	    !copy(&v[Q2_REC_BACKING_FORMAT], &n.f.format))
		st = q2_scan_no_memory(err);
	else
		st = put_node(t, v[Q2_REC_FILENAME].text, &n, err);
	t->files++;
	q2_scan_drop_node(&n);
	return st;
}

/* --------------------------------------------------------------- whole files */
static enum q2_status take_line(struct stream *t, const char *line, size_t n,
				char *room, struct q2_err *err)
{
	struct q2_json_value v[Q2_REC_KEYS];
	enum q2_record_kind kind;
	const char *why = q2_record_read(line, n, room, &kind, v);

	t->line++;
	if (why)
		return refuse(t, why, err);
	if ((t->line == 1) != (kind == Q2_RECORD_AUDIT))
		return refuse(t, t->line == 1 ?
				 "it does not begin as an audit's ndjson does" :
				 "another one begins here", err);
	if (t->ended)
		return refuse(t, "there is more behind the end", err);
	switch (kind) {
	case Q2_RECORD_AUDIT:
		return take_head(t, v, err);
	case Q2_RECORD_VOLUME:
		return take_volume(t, v, err);
	case Q2_RECORD_FILE:
		return take_file(t, v, err);
	case Q2_RECORD_END:
		break;
	}
	t->ended = true;
	return v[Q2_REC_FILES].number == t->files ?
		       Q2_OK : refuse(t, "lines of files are missing", err);
}

/* Whole lines of the n bytes at `at`; *done is where the rest begins. */
static enum q2_status take_lines(struct stream *t, const char *at, size_t n,
				 char *room, size_t *done, struct q2_err *err)
{
	enum q2_status st = Q2_OK;
	const char *end;

	*done = 0;
	while (st == Q2_OK && (end = memchr(at + *done, '\n', n - *done))) {
		st = take_line(t, at + *done, (size_t)(end - at) - *done, room,
			       err);
		*done = (size_t)(end - at) + 1;
	}
	return st;
}

static enum q2_status read_lines(struct stream *t, int fd, struct q2_err *err)
{
	char *buf = malloc((size_t)2 * (Q2_RECORD_MAX + 1));
	char *room;
	size_t held = 0, done;
	enum q2_status st = Q2_OK;
	ssize_t got;

	if (buf == NULL)
		return q2_scan_no_memory(err);
	room = buf + Q2_RECORD_MAX + 1;
	for (;;) {
		got = read(fd, buf + held, Q2_RECORD_MAX - held);
		if (got < 0 && errno == EINTR)
			continue;
		if (got <= 0)
			break;
		held += (size_t)got;
		st = take_lines(t, buf, held, room, &done, err);
		if (st != Q2_OK)
			break;
		held -= done;
		memmove(buf, buf + done, held);
		if (held == Q2_RECORD_MAX) {
			t->line++;
			st = refuse(t, "the line is too long", err);
			break;
		}
	}
	if (st == Q2_OK && got < 0)
		st = q2_fail_errno(err, errno, Q2_NO_OFFSET, t->filename);
	else if (st == Q2_OK && (held || !t->ended))
		st = refuse(t, t->line ? "it ends too early" : "it is empty",
			    err);
	free(buf);
	return st;
}

enum q2_status q2_scan_join(struct q2_scan *scan, const char *filename,
			    struct q2_err *err)
{
	struct stream t = {.scan = scan, .filename = filename};
	struct stat sb;
	enum q2_status st;
	int fd;

	if (scan->n_asked)
		return q2_fail(err, Q2_E_ARG, 0, Q2_NO_OFFSET,
			       "a scan of paths cannot take results");
	fd = open(filename, O_RDONLY | O_CLOEXEC);
	if (fd < 0)
		return q2_fail_errno(err, errno, Q2_NO_OFFSET, filename);
	if (fstat(fd, &sb) == 0 && S_ISDIR(sb.st_mode)) {
		st = q2_fail_errno(err, EISDIR, Q2_NO_OFFSET, filename);
	} else {
		t.number = ++scan->streams;
		st = read_lines(&t, fd, err);
	}
	close(fd);
	free(t.devices);
	return st;
}

/* -------------------------------------------------------------------- parts */
static int by_part(const void *a, const void *b)
{
	const struct q2_scan_part *x = a, *y = b;

	if (x->scan != y->scan)
		return x->scan < y->scan ? -1 : 1;
	if (x->parts != y->parts)
		return x->parts < y->parts ? -1 : 1;
	return (x->part > y->part) - (x->part < y->part);
}

/* Several hosts may have shared scans that look alike: then each part is there as
 * many times.  `first` is the first of n sorted ones of the same scan. */
static enum q2_status check_scan(const struct q2_scan_part *first, size_t n,
				 struct q2_err *err)
{
	uint64_t want = 1;
	size_t times = 0;

	while (times < n && first[times].part == 1)
		times++;
	for (size_t i = 0; times && i < n; i++) {
		want = i / times + 1;
		if (first[i].part != want)
			break;
		want += (i + 1) % times == 0;
	}
	if (times && want > first->parts)
		return Q2_OK;
	return q2_fail(err, Q2_E_FORMAT, 0, Q2_NO_OFFSET,
		       "part %llu of %llu of a scan is missing, or another one "
		       "is there too often", (unsigned long long)want,
		       (unsigned long long)first->parts);
}

enum q2_status q2_scan_check_parts(struct q2_scan *s, struct q2_err *err)
{
	enum q2_status st = Q2_OK;
	size_t i = 0, n;

	q2_sort(s->parts, s->n_parts, sizeof(*s->parts), by_part);
	for (; st == Q2_OK && i < s->n_parts; i += n) {
		for (n = 1; i + n < s->n_parts; n++)
			if (s->parts[i + n].scan != s->parts[i].scan ||
			    s->parts[i + n].parts != s->parts[i].parts)
				break;
		st = check_scan(&s->parts[i], n, err);
	}
	return st;
}
