/*
 * scan.c - the files that were met: a node for each, found by its identity.
 *
 * SPDX-License-Identifier: MIT
 */
#include "map/scan.h"

#include <limits.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/hash.h"

#define TICK 256u

enum q2_status q2_scan_new(const struct q2_scan_opts *opts,
			   struct q2_scan **scan, struct q2_err *err)
{
	*scan = calloc(1, sizeof(**scan));
	if (*scan == NULL)
		return q2_fail(err, Q2_E_NOMEM, 0, Q2_NO_OFFSET, "no memory");
	(*scan)->opts = *opts;
	return Q2_OK;
}

static void free_text(const char *text)
{
	free((void *)(uintptr_t)text);
}

void q2_scan_drop_node(struct q2_scan_node *n)
{
	free_text(n->f.path);
	free_text(n->f.error);
	free_text(n->f.backing);
	free_text(n->f.format);
	free(n->given);
	free(n->below);
	free(n->data_name);
}

void q2_scan_free(struct q2_scan *scan)
{
	if (scan == NULL)
		return;
	for (size_t i = 0; i < scan->n; i++)
		q2_scan_drop_node(&scan->at[i]);
	for (size_t i = 0; i < scan->n_roots; i++) {
		free(scan->roots[i].real);
		free(scan->roots[i].given);
	}
	for (size_t i = 0; i < scan->n_asked; i++)
		free(scan->asked[i]);
	for (size_t i = 0; i < scan->n_volumes; i++)
		free_text(scan->volumes[i].shared);
	for (size_t i = 0; i < scan->n_hosts; i++) {
		free(scan->hosts[i].name);
		free(scan->hosts[i].boot);
	}
	free(scan->roots);
	free(scan->asked);
	free(scan->at);
	free(scan->index);
	free(scan->volumes);
	free(scan->seen_by);
	free(scan->hosts);
	free(scan->parts);
	free(scan);
}

/* ---------------------------------------------------------------- identity */
static size_t slot_of(const struct q2_scan *s, struct q2_identity id)
{
	size_t mask = s->n_index - 1;
	size_t i = (size_t)q2_hash(&id, sizeof(id)) & mask;

	while (s->index[i] &&
	       (s->at[s->index[i] - 1].id.inode != id.inode ||
		s->at[s->index[i] - 1].id.fs != id.fs))
		i = (i + 1) & mask;
	return i;
}

size_t q2_scan_by_identity(const struct q2_scan *s, struct q2_identity id)
{
	size_t i;

	if (s->n_index == 0 || id.inode == 0)
		return Q2_NO_FILE;
	i = slot_of(s, id);
	return s->index[i] ? s->index[i] - 1 : Q2_NO_FILE;
}

/* By the inode alone: it is the same on each host that has the file system, and
 * under all names of the file. */
bool q2_scan_is_mine(const struct q2_scan *s, uint64_t inode)
{
	return s->opts.parts < 2 ||
	       q2_hash(&inode, sizeof(inode)) % s->opts.parts ==
		       s->opts.part - 1;
}

/* Room for one more node, and for its place in the index. */
static bool make_room(struct q2_scan *s)
{
	if (s->n == s->room) {
		size_t room = s->room ? 2 * s->room : 256;
		void *at = realloc(s->at, room * sizeof(*s->at));

		if (at == NULL)
			return false;
		s->at = at;
		s->room = room;
	}
	if (2 * (s->n + 1) > s->n_index) {
		size_t n = s->n_index ? 2 * s->n_index : 1024;
		size_t *index = calloc(n, sizeof(*index));

		if (index == NULL)
			return false;
		free(s->index);
		s->index = index;
		s->n_index = n;
		for (size_t i = 0; i < s->n; i++)
			if (s->at[i].id.inode)
				s->index[slot_of(s, s->at[i].id)] = i + 1;
	}
	return true;
}

enum q2_status q2_scan_add_node(struct q2_scan *s, const char *path,
				struct q2_scan_node *n, size_t *number,
				struct q2_err *err)
{
	struct q2_progress p = {"scan", s->n, s->n};

	n->f.path = strdup(path);
	if (n->f.path == NULL || !make_room(s))
		return q2_scan_no_memory(err);
	*number = s->n;
	if (n->id.inode)
		s->index[slot_of(s, n->id)] = s->n + 1;
	s->at[s->n++] = *n;
	*n = (struct q2_scan_node){0};
	if (s->n % TICK == 0 && s->opts.progress &&
	    s->opts.progress(s->opts.ctx, &p))
		return q2_fail(err, Q2_E_INTERRUPTED, 0, Q2_NO_OFFSET,
			       "interrupted");
	return Q2_OK;
}

/* --------------------------------------------------- hosts and file systems */
enum q2_status q2_scan_add_host(struct q2_scan *s, const char *name,
				const char *boot, size_t *number,
				struct q2_err *err)
{
	struct q2_scan_host *h;

	for (size_t i = 0; i < s->n_hosts; i++)
		if (strcmp(s->hosts[i].boot, boot) == 0 &&
		    (boot[0] || strcmp(s->hosts[i].name, name) == 0)) {
			*number = i;
			return Q2_OK;
		}
	h = realloc(s->hosts, (s->n_hosts + 1) * sizeof(*h));
	if (h == NULL)
		return q2_scan_no_memory(err);
	s->hosts = h;
	h += s->n_hosts;
	*h = (struct q2_scan_host){strdup(name), strdup(boot)};
	if (h->name == NULL || h->boot == NULL) {
		free(h->name);
		free(h->boot);
		return q2_scan_no_memory(err);
	}
	*number = s->n_hosts++;
	return Q2_OK;
}

enum q2_status q2_scan_add_volume(struct q2_scan *s, size_t host,
				  const struct q2_scan_volume *v,
				  size_t *number, struct q2_err *err)
{
	struct q2_scan_volume *volumes =
		realloc(s->volumes, (s->n_volumes + 1) * sizeof(*volumes));
	size_t *seen_by;

	if (volumes == NULL)
		return q2_scan_no_memory(err);
	s->volumes = volumes;
	seen_by = realloc(s->seen_by, (s->n_volumes + 1) * sizeof(*seen_by));
	if (seen_by == NULL)
		return q2_scan_no_memory(err);
	s->seen_by = seen_by;
	volumes[s->n_volumes] = *v;
	volumes[s->n_volumes].shared = strdup(v->shared);
	if (volumes[s->n_volumes].shared == NULL)
		return q2_scan_no_memory(err);
	seen_by[s->n_volumes] = host;
	*number = s->n_volumes++;
	return Q2_OK;
}

void q2_scan_about(const struct q2_scan *scan, struct q2_scan_about *out)
{
	bool shared = scan->opts.parts > 1;

	*out = (struct q2_scan_about){
		.part = shared ? scan->opts.part : 1,
		.parts = shared ? scan->opts.parts : 1,
		.joined = scan->streams > 0,
		.host = scan->n_hosts ? scan->hosts[0].name : "",
		.boot = scan->n_hosts ? scan->hosts[0].boot : "",
		.asked = (const char *const *)scan->asked,
		.n_asked = scan->n_asked,
	};
}

bool q2_scan_names(const struct q2_scan *scan, size_t i,
		   struct q2_scan_names *out)
{
	const struct q2_scan_node *n;

	if (i >= scan->n)
		return false;
	n = &scan->at[i];
	*out = (struct q2_scan_names){n->base.fs, n->base.inode, n->data.fs,
				      n->data.inode};
	return true;
}

bool q2_scan_file(const struct q2_scan *scan, size_t i,
		  struct q2_scan_file *out)
{
	if (i >= scan->n)
		return false;
	*out = scan->at[i].f;
	return true;
}

enum q2_status q2_scan_identify(const char *path, struct stat *sb,
				struct q2_identity *id, char **below,
				struct q2_err *err)
{
	char name[PATH_MAX];

	*below = NULL;
	*id = (struct q2_identity){sb->st_dev, sb->st_ino};
	if (!S_ISBLK(sb->st_mode))
		return Q2_OK;
	*id = (struct q2_identity){Q2_OWN_DEVICE | sb->st_rdev, sb->st_rdev};
	if (!q2_loop_file(path, sb, name, sizeof(name)))
		return Q2_OK;
	*id = (struct q2_identity){sb->st_dev, sb->st_ino};
	*below = strdup(name);
	return *below ? Q2_OK : q2_scan_no_memory(err);
}

size_t q2_scan_find(const struct q2_scan *scan, const char *path)
{
	struct q2_identity id;
	struct stat sb;
	char *below;

	if (stat(path, &sb) < 0 ||
	    q2_scan_identify(path, &sb, &id, &below, NULL) != Q2_OK)
		return Q2_NO_FILE;
	free(below);
	return q2_scan_by_identity(scan, id);
}

/* The host's name, unless another one has it, too. */
static const char *host_text(const struct q2_scan *s, size_t host)
{
	for (size_t i = 0; i < s->n_hosts; i++)
		if (i != host &&
		    strcmp(s->hosts[i].name, s->hosts[host].name) == 0)
			return s->hosts[host].boot;
	return s->hosts[host].name;
}

bool q2_scan_volume(const struct q2_scan *scan, size_t i,
		    struct q2_scan_volume *out)
{
	if (i >= scan->n_volumes)
		return false;
	*out = scan->volumes[i];
	if (out->is_device)
		out->room = out->size;
	else if (out->known)
		out->room = q2_add_sat(out->allocation, out->free);
	out->growth = out->commitment - q2_min(out->commitment,
					       out->is_device ? out->size :
								out->allocation);
	out->host = scan->n_hosts > 1 ? host_text(scan, scan->seen_by[i]) :
					NULL;
	return true;
}

const char *q2_file_flag_text(unsigned i)
{
	static const char *const names[Q2_FF_COUNT_BITS] = {
		"missing-base",	 "loop",	  "base-newer",
		"base-smaller",	 "base-format",	  "no-format",
		"outside",	 "not-a-file",	  "missing-data-file",
		"shared-base",
	};

	return i < Q2_FF_COUNT_BITS ? names[i] : NULL;
}
