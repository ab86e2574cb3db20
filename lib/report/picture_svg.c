/*
 * picture_svg.c - a picture as SVG: in rows, or along a Hilbert curve.
 *
 * SPDX-License-Identifier: MIT
 *
 * What is seen is one path for each mark: a cell is divided among the marks that
 * it has, by their bytes.  What is pointed at is an invisible rectangle for each
 * cell, which knows the cell's text.
 */
#include <string.h>

#include "report/page.h"

#define WIDTH 896u	/* of the cells together, in units of the drawing */
#define AXIS 120u	/* room for the addresses at the left */
#define HEIGHT 560u
#define LARGEST_CELL 48u
#define SHOWN_PARTS 6u	/* of a cell */
#define LEGEND_LINE 20u

struct place {
	unsigned x, y; /* in cells */
};

struct grid {
	const struct q2_picture *p;
	unsigned columns, rows;
	unsigned side; /* of the Hilbert curve's square; 0: rows */
	bool turned;   /* so that it is wider than high */
	unsigned size; /* of a cell, in units */
	unsigned left;
};

/* Where the curve is after d steps: two bits at a time tell the quarter, from the
 * lowest ones on, each turning what was found so far. */
static struct place on_curve(unsigned side, size_t d)
{
	struct place at = {0, 0};

	for (unsigned s = 1; s < side; s *= 2, d /= 4) {
		unsigned right = (unsigned)(d / 2) & 1;
		unsigned down = (unsigned)(d ^ right) & 1;

		if (!down) {
			unsigned x = at.x;

			at.x = right ? s - 1 - at.y : at.y;
			at.y = right ? s - 1 - x : x;
		}
		at.x += right * s;
		at.y += down * s;
	}
	return at;
}

static struct place place_of(const struct grid *g, size_t i)
{
	if (g->side) {
		struct place at = on_curve(g->side, i);

		return g->turned ? (struct place){at.y, at.x} : at;
	}
	return (struct place){(unsigned)(i % g->columns),
			      (unsigned)(i / g->columns)};
}

/* The room that n cells of the curve take. */
static void measure_curve(struct grid *g, size_t n)
{
	unsigned x = 0, y = 0;

	g->side = 1;
	while ((size_t)g->side * g->side < n)
		g->side *= 2;
	for (size_t i = 0; i < n; i++) {
		struct place at = on_curve(g->side, i);

		x = at.x > x ? at.x : x;
		y = at.y > y ? at.y : y;
	}
	g->turned = y > x;
	g->columns = (g->turned ? y : x) + 1;
	g->rows = (g->turned ? x : y) + 1;
}

static struct grid grid_of(const struct q2_picture *p)
{
	struct grid g = {.p = p, .columns = 8, .rows = 1};
	size_t n = p->n;

	if (p->opts.flags & Q2_PICTURE_HILBERT) {
		measure_curve(&g, n);
	} else {
		while (g.columns < 64 && (size_t)g.columns * g.columns < 2 * n)
			g.columns *= 2;
		g.rows = (unsigned)((n + g.columns - 1) / g.columns);
		g.left = AXIS;
	}
	g.size = WIDTH / g.columns;
	if (g.rows && g.size > HEIGHT / g.rows)
		g.size = HEIGHT / g.rows;
	g.size = g.size > LARGEST_CELL ? LARGEST_CELL : g.size;
	return g;
}

/* ------------------------------------------------------------------- parts */
/* How a cell's height is divided, in hundredths of a unit, by mark. */
static void divide(const struct q2_cell *cell, unsigned height,
		   unsigned part[Q2_MARKS])
{
	unsigned most = q2_cell_mark(cell), left = height;
	uint64_t all = 0;

	memset(part, 0, Q2_MARKS * sizeof(*part));
	for (unsigned i = 0; i < Q2_MARKS; i++)
		all += cell->part[i].bytes;
	for (unsigned k = 1; k < SHOWN_PARTS; k++) {
		unsigned next = Q2_MARKS;
		double share;

		for (unsigned i = 0; i < Q2_MARKS; i++)
			if (i != most && part[i] == 0 && cell->part[i].bytes &&
			    (next == Q2_MARKS ||
			     cell->part[i].bytes > cell->part[next].bytes))
				next = i;
		if (next == Q2_MARKS)
			break;
		share = (double)cell->part[next].bytes / (double)all;
		part[next] = (unsigned)(share * height);
		/* Little is seen, too. */
		if (part[next] < height / 8)
			part[next] = height / 8;
		if (part[next] > left / 2)
			part[next] = left / 2;
		left -= part[next];
	}
	part[most] = left;
}

static void put_path(struct q2_buf *out, const struct grid *g, unsigned mark)
{
	unsigned edge = g->size - (g->size > 6), height = edge * 100;

	if (g->p->sum[mark] == 0)
		return;
	q2_buf_format(out, "<path class=\"k k%u\" d=\"", mark);
	for (size_t i = 0; i < g->p->n; i++) {
		struct place at = place_of(g, i);
		unsigned part[Q2_MARKS], top = 0;

		if (g->p->cell[i].part[mark].bytes == 0)
			continue;
		divide(&g->p->cell[i], height, part);
		for (unsigned k = 0; k < mark; k++)
			top += part[k];
		if (part[mark] == 0)
			continue;
		q2_buf_format(out, "M%u %.2fh%uv%.2fh-%uz",
			      g->left + at.x * g->size,
			      at.y * g->size + top / 100.0, edge,
			      part[mark] / 100.0, edge);
	}
	q2_buf_text(out, "\"/>\n");
}

static void put_cell(struct q2_buf *out, const struct grid *g, size_t i,
		     struct q2_buf *text)
{
	struct place at = place_of(g, i);

	text->n = 0;
	q2_cell_describe(text, g->p, i);
	q2_buf_format(out, "<rect class=\"c hit\" x=\"%u\" y=\"%u\" "
		      "width=\"%u\" height=\"%u\" data-at=\"%llu\" "
		      "data-length=\"%llu\" data-k=\"k%u\"><title>",
		      g->left + at.x * g->size, at.y * g->size, g->size,
		      g->size, (unsigned long long)q2_cell_start(g->p, i),
		      (unsigned long long)q2_cell_length(g->p, i),
		      q2_cell_mark(&g->p->cell[i]));
	q2_buf_fail_as(out, text);
	q2_xml_put(out, text->at, text->n);
	q2_buf_text(out, "</title></rect>\n");
}

static void put_axis(struct q2_buf *out, const struct grid *g)
{
	for (unsigned y = 0; !g->side && y < g->rows; y++)
		q2_buf_format(out, "<text class=\"t a e\" x=\"%u\" y=\"%u\">"
			      "%#llx</text>\n", AXIS - 8,
			      y * g->size + g->size / 2 + 4,
			      (unsigned long long)q2_cell_start(
				      g->p, (size_t)y * g->columns));
}

static void put_content(struct q2_buf *out, const struct grid *g)
{
	struct q2_buf text = {0};

	put_axis(out, g);
	for (unsigned mark = 0; mark < Q2_MARKS; mark++)
		put_path(out, g, mark);
	for (size_t i = 0; i < g->p->n; i++)
		put_cell(out, g, i, &text);
	q2_buf_free(&text);
}

static unsigned width_of(const struct grid *g)
{
	return g->left + g->columns * g->size + 1;
}

static unsigned height_of(const struct grid *g)
{
	return g->rows * g->size + 1;
}

void q2_picture_put_map(struct q2_buf *out, const struct q2_picture *p)
{
	struct grid g = grid_of(p);

	/* What is nearly as wide as the page becomes so. */
	q2_buf_format(out, "<svg%s viewBox=\"0 0 %u %u\" width=\"%u\" "
		      "height=\"%u\">\n",
		      width_of(&g) > 3 * WIDTH / 4 ? " class=\"full\"" : "",
		      width_of(&g), height_of(&g), width_of(&g),
		      height_of(&g));
	put_content(out, &g);
	q2_buf_text(out, "</svg>\n");
}

/* ----------------------------------------------------- a file of its own */
static const char style[] =
	".bg{fill:#fff}.t{fill:#1d2127;font-family:system-ui,sans-serif;"
	"font-size:13px}.a{font-family:ui-monospace,monospace;font-size:10px}"
	".e{text-anchor:end}.b{font-size:17px;font-weight:bold}"
	".hit{fill:none;pointer-events:all}.hit:hover{stroke:#1d2127;"
	"stroke-width:2}\n"
	"@media screen and (prefers-color-scheme:dark){.bg{fill:#14171c}"
	".t{fill:#e6e9ee}.hit:hover{stroke:#e6e9ee}}\n";

/* The first line of the facts, and the one that says that it is damaged. */
static unsigned put_lines(struct q2_buf *out, const struct q2_picture *p)
{
	struct q2_buf facts = {0};
	unsigned y = 46;
	size_t at = 0;

	q2_picture_put_facts(&facts, p);
	q2_buf_fail_as(out, &facts);
	while (!facts.failed && at < facts.n && y < 46 + 4 * 18) {
		const char *end = memchr(facts.at + at, '\n', facts.n - at);
		size_t n = end ? (size_t)(end - facts.at) - at : facts.n - at;

		q2_buf_format(out, "<text class=\"t\" x=\"12\" y=\"%u\">", y);
		q2_xml_short(out, facts.at + at, n, 130);
		q2_buf_text(out, "</text>\n");
		at += n + 1;
		y += 18;
	}
	q2_buf_free(&facts);
	return y;
}

static void put_legend(struct q2_buf *out, const struct grid *g, unsigned y)
{
	unsigned width = width_of(g), k = 0;
	unsigned columns = width > 700 ? 2 : 1;

	for (unsigned m = 0; m < Q2_MARKS; m++) {
		unsigned i = q2_mark_order(m);
		unsigned x = 12 + (k % columns) * (width / columns);
		unsigned line = y + k / columns * LEGEND_LINE;

		if (g->p->sum[i] == 0)
			continue;
		q2_buf_format(out, "<rect class=\"k%u\" x=\"%u\" y=\"%u\" "
			      "width=\"14\" height=\"14\"/>"
			      "<text class=\"t\" x=\"%u\" y=\"%u\">%s: ",
			      i, x, line, x + 22, line + 12,
			      q2_mark_style(i)->meaning);
		q2_render_size(out, g->p->sum[i]);
		q2_buf_text(out, "</text>\n");
		k++;
	}
}

static unsigned legend_height(const struct grid *g)
{
	unsigned k = 0, columns = width_of(g) > 700 ? 2 : 1;

	for (unsigned i = 0; i < Q2_MARKS; i++)
		k += g->p->sum[i] != 0;
	return (k + columns - 1) / columns * LEGEND_LINE;
}

void q2_picture_put_svg(struct q2_buf *out, const struct q2_picture *p)
{
	struct grid g = grid_of(p);
	unsigned width = width_of(&g) + 24, top, height;
	struct q2_buf head = {0};

	width = width < 640 ? 640 : width;
	top = put_lines(&head, p);
	height = top + 12 + height_of(&g) + 12 + legend_height(&g) + 12;
	q2_buf_format(out, "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n"
		      "<svg xmlns=\"http://www.w3.org/2000/svg\" "
		      "viewBox=\"0 0 %u %u\" width=\"%u\" height=\"%u\">\n"
		      "<title>", width, height, width, height);
	q2_xml_name(out, p->filename);
	q2_buf_format(out, "</title>\n<style>");
	q2_page_put_colours(out);
	q2_buf_text(out, style);
	q2_buf_text(out, "</style>\n");
	q2_page_put_hatches(out);
	q2_buf_format(out, "<rect class=\"bg\" width=\"%u\" height=\"%u\"/>\n"
		      "<text class=\"t b\" x=\"12\" y=\"26\">", width, height);
	q2_xml_short_name(out, p->filename, 80);
	q2_buf_text(out, "</text>\n");
	q2_buf_fail_as(out, &head);
	q2_buf_add(out, head.at, head.n);
	q2_buf_free(&head);
	q2_buf_format(out, "<text class=\"t\" x=\"12\" y=\"%u\">one cell is ",
		      top);
	q2_picture_put_scale(out, p);
	q2_buf_format(out, "</text>\n<g transform=\"translate(12 %u)\">\n",
		      top + 12);
	put_content(out, &g);
	q2_buf_text(out, "</g>\n");
	put_legend(out, &g, top + 12 + height_of(&g) + 12);
	q2_buf_text(out, "</svg>\n");
}
