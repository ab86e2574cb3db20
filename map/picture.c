/*
 * picture.c - the pictures of qcow2-map: what the terminal can show.
 *
 * SPDX-License-Identifier: MIT
 */
#include <langinfo.h>
#include <locale.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include "map.h"

/* Columns that the addresses take. */
#define MARGIN 16u

/* A terminal that can do no more than print. */
static bool is_dumb(void)
{
	const char *term = getenv("TERM");

	return term == NULL || *term == '\0' || strcmp(term, "dumb") == 0;
}

static bool is_utf8(void)
{
	locale_t locale = newlocale(LC_CTYPE_MASK, "", (locale_t)0);
	bool yes;

	if (locale == (locale_t)0)
		return false;
	yes = strcmp(nl_langinfo_l(CODESET, locale), "UTF-8") == 0;
	freelocale(locale);
	return yes;
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

	if (map->options->hilbert)
		o.flags |= Q2_PICTURE_HILBERT;
	if (is_utf8() && !(terminal && is_dumb()))
		o.flags |= Q2_PICTURE_UNICODE;
	if (terminal && !is_dumb() && (no_colour == NULL || *no_colour == '\0'))
		o.flags |= Q2_PICTURE_COLOUR;
	/* Whole eights make addresses that people can read. */
	if (terminal)
		o.columns = width() < MARGIN + 8 ? 8 :
						   (width() - MARGIN) / 8 * 8;
	return o;
}
