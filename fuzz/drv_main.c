/*
 * drv_main.c - the driver that needs no fuzzer: replays files, runs the generator.
 *
 * SPDX-License-Identifier: MIT
 */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <getopt.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/time.h>
#include <unistd.h>

#include "drv_faults.h"
#include "drv_novelty.h"
#include "drv_trim.h"
#include "mutator/q2mut.h"
#include "q2fuzz.h"

#define ROOM (4 * Q2MUT_MAX)
#define TRIES 200u /* images that are made to get one with a backing file */
#define DEPTH 16u   /* calls that tell places apart */
#define LARGEST (64 << 20)

static struct {
	const struct q2f_target *only; /* NULL: all of them */
	uint32_t faults;  /* one of so many; 0: none */
	unsigned depth;	  /* faults in each place, told apart so; 0: none */
	const char *save; /* where a failing input goes; NULL: nowhere */
	bool trim;
	uint64_t repeat;  /* so often, as a fuzzer's execution; 0: once */
	unsigned picks;	  /* with so many choices; 0: only its own */
	bool packs;	  /* generate several images in one input */
	const char *keep; /* only store what is generated in this folder */
	const char *seen; /* tell of inputs that run something new; NULL: no */
	unsigned seconds; /* for one input */
	uint64_t inputs;
} opt = {.seconds = 20};

/* The input under way, for what is said when it fails. */
static char now[512];
static const uint8_t *now_data;
static size_t now_size;

/* These are called by signal handlers, and so is nothing of stdio. */
static void put(int fd, const void *bytes, size_t n)
{
	const char *at = bytes;

	while (n > 0) {
		ssize_t done = write(fd, at, n);

		if (done <= 0)
			return;
		at += done;
		n -= (size_t)done;
	}
}

static void say(const char *text)
{
	put(STDERR_FILENO, text, strlen(text));
}

static void report(void)
{
	int fd;

	say("q2fuzz: input: ");
	say(now);
	say("\n");
	if (opt.save == NULL || now_data == NULL)
		return;
	fd = open(opt.save, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0666);
	if (fd < 0)
		return;
	put(fd, now_data, now_size);
	close(fd);
	say("q2fuzz: saved as ");
	say(opt.save);
	say("\n");
}

static void on_violation(const char *oracle)
{
	(void)oracle;
	report();
}

static void on_signal(int sig)
{
	say(sig == SIGPROF ? "q2fuzz: violation of I-10: it does not end\n" :
			     "q2fuzz: signal\n");
	report();
	signal(sig, SIG_DFL);
	raise(sig == SIGPROF ? SIGABRT : sig);
}

/* Of processor time: what others run at the same time is no hang. */
static void limit(unsigned seconds)
{
	const struct itimerval end = {.it_value = {.tv_sec = seconds}};

	setitimer(ITIMER_PROF, &end, NULL);
}

static void run_targets(const uint8_t *data, size_t size)
{
	now_data = data;
	now_size = size;
	for (const struct q2f_target *t = q2f_targets; t->name; t++) {
		if (opt.only && t != opt.only)
			continue;
		limit(opt.seconds);
		t->run(data, size);
		opt.inputs++;
		if (opt.seen && q2f_novelty())
			printf("%s\t%s\n", t->name, now);
	}
	limit(0);
}

/* The image with that trailer, in the place of its own. */
static void run_with(const struct q2f_input *in, const struct q2f_control *ctl)
{
	uint8_t *buf = malloc(in->size + Q2F_TRAILER);

	if (buf == NULL)
		abort();
	memcpy(buf, in->image, in->size);
	q2f_trailer(buf + in->size, ctl);
	run_targets(buf, in->size + Q2F_TRAILER);
	free(buf);
}

static void run_fault(const struct q2f_input *in, const struct q2f_control *ctl,
		      const char *what, uint32_t k)
{
	size_t name = strlen(now);

	snprintf(now + name, sizeof(now) - name, "%s%s%s%s%s:%u",
		 in->ctl.pick ? "+" : " ",
		 ctl->flags & Q2F_DATA ? "data+full+" : "",
		 ctl->flags & Q2F_ALL ? "all+" : "",
		 ctl->flags & Q2F_FREE ? "free+" : "", what, k);
	run_with(in, ctl);
	now[name] = 0;
}

static void run_faults(const struct q2f_input *in)
{
	if (opt.faults)
		q2f_each_fault(in, opt.faults, run_fault);
	if (opt.depth)
		q2f_each_place(in, opt.depth, run_fault);
}

/* With each choice that a target has. */
static void run_picks(struct q2f_input in)
{
	size_t name = strlen(now);

	for (in.ctl.pick = 1; in.ctl.pick < opt.picks; in.ctl.pick++) {
		snprintf(now + name, sizeof(now) - name, " pick:%u",
			 in.ctl.pick);
		run_with(&in, &in.ctl);
		run_faults(&in);
	}
	now[name] = 0;
}

static void run_one(const uint8_t *data, size_t size)
{
	struct q2f_input in = q2f_split(data, size);

	if (in.ctl.flags & Q2F_EACH) {
		q2f_each_told(&in, run_fault);
		return;
	}
	for (uint64_t i = 1; i < opt.repeat; i++)
		run_targets(data, size);
	run_targets(data, size);
	run_faults(&in);
	run_picks(in);
}

/* A file may have several trailers, each of which is for a run of its own. */
static void run_each(const uint8_t *data, size_t size)
{
	struct q2f_input in = q2f_split(data, size), more = in;
	size_t name = strlen(now);
	unsigned n = 0;

	while (more.size != size) {
		size = more.size;
		more = q2f_split(data, size);
		n++;
	}
	if (n < 2) {
		run_one(data, in.size + n * Q2F_TRAILER);
		return;
	}
	for (size_t at = size; n--; at += Q2F_TRAILER) {
		uint8_t *one = malloc(size + Q2F_TRAILER);

		if (one == NULL)
			abort();
		memcpy(one, data, size);
		memcpy(one + size, data + at, Q2F_TRAILER);
		snprintf(now + name, sizeof(now) - name, " with trailer %zu",
			 (at - size) / Q2F_TRAILER);
		run_one(one, size + Q2F_TRAILER);
		free(one);
	}
}

/* Where the data of a file ends; behind it there may be a hole. */
static off_t data_end(int fd, off_t size)
{
	off_t end = 0, at = lseek(fd, 0, SEEK_DATA);

	while (at >= 0 && at < size) {
		end = lseek(fd, at, SEEK_HOLE);
		at = lseek(fd, end, SEEK_DATA);
	}
	lseek(fd, 0, SEEK_SET);
	return end;
}

static int run_file(const char *path)
{
	int fd = open(path, O_RDONLY);
	struct q2f_control ctl = {0};
	size_t room, n;
	uint8_t *data;
	struct stat st;

	if (fd < 0 || fstat(fd, &st) != 0) {
		fprintf(stderr, "q2fuzz: %s: %s\n", path, strerror(errno));
		return 2;
	}
	/* Of a sparse file that claims the world, only what is there. */
	n = (size_t)st.st_size;
	if (st.st_size > LARGEST) {
		n = (size_t)data_end(fd, st.st_size);
		ctl.hole = (uint64_t)st.st_size - n;
	}
	if (n > LARGEST) {
		fprintf(stderr, "q2fuzz: %s: too large\n", path);
		close(fd);
		return 2;
	}
	/* Exactly as long as the file: what is read past it shows. */
	room = n + (ctl.hole ? Q2F_TRAILER : 0);
	data = malloc(room ? room : 1);
	if (data == NULL || read(fd, data, n) != (ssize_t)n)
		abort();
	close(fd);
	if (ctl.hole)
		q2f_trailer(data + n, &ctl);
	snprintf(now, sizeof(now), "%s", path);
	run_each(data, room);
	free(data);
	return 0;
}

static int run_path(const char *path)
{
	struct dirent **names;
	struct stat st;
	int n, status = 0;

	if (stat(path, &st) != 0) {
		fprintf(stderr, "q2fuzz: %s: %s\n", path, strerror(errno));
		return 2;
	}
	if (!S_ISDIR(st.st_mode))
		return run_file(path);
	n = scandir(path, &names, NULL, alphasort);
	for (int i = 0; i < n; i++) {
		char child[4096];
		const char *dot = strrchr(names[i]->d_name, '.');

		snprintf(child, sizeof(child), "%s/%s", path,
			 names[i]->d_name);
		/* Folders of a corpus hold notes beside images. */
		if (names[i]->d_name[0] != '.' &&
		    (!dot || (strcmp(dot, ".json") && strcmp(dot, ".md") &&
			      strcmp(dot, ".txt"))))
			status |= run_path(child);
		free(names[i]);
	}
	if (n >= 0)
		free(names);
	return status;
}

static void put32(uint8_t *p, size_t v)
{
	for (unsigned i = 0; i < 4; i++)
		p[i] = (uint8_t)(v >> (24 - 8 * i));
}

/* An image that has a backing file, and one or two others behind it. */
static size_t make_pack(uint8_t *room, uint64_t seed, uint32_t profile)
{
	static const uint8_t none[8], tail[7] = {'Q', '2', 'P', 'A', 'C', 'K'};
	uint8_t lengths[2 * 4];
	unsigned more = 1 + seed % 2;
	size_t n = 0, at;

	for (uint64_t i = 0; i < TRIES; i++) {
		n = q2mut_generate(room, Q2MUT_MAX, seed * TRIES + i, profile);
		if (n > 16 && memcmp(room + 8, none, 8) != 0)
			break;
	}
	for (at = n, n = 0; n < more; n++) {
		size_t len = q2mut_generate(room + at, Q2MUT_MAX,
					    seed * 2 + n, profile);

		put32(lengths + 4 * n, len);
		at += len;
	}
	memcpy(room + at, lengths, 4 * (size_t)more);
	at += 4 * (size_t)more;
	room[at] = (uint8_t)more;
	memcpy(room + at + 1, tail, 7);
	return at + 8;
}

static void keep(uint64_t seed, const uint8_t *bytes, size_t n)
{
	char path[4096];
	FILE *f;

	snprintf(path, sizeof(path), "%s/%llu", opt.keep,
		 (unsigned long long)seed);
	f = fopen(path, "wb");
	if (f == NULL || fwrite(bytes, 1, n, f) != n || fclose(f) != 0) {
		fprintf(stderr, "q2fuzz: %s: cannot be written\n", path);
		exit(2);
	}
}

static void run_generator(uint64_t seed, uint64_t count, uint32_t profile)
{
	uint8_t *room = malloc((size_t)ROOM);

	if (room == NULL)
		abort();
	for (uint64_t i = 0; i < count; i++) {
		size_t n = opt.packs ? make_pack(room, seed + i, profile) :
				       q2mut_generate(room, ROOM, seed + i,
						      profile);
		uint8_t *exact = malloc(n + Q2F_TRAILER);

		if (exact == NULL)
			abort();
		memcpy(exact, room, n);
		snprintf(now, sizeof(now), "q2gen --seed %llu --count 1 --profile %u (%s)",
			 (unsigned long long)(seed + i), profile,
			 opt.packs ? "pack" : q2mut_last());
		if (opt.keep)
			keep(seed + i, exact, n);
		else
			run_one(exact, n);
		free(exact);
	}
	free(room);
}

/* In a child, whose violations are told by its parent. */
static void run_alone(const uint8_t *data, size_t size)
{
	q2f_on_violation = NULL;
	opt.save = NULL;
	run_one(data, size);
}

static int usage(FILE *to)
{
	fprintf(to, "usage: q2fuzz TARGET|all [-f] [-S FILE] PATH...\n"
		    "       q2fuzz TARGET|all [-f] [-S FILE] -n COUNT [-s SEED] [-p PROFILE]\n"
		    "Runs a fuzz target on files and folders, or on generated images.\n"
		    "  -f  again with each allocation, read and write failing in turn;\n"
		    "      -f17: one in 17 of them, with others for each input\n"
		    "  -F  again with a failure in each place of the code where none\n"
		    "      was before, in any input; -F8: told apart by 8 calls\n"
		    "  -m  several images in each generated input\n"
		    "  -N  tell which inputs run code that no earlier one did, as this\n"
		    "      file has it (VARIANT=edges)\n"
		    "  -O  only store generated inputs in this folder\n"
		    "  -k  ORACLE,... known to be broken: counted, no failure\n"
		    "  -P  again with each choice of the target below this number\n"
		    "  -r  each so many times, and no more than a fuzzer does: to measure\n"
		    "  -S  store the input that fails\n"
		    "  -T  seconds of processor time for one input (20)\n"
		    "  -t  make failing files smaller, in place\ntargets:\n");
	for (const struct q2f_target *t = q2f_targets; t->name; t++)
		fprintf(to, "  %-12s %s\n", t->name, t->what);
	return to == stdout ? 0 : 2;
}

int main(int argc, char **argv)
{
	uint64_t count = 0, seed = 1;
	uint32_t profile = 0;
	int c, status = 0;

	if (argc < 2 || strcmp(argv[1], "--help") == 0)
		return usage(argc < 2 ? stderr : stdout);
	opt.only = q2f_target(argv[1]);
	if (opt.only == NULL && strcmp(argv[1], "all") != 0)
		return usage(stderr);
	argv[1] = argv[0];
	q2f_keep_memory();
	while ((c = getopt(argc - 1, argv + 1, "f::F::k:mN:O:P:r:S:T:n:s:p:t")) != -1)
		switch (c) {
		case 'f':
			opt.faults = optarg ? (uint32_t)strtoul(optarg, NULL, 0) : 1;
			break;
		case 'F':
			opt.depth = optarg ? (unsigned)strtoul(optarg, NULL, 0) : DEPTH;
			break;
		case 'k':
			q2f_known = optarg;
			break;
		case 'm':
			opt.packs = true;
			break;
		case 'N':
			opt.seen = optarg;
			break;
		case 'O':
			opt.keep = optarg;
			break;
		case 'P':
			opt.picks = (unsigned)strtoul(optarg, NULL, 0);
			break;
		case 'T':
			opt.seconds = (unsigned)strtoul(optarg, NULL, 0);
			break;
		case 't':
			opt.trim = true;
			break;
		case 'r':
			opt.repeat = strtoull(optarg, NULL, 0);
			break;
		case 'S':
			opt.save = optarg;
			break;
		case 'n':
			count = strtoull(optarg, NULL, 0);
			break;
		case 's':
			seed = strtoull(optarg, NULL, 0);
			break;
		case 'p':
			profile = (uint32_t)strtoul(optarg, NULL, 0);
			break;
		default:
			return usage(stderr);
		}
	if (count == 0 && optind + 1 >= argc)
		return usage(stderr);
	q2f_on_violation = on_violation;
	q2f_thorough = opt.repeat == 0;
	signal(SIGPROF, on_signal);
	signal(SIGSEGV, on_signal);
	signal(SIGBUS, on_signal);
	signal(SIGFPE, on_signal);
	if (opt.seen)
		q2f_novelty_load(opt.seen);
	run_generator(seed, count, profile);
	for (int i = optind + 1; i < argc; i++)
		status |= opt.trim ? q2f_trim_file(argv[i], run_alone) : run_path(argv[i]);
	printf("q2fuzz: %llu runs, %llu known violations\n",
	       (unsigned long long)opt.inputs,
	       (unsigned long long)q2f_known_seen);
	if (opt.seen)
		status |= q2f_novelty_store(opt.seen);
	return status;
}
