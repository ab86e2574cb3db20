/*
 * picture.c - the pictures of qcow2-map: what the terminal can show.
 *
 * SPDX-License-Identifier: MIT
 */
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include "map.h"

/* Columns that the addresses take. */
#define MARGIN 16u

/* What the locale is called says it, and needs none of its files: a program that
 * is confined cannot read them. */
static bool is_utf8(void)
{
	static const char *const names[] = {"LC_ALL", "LC_CTYPE", "LANG"};

	for (size_t i = 0; i < sizeof(names) / sizeof(*names); i++) {
		const char *value = getenv(names[i]);

		if (value && *value)
			return strcasestr(value, "UTF-8") ||
			       strcasestr(value, "UTF8");
	}
	return false;
}

static unsigned width(void)
{
	struct winsize size = {0};

	if (ioctl(STDOUT_FILENO, TIOCGWINSZ, &size) < 0 || size.ws_col == 0)
		return 80;
	return size.ws_col;
}

struct q2_picture_opts map_picture(const struct map *map,
				   enum q2_picture_form form)
{
	const char *no_colour = getenv("NO_COLOR");
	bool terminal = isatty(STDOUT_FILENO) == 1;
	struct q2_picture_opts o = {.form = form,
				    .start = map->options->start,
				    .length = map->options->length,
				    .columns = 64};

	if (map->options->hilbert == 1)
		o.flags |= Q2_PICTURE_HILBERT;
	if (is_utf8() && !(terminal && q2_cli_dumb()))
		o.flags |= Q2_PICTURE_UNICODE;
	if (terminal && !q2_cli_dumb() && (no_colour == NULL || *no_colour == '\0'))
		o.flags |= Q2_PICTURE_COLOUR;
	/* Whole eights make addresses that people can read. */
	if (terminal)
		o.columns = width() < MARGIN + 8 ? 8 :
						   (width() - MARGIN) / 8 * 8;
	return o;
}
