/*
 * progress.c - signals, and how far the work is.
 *
 * SPDX-License-Identifier: MIT
 */
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <time.h>
#include <unistd.h>

#include "cli/cli.h"

#define PATIENCE_MS 1000 /* shorter work shows no progress on a terminal */
#define TERMINAL_MS 200
#define FD_MS 100

/* The one global of the library: what signal handlers can reach. */
static struct {
	volatile sig_atomic_t end; /* the signal that asked for it */
	volatile sig_atomic_t line;
} asked;

static void on_end(int sig)
{
	asked.end = sig;
}

static void on_line(int sig)
{
	(void)sig;
	asked.line = 1;
}

/* A signal that our parent chose to ignore stays ignored (nohup, &).  The
 * second SIGINT kills, should we fail to look at the first. */
static void handle(int sig, void (*handler)(int), int flags)
{
	struct sigaction old, new = {.sa_handler = handler};

	sigemptyset(&new.sa_mask);
	new.sa_flags = SA_RESTART | flags;
	if (sigaction(sig, NULL, &old) == 0 && old.sa_handler == SIG_IGN)
		return;
	(void)sigaction(sig, &new, NULL);
}

/* No file that is opened later may become a standard stream: what is said there would
 * be written into it.  The wrong way round, so that writing to a closed stdout fails as
 * the user's mistake that it is; and without /dev what cannot be written to at all. */
static void fill_streams(void)
{
	static const int mode[3] = {O_WRONLY, O_RDONLY, O_RDONLY};

	for (int fd = 0; fd < 3; fd++)
		if (fcntl(fd, F_GETFD) < 0 && errno == EBADF &&
		    open("/dev/null", mode[fd]) < 0 &&
		    open("/", O_RDONLY | O_DIRECTORY) < 0)
			_exit(Q2_EXIT_FAILED);
}

void q2_cli_start(void)
{
	fill_streams();
	/* Writes fail then, which is told and cleaned up after. */
	(void)signal(SIGPIPE, SIG_IGN);
	(void)signal(SIGXFSZ, SIG_IGN);
	handle(SIGINT, on_end, (int)SA_RESETHAND);
	handle(SIGTERM, on_end, (int)SA_RESETHAND);
	handle(SIGHUP, on_end, (int)SA_RESETHAND);
	handle(SIGUSR1, on_line, 0);
}

int q2_cli_interrupted(void)
{
	return asked.end;
}

static uint64_t now_ms(void)
{
	struct timespec ts;

	(void)clock_gettime(CLOCK_MONOTONIC, &ts); /* it is always there */
	return (uint64_t)ts.tv_sec * 1000 + (uint64_t)ts.tv_nsec / 1000000;
}

bool q2_cli_dumb(void)
{
	const char *term = getenv("TERM");

	return term == NULL || *term == '\0' || strcmp(term, "dumb") == 0;
}

void q2_cli_progress_open(struct q2_cli_progress *p,
			  const struct q2_cli_tool *tool, int fd, bool quiet)
{
	*p = (struct q2_cli_progress){.tool = tool, .fd = fd};
	p->terminal = !quiet && isatty(STDERR_FILENO) == 1 && !q2_cli_dumb();
	p->terminal_next = now_ms() + PATIENCE_MS;
}

static void to_stderr(const struct q2_buf *b)
{
	size_t n = b->n < b->room ? b->n : b->room;

	if (write(STDERR_FILENO, b->at, n) < 0)
		return; /* there is nobody left to tell */
}

static void put_time(struct q2_buf *b, uint64_t seconds)
{
	if (seconds >= 3600)
		q2_buf_format(b, "%llu h ", (unsigned long long)(seconds / 3600));
	if (seconds >= 60)
		q2_buf_format(b, "%llu min ",
			      (unsigned long long)(seconds / 60 % 60));
	q2_buf_format(b, "%llu s left", (unsigned long long)(seconds % 60));
}

/* How fast, and how long the phase will take at that speed: of what this run does, not
 * of what another one did that it goes on from. */
static void put_speed(struct q2_buf *b, const struct q2_cli_progress *p,
		      const struct q2_progress *now)
{
	double gone = (double)(now_ms() - p->begun) / 1000;
	double rate;

	if (gone <= 0 || now->done <= p->first || now->done > now->total)
		return;
	rate = (double)(now->done - p->first) / gone;
	if (p->bytes && rate < 1)
		return;
	q2_buf_text(b, ", ");
	if (p->bytes)
		q2_buf_format(b, "%.1f MiB/s, ", rate / 1048576);
	put_time(b, (uint64_t)((double)(now->total - now->done) / rate));
}

static void put_state(struct q2_buf *b, const struct q2_cli_progress *p,
		      const struct q2_progress *now)
{
	if (p->about != NULL) {
		q2_buf_escape(b, p->about, strlen(p->about));
		q2_buf_text(b, ": ");
	}
	q2_buf_text(b, now->phase);
	if (now->total > 0)
		q2_buf_format(b, " %u %%",
			      (unsigned)((double)now->done * 100.0 /
					 (double)now->total));
	put_speed(b, p, now);
}

/* The line that SIGUSR1 asked for. */
static void tell_line(struct q2_cli_progress *p, const struct q2_progress *now)
{
	char store[2048];
	struct q2_buf b;

	q2_cli_progress_clear(p);
	q2_buf_fix(&b, store, sizeof(store) - 1);
	q2_buf_format(&b, "%s: ", p->tool->name);
	put_state(&b, p, now);
	q2_buf_text(&b, " (");
	q2_buf_u64(&b, now->done);
	q2_buf_text(&b, " of ");
	q2_buf_u64(&b, now->total);
	q2_buf_char(&b, ')');
	b.n = b.n < b.room ? b.n : b.room;
	b.at[b.n++] = '\n';
	b.room = sizeof(store);
	to_stderr(&b);
}

static void tell_terminal(struct q2_cli_progress *p,
			  const struct q2_progress *now)
{
	struct winsize window;
	char store[512];
	struct q2_buf b;
	size_t width = 79;

	if (ioctl(STDERR_FILENO, TIOCGWINSZ, &window) == 0 &&
	    window.ws_col > 1 && window.ws_col < sizeof(store) - 8)
		width = window.ws_col - 1U;
	/* Cut to the width, or else \r would not bring us back. */
	q2_buf_fix(&b, store, width + 4);
	q2_buf_text(&b, "\r\033[K");
	put_state(&b, p, now);
	to_stderr(&b);
	p->shown = true;
}

static void tell_fd(struct q2_cli_progress *p, const struct q2_progress *now)
{
	char store[256];
	struct q2_buf b;
	char *blank;

	q2_buf_fix(&b, store, sizeof(store));
	q2_buf_format(&b, "%.100s", now->phase);
	/* One word, so that the line has three. */
	while ((blank = memchr(store, ' ', b.n)) != NULL)
		*blank = '-';
	q2_buf_char(&b, ' ');
	q2_buf_u64(&b, now->done);
	q2_buf_char(&b, ' ');
	q2_buf_u64(&b, now->total);
	q2_buf_char(&b, '\n');
	if (write(p->fd, store, b.n) < 0 && errno != EAGAIN)
		p->fd = -1; /* whoever listened has gone */
}

bool q2_cli_progress_tick(struct q2_cli_progress *p,
			  const struct q2_progress *now)
{
	uint64_t ms = now_ms();
	bool new_phase = p->phase == NULL || strcmp(p->phase, now->phase) != 0;

	bool at_end = now->done == now->total && now->done != p->fd_done;

	if (p->fd >= 0 && (new_phase || at_end || ms >= p->fd_next)) {
		tell_fd(p, now);
		p->fd_done = now->done;
		p->fd_next = ms + FD_MS;
	}
	if (new_phase || now->done < p->seen) {
		p->begun = ms;
		p->first = now->done;
	}
	p->phase = now->phase;
	p->seen = now->done;
	if (asked.line) {
		asked.line = 0;
		tell_line(p, now);
	}
	if (p->terminal && ms >= p->terminal_next) {
		tell_terminal(p, now);
		p->terminal_next = ms + TERMINAL_MS;
	}
	return asked.end != 0;
}

void q2_cli_progress_clear(struct q2_cli_progress *p)
{
	struct q2_buf b;
	char store[8];

	if (!p->shown)
		return;
	q2_buf_fix(&b, store, sizeof(store));
	q2_buf_text(&b, "\r\033[K");
	to_stderr(&b);
	p->shown = false;
}
