/*
 * map.h - what the verbs of qcow2-map share.
 *
 * SPDX-License-Identifier: MIT
 */
#ifndef MAP_H
#define MAP_H

#include <limits.h>

#include "cli/cli.h"
#include "q2.h"

struct audit_options {
	const char *columns;
	const char *warn;
	const char *crit;
	const char *to;
	const char *shard;
	int merge;
	int no_headings;
	int bytes;
	int tree;
	int nagios;
};

struct lint_options {
	struct q2_cli_list allow;
	struct q2_cli_list refuse;
	struct q2_cli_list readers;
	uint64_t max_size;
	uint64_t max_ratio;
	int list;
};

struct forecast_options {
	const char *base;
	const char *compress;
	struct q2_cli_list secrets; /* FILE or LAYER=FILE */
	uint64_t sample;
	int read;
	int keep_top;
};

/* Set by the option tables; each verb has some of them. */
struct options {
	int output; /* index into the verb's own list of forms */
	int chain;
	int raw;
	int allow_probe;
	int backing_format; /* of FORMAT_WORDS, or -1 */
	int allow_any;
	struct q2_cli_list allow;
	const char *snapshot;
	int target; /* measure: 0 raw, 1 QCOW2 */
	struct q2_cli_list creation;
	uint64_t size;
	uint64_t host;
	uint64_t guest;
	struct q2_cli_list names; /* of snapshots */
	const char *delta;
	const char *dependants;
	struct audit_options audit;
	struct lint_options lint;
	struct forecast_options forecast;
	uint64_t start;
	uint64_t length;
	uint64_t max_memory;
	int holes;
	int hilbert; /* pictures: 1 along that curve; -1: not said */
	int quiet;
	int progress_fd;
	int sandbox; /* enum q2_sandbox_mode */
	int list_verbs;
};

#define AT(member) offsetof(struct options, member)

/* Options that several verbs have. */
#define OPTION_CHAIN                                                           \
	{"chain", 0, NULL, "follow the backing files", Q2_CLI_SET, AT(chain), 1}
#define OPTIONS_ALLOW                                                          \
	{"allow-path", 0, "FOLDER",                                            \
	 "files in this folder, too, may be opened because an\n"               \
	 "image names them; may be given again",                               \
	 Q2_CLI_LIST, AT(allow), 0},                                           \
	{"allow-any-path", 0, NULL, "the same for any folder", Q2_CLI_SET,     \
	 AT(allow_any), 1},                                                    \
	{"allow-probe", 0, NULL,                                               \
	 "backing files whose format is not stated: look at them",             \
	 Q2_CLI_SET, AT(allow_probe), 1},                                      \
	{"backing-format", 0, "raw|qcow2", "of those files",                   \
	 Q2_CLI_CHOICE, AT(backing_format), 0}
#define OPTION_SNAPSHOT                                                        \
	{"snapshot", 0, "NAME",                                                \
	 "the disk of an internal snapshot (id or name)", Q2_CLI_TEXT,         \
	 AT(snapshot), 0}
#define OPTION_RAW                                                             \
	{"raw", 0, NULL, "the image is a raw one, whatever it holds",          \
	 Q2_CLI_SET, AT(raw), 1}
#define OPTION_ORDER                                                           \
	{"order", 0, "rows|hilbert",                                           \
	 "svg and html: how the cells lie; rows is the default",               \
	 Q2_CLI_CHOICE, AT(hilbert), 0}
#define OPTIONS_USUAL                                                          \
	{"max-memory", 0, "SIZE",                                              \
	 "limit for tables, such as 512M; half of the machine's\n"             \
	 "memory is the default",                                              \
	 Q2_CLI_SIZE, AT(max_memory), 0},                                      \
	{"progress-fd", 'C', "FD",                                             \
	 "write lines \"phase done total\" to a descriptor", Q2_CLI_FD,        \
	 AT(progress_fd), 0},                                                  \
	Q2_CLI_SANDBOX_OPTIONS(AT(sandbox)),                                   \
	{"quiet", 'q', NULL, "no progress on the terminal", Q2_CLI_SET,        \
	 AT(quiet), 1}

/* One run of the tool. */
struct map {
	const struct q2_cli_tool *tool;
	const struct options *options;
	struct q2_cli_output out;
	struct q2_cli_progress progress;
	struct q2_cli_sandbox sandbox;
	int status; /* the exit status so far */
};

struct verb {
	const char *name;
	const char *what; /* for the list of verbs */
	struct q2_cli_tool tool;
	unsigned min, max; /* operands */
	unsigned words;	   /* of these, so many are no names of files */
	bool scans;	   /* files and folders, and bases beside them */
	bool threads;
	void (*run)(struct map *map, char *operands[]);
};

extern const struct verb map_audit;
extern const struct verb map_extents;
extern const struct verb map_forecast;
extern const struct verb map_graph;
extern const struct verb map_layout;
extern const struct verb map_lint;
extern const struct verb map_measure;
extern const struct verb map_snapshots;
extern const struct verb map_space;

/* Gives up all that this run has no use for.  0, or the status to exit with. */
int map_confine(struct map *map, const struct verb *verb, char *operands[]);

/* What --backing-format says; NULL: nothing. */
const char *map_backing_format(const struct options *options);

/* Says so and returns true if an option of OPTIONS_ALLOW was given although no
 * backing file is to be opened. */
bool map_allows_in_vain(struct map *map);

/* Opens the image as the options say.  NULL: it was complained about. */
struct q2_disk *map_open(struct map *map, const char *path);

/* Takes over the creation options that were given, without the size unless
 * `sized`, which makes no difference; false: it was complained about. */
bool map_creation(struct map *map, struct q2_measure_opts *m, bool sized);

/* Surveys the image.  NULL: it was complained about.  If it is damaged, the exit
 * status tells. */
struct q2_survey *map_survey(struct map *map, const char *path);

/* Scans the files and folders.  NULL: it was complained about.  What is grave or
 * could not be read is in the exit status, and the latter was told. */
struct q2_scan *map_scan(struct map *map, char *operands[]);

/* Ranges that differ, as text or JSON; map_delta_range() is for q2_survey_delta(), and its
 * ctx the struct. */
struct map_delta {
	struct map *map;
	uint64_t n;
	uint64_t sum;
	bool json;
};
enum q2_status map_delta_begin(struct map *map, struct map_delta *d);
enum q2_status map_delta_range(void *ctx, uint64_t guest, uint64_t length);
enum q2_status map_delta_end(struct map_delta *d);

/* snapshots --chain. */
void map_layers(struct map *map, const char *path);

/* The audit's table. */
enum q2_status map_table(struct map *map, const struct q2_scan *scan);

/* How often a volume's room is promised: 1 is all of it. */
double map_ratio(const struct q2_scan_volume *v);

/* How to draw: what the terminal can show, and what the options say. */
struct q2_picture_opts map_picture(const struct map *map,
				   enum q2_picture_form form);

/* Says why a step failed, and sets the exit status; nothing for Q2_OK. */
void map_fail(struct map *map, const char *about, enum q2_status st,
	      const struct q2_err *err);

/* The exit status tells of damage that the rows of a disk met; so does a line on
 * stderr, where the output has no place for it. */
void map_tell_damage(struct map *map, const char *path,
		     const struct q2_disk *disk, bool in_words);

/* A sink that writes on as soon as there is enough for one go. */
struct q2_sink map_stream(struct map *map);

/* A progress function; ctx is the struct map. */
bool map_tick(void *ctx, const struct q2_progress *p);

#endif
