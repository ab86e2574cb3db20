/*
 * audit.c - qcow2-map audit: how much has been promised, and on what.
 *
 * SPDX-License-Identifier: MIT
 */
#include <errno.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "map.h"

static const struct q2_cli_option option_table[] = {
	{"columns", 'o', "NAMES",
	 "columns of the table, separated by commas: file, format,\n"
	 "capacity, length, allocation, commitment, growth, ratio,\n"
	 "snapshots, overlays, base, flags",
	 Q2_CLI_TEXT, AT(audit.columns), 0},
	{"no-headings", 0, NULL, "leave out the table's head, and the sums below it",
	 Q2_CLI_SET, AT(audit.no_headings), 1},
	{"bytes", 'b', NULL, "whole numbers of bytes, no units", Q2_CLI_SET,
	 AT(audit.bytes), 1},
	{"tree", 0, NULL, "overlays below their bases", Q2_CLI_SET, AT(audit.tree),
	 1},
	{"warn", 0, "LIMIT",
	 "exit with 1 if a file system's ratio is above this\n"
	 "number, or its headroom below this size (with a unit)",
	 Q2_CLI_TEXT, AT(audit.warn), 0},
	{"crit", 0, "LIMIT", "the same for exit status 2", Q2_CLI_TEXT,
	 AT(audit.crit), 0},
	{"nagios", 0, NULL,
	 "one line, and 0, 1, 2 or 3, as Nagios wants it", Q2_CLI_SET,
	 AT(audit.nagios), 1},
	{"shard", 0, "I/N",
	 "look at the I-th of N parts of the files only, so that N\n"
	 "workers can share them; for --output=ndjson",
	 Q2_CLI_TEXT, AT(audit.shard), 0},
	{"merge", 0, NULL,
	 "the operands are what earlier audits wrote as ndjson:\n"
	 "join them",
	 Q2_CLI_SET, AT(audit.merge), 1},
	{"output", 0, "text|json|ndjson|prom|html",
	 "the form; text is the default, prom is for the textfile\n"
	 "collector of Prometheus, html a page with charts",
	 Q2_CLI_CHOICE, AT(output), 0},
	{"to", 0, "FILE", "write to this file, which is replaced at once",
	 Q2_CLI_TEXT, AT(audit.to), 0},
	{"progress-fd", 'C', "FD",
	 "write lines \"phase done total\" to a descriptor", Q2_CLI_FD,
	 AT(progress_fd), 0},
	Q2_CLI_SANDBOX_OPTIONS(AT(sandbox)),
	{"quiet", 'q', NULL, "no progress on the terminal", Q2_CLI_SET,
	 AT(quiet), 1},
	{0},
};

/* ------------------------------------------------------------------ limits */
enum { NAGIOS_OK, NAGIOS_WARNING, NAGIOS_CRITICAL, NAGIOS_UNKNOWN };

/* A ratio, which has no unit, or a size. */
struct limit {
	bool given;
	bool is_ratio;
	double ratio;
	uint64_t bytes;
};

static bool parse_limit(const char *text, struct limit *l)
{
	size_t digits = text ? strspn(text, "0123456789.") : 0;

	*l = (struct limit){.given = text != NULL};
	if (text == NULL)
		return true;
	l->is_ratio = digits > 0 && text[digits] == '\0';
	if (l->is_ratio) {
		char *end;

		l->ratio = strtod(text, &end);
		return *end == '\0';
	}
	return q2_cli_size(text, &l->bytes);
}

double map_ratio(const struct q2_scan_volume *v)
{
	return v->room ? (double)v->commitment / (double)v->room : 0;
}

static bool beyond(const struct limit *l, const struct q2_scan_volume *v)
{
	if (!l->given || !v->known)
		return false;
	if (l->is_ratio)
		return map_ratio(v) > l->ratio;
	/* A device that is full to the brim with one image is as it should be. */
	return v->commitment > v->room ||
	       (!v->is_device && v->room - v->commitment < l->bytes);
}

struct judgement {
	int level;
	struct q2_scan_volume worst; /* by ratio */
	double ratio;
	size_t volumes;
	uint64_t files;
};

static struct judgement judge(const struct q2_scan *scan,
			      const struct limit *warn,
			      const struct limit *crit)
{
	struct judgement j = {.ratio = -1};
	struct q2_scan_volume v;

	for (size_t i = 0; q2_scan_volume(scan, i, &v); i++) {
		int level = beyond(crit, &v) ? NAGIOS_CRITICAL :
			    beyond(warn, &v) ? NAGIOS_WARNING : NAGIOS_OK;

		j.level = level > j.level ? level : j.level;
		j.volumes++;
		j.files += v.files;
		if (v.known && map_ratio(&v) > j.ratio) {
			j.ratio = map_ratio(&v);
			j.worst = v;
		}
	}
	return j;
}

static enum q2_status put_nagios(struct map *map, const struct judgement *j)
{
	static const char *const words[] = {"OK", "WARNING", "CRITICAL",
					    "UNKNOWN"};
	struct q2_sink sink = map_stream(map);
	int level = map->status & Q2_EXIT_FAILED ? NAGIOS_UNKNOWN : j->level;
	struct q2_buf b = {0};
	enum q2_status st = Q2_OK;

	/* What is known to be beyond a limit is so whatever else is not. */
	if (j->level > NAGIOS_OK)
		level = j->level;
	q2_buf_format(&b, "QCOW2 %s: %llu files", words[level],
		      (unsigned long long)j->files);
	if (j->ratio >= 0)
		q2_buf_format(&b, ", committed %.2f times what there is room "
			      "for; %llu bytes free, %llu may be needed"
			      "|ratio=%.4f free=%lluB growth=%lluB",
			      j->ratio, (unsigned long long)j->worst.free,
			      (unsigned long long)j->worst.growth,
			      j->ratio, (unsigned long long)j->worst.free,
			      (unsigned long long)j->worst.growth);
	q2_buf_char(&b, '\n');
	if (b.failed || sink.write(sink.ctx, b.at, b.n))
		st = b.failed ? Q2_E_NOMEM : Q2_E_IO;
	q2_buf_free(&b);
	map->status = level;
	return st;
}

/* -------------------------------------------------------- a file of its own */
/* Why the file must not be replaced; NULL if it may be. */
static const char *precious(const struct q2_scan *scan, const char *path,
			    char *operands[])
{
	struct stat sb, other;

	if (lstat(path, &sb) < 0)
		return NULL;
	if (!S_ISREG(sb.st_mode))
		return "it is not a regular file, and stays as it is";
	if (q2_scan_find(scan, path) != Q2_NO_FILE)
		return "it is one of the images, and stays as it is";
	for (size_t i = 0; operands[i]; i++)
		if (stat(operands[i], &other) == 0 &&
		    other.st_dev == sb.st_dev && other.st_ino == sb.st_ino)
			return "it was read, and stays as it is";
	return NULL;
}

/* Writes beside the file and renames, so that readers see all or nothing. */
static enum q2_status write_to(struct map *map, const struct q2_scan *scan,
			       enum q2_scan_form form)
{
	const char *path = map->options->audit.to;
	struct q2_buf name = {0};
	struct q2_cli_output out;
	struct q2_sink sink = {q2_cli_output_add, &out};
	enum q2_status st;
	int fd, error;

	q2_buf_format(&name, "%s.XXXXXX", path);
	q2_buf_add(&name, "", 1);
	if (name.failed || strlen(path) > 1000) {
		q2_buf_free(&name);
		return Q2_E_NOMEM;
	}
	fd = mkstemp(name.at);
	if (fd < 0) {
		q2_cli_complain(map->tool, path, strerror(errno));
		map->status |= Q2_EXIT_FAILED;
		q2_buf_free(&name);
		return Q2_OK;
	}
	q2_cli_output_open(&out, fd);
	st = q2_scan_report(scan, form, &sink);
	(void)q2_cli_output_commit(&out);
	/* For the collector, which runs as somebody else. */
	(void)fchmod(fd, 0644);
	error = q2_cli_output_close(&out);
	if (error == 0 && st == Q2_OK && rename(name.at, path) < 0)
		error = errno;
	if (error || st != Q2_OK)
		(void)unlink(name.at);
	if (error) {
		q2_cli_complain(map->tool, path, strerror(error));
		map->status |= Q2_EXIT_FAILED;
	}
	q2_buf_free(&name);
	return error ? Q2_OK : st;
}

/* The order of --output. */
enum { OUTPUT_TEXT, OUTPUT_JSON, OUTPUT_NDJSON, OUTPUT_PROM };

static enum q2_status show(struct map *map, const struct q2_scan *scan,
			   char *operands[])
{
	static const enum q2_scan_form forms[] = {Q2_SCAN_TREE, Q2_SCAN_JSON,
						  Q2_SCAN_NDJSON, Q2_SCAN_PROM,
						  Q2_SCAN_HTML};
	const char *path = map->options->audit.to;
	struct q2_sink sink = map_stream(map);
	const char *why = path ? precious(scan, path, operands) : NULL;

	if (why) {
		q2_cli_complain(map->tool, path, why);
		map->status |= Q2_EXIT_FAILED;
		return Q2_OK;
	}
	if (path)
		return write_to(map, scan, forms[map->options->output]);
	if (map->options->output == OUTPUT_TEXT)
		return map_table(map, scan);
	return q2_scan_report(scan, forms[map->options->output], &sink);
}

static int misuse(struct map *map, const char *what, const char *about)
{
	return q2_cli_misuse(map->tool, what, about);
}

/* Options that do not go together; NULL if all do. */
static const char *conflict(const struct options *o)
{
	bool ndjson = o->output == OUTPUT_NDJSON;

	if (o->audit.nagios && (o->output || o->audit.to))
		return "--nagios has a form of its own";
	if ((o->output || o->audit.nagios) &&
	    (o->audit.columns || o->audit.bytes || o->audit.tree ||
	     o->audit.no_headings))
		return "--columns, --no-headings, --bytes and --tree are for "
		       "the table";
	if (o->audit.columns && o->audit.columns[0] == '\0')
		return "--columns takes the names of columns";
	if (o->audit.to && !o->output)
		return "--to is not for text";
	/* A part's sums mean nothing: bases may be in other parts. */
	if (o->audit.shard && !ndjson)
		return "--shard is for --output=ndjson, to be merged";
	if (o->audit.shard && (o->audit.warn || o->audit.crit))
		return "limits are for the whole: give them with --merge";
	if (o->audit.shard && o->audit.merge)
		return "--shard is for paths, not with --merge";
	if (o->audit.merge && ndjson)
		return "--merge has no ndjson: it cannot be merged again";
	return NULL;
}

static void audit(struct map *map, char *operands[])
{
	const struct options *o = map->options;
	struct judgement j;
	struct limit warn, crit;
	struct q2_scan *scan;
	struct q2_err err = {0};
	enum q2_status st;
	const char *why;

	if (!parse_limit(o->audit.warn, &warn)) {
		map->status = misuse(map, "a ratio or a size is wanted",
				     o->audit.warn);
		return;
	}
	if (!parse_limit(o->audit.crit, &crit)) {
		map->status = misuse(map, "a ratio or a size is wanted",
				     o->audit.crit);
		return;
	}
	why = conflict(o);
	if (why) {
		map->status = misuse(map, why, NULL);
		return;
	}
	scan = map_scan(map, operands);
	if (scan == NULL) {
		map->status = o->audit.nagios ? NAGIOS_UNKNOWN : map->status;
		return;
	}
	j = judge(scan, &warn, &crit);
	st = o->audit.nagios ? put_nagios(map, &j) :
			       show(map, scan, operands);
	map_fail(map, NULL, st, &err);
	if (!o->audit.nagios)
		map->status |= j.level;
	q2_scan_free(scan);
}

const struct verb map_audit = {
	.name = "audit",
	.what = "how much has been promised, and what there is room for",
	.tool = {
		.name = "qcow2-map audit",
		.operands = "PATH...",
		.purpose = "Show what the images in these files and folders "
			   "take, what they may\ncome to take, and what there "
			   "is room for.",
		.epilogue = "Exit status: 1 and 2 for --warn and --crit, and the "
			    "sum of 4 (a chain is\nbroken), 8 (something could "
			    "not be read), 16 and 32.",
		.options = option_table,
	},
	.min = 1,
	.max = UINT_MAX,
	.scans = true,
	.run = audit,
};
