/*
 * page.c - head and end of the HTML pages, and the parts that several have.
 *
 * SPDX-License-Identifier: MIT
 */
#include <string.h>

#include "crypt/cipher.h"
#include "report/page.h"

/* ----------------------------------------------------------------- colours */
static void put_hues(struct q2_buf *out, bool dark)
{
	for (unsigned i = 0; i < Q2_MARKS; i++) {
		const struct q2_mark_style *s = q2_mark_style(i);

		q2_buf_format(out, s->hatch ? ".b%u{fill:%s}" : ".k%u{fill:%s}",
			      i, dark ? s->dark : s->light);
	}
	q2_buf_format(out, ".h{stroke:%s;stroke-width:1.2;fill:none}\n",
		      dark ? "#000" : "#fff");
}

void q2_page_put_colours(struct q2_buf *out)
{
	for (unsigned i = 0; i < Q2_MARKS; i++)
		if (q2_mark_style(i)->hatch)
			q2_buf_format(out, ".k%u{fill:url(#p%u)}", i, i);
	put_hues(out, false);
	q2_buf_text(out, "@media screen and (prefers-color-scheme:dark){");
	put_hues(out, true);
	q2_buf_text(out, "}\n");
}

void q2_page_put_hatches(struct q2_buf *out)
{
	static const char *const lines[] = {
		[Q2_HATCH_UP] = "M-1 1L1 -1M0 6L6 0M5 7L7 5",
		[Q2_HATCH_DOWN] = "M-1 5L1 7M0 0L6 6M5 -1L7 1",
		[Q2_HATCH_DOTS] = "M1 2h1.5M4 5h1.5",
		[Q2_HATCH_CROSS] = "M0 0L6 6M0 6L6 0",
	};

	q2_buf_text(out, "<defs>");
	for (unsigned i = 0; i < Q2_MARKS; i++) {
		enum q2_hatch hatch = q2_mark_style(i)->hatch;

		if (hatch == Q2_HATCH_NONE)
			continue;
		q2_buf_format(out, "<pattern id=\"p%u\" width=\"6\" "
			      "height=\"6\" patternUnits=\"userSpaceOnUse\">"
			      "<rect class=\"b%u\" width=\"6\" height=\"6\"/>"
			      "<path class=\"h\" d=\"%s\"/></pattern>",
			      i, i, lines[hatch]);
	}
	q2_buf_text(out, "</defs>\n");
}

/* ------------------------------------------------------------ head and end */
static void put_base64(struct q2_buf *out, const uint8_t *bytes, size_t n)
{
	static const char digits[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmn"
				     "opqrstuvwxyz0123456789+/=";

	for (size_t i = 0; i < n; i += 3) {
		uint32_t three = (uint32_t)bytes[i] << 16;

		if (i + 1 < n)
			three |= (uint32_t)bytes[i + 1] << 8;
		if (i + 2 < n)
			three |= bytes[i + 2];
		q2_buf_char(out, digits[three >> 18]);
		q2_buf_char(out, digits[three >> 12 & 63]);
		q2_buf_char(out, digits[i + 1 < n ? three >> 6 & 63 : 64]);
		q2_buf_char(out, digits[i + 2 < n ? three & 63 : 64]);
	}
}

/* 'sha256-...', as a content security policy names what may stand in a page. */
static void put_digest(struct q2_buf *out, const void *bytes, size_t n)
{
	uint8_t digest[Q2_HASH_MAX];

	if (!q2_hash_bytes(Q2_HASH_SHA256, bytes, n, digest)) {
		out->failed = true;
		return;
	}
	q2_buf_text(out, "'sha256-");
	put_base64(out, digest, q2_hash_len(Q2_HASH_SHA256));
	q2_buf_char(out, '\'');
}

static void put_policy(struct q2_buf *out, const struct q2_buf *style)
{
	q2_buf_text(out, "<meta http-equiv=\"Content-Security-Policy\" "
			 "content=\"default-src 'none'; base-uri 'none'; "
			 "form-action 'none'; style-src ");
	put_digest(out, style->at, style->n);
	q2_buf_text(out, "; script-src ");
	put_digest(out, q2_page_script, strlen(q2_page_script));
	q2_buf_text(out, "\">\n");
}

static bool starts(const char *line, size_t n, const char *with)
{
	return n >= strlen(with) && memcmp(line, with, strlen(with)) == 0;
}

/* What q2_survey_put_title() says of images that are damaged. */
static bool is_bad(const char *line, size_t n)
{
	return starts(line, n, "It is damaged") ||
	       starts(line, n, "Not everything");
}

static void put_facts(struct q2_buf *out, const struct q2_buf *facts)
{
	size_t at = 0;

	while (at < facts->n) {
		const char *end = memchr(facts->at + at, '\n', facts->n - at);
		size_t n = end ? (size_t)(end - facts->at) - at :
				 facts->n - at;

		q2_buf_text(out, is_bad(facts->at + at, n) ?
				    "<p class=\"bad\">" : "<p>");
		q2_xml_put(out, facts->at + at, n);
		q2_buf_text(out, "</p>\n");
		at += n + 1;
	}
}

void q2_page_begin(struct q2_buf *out, const char *what, const char *filename,
		   const struct q2_buf *facts)
{
	struct q2_buf style = {0};

	q2_page_put_colours(&style);
	q2_buf_text(&style, q2_page_style);
	q2_buf_fail_as(out, &style);
	q2_buf_fail_as(out, facts);
	q2_buf_text(out, "<!DOCTYPE html>\n<html lang=\"en\">\n<head>\n"
			 "<meta charset=\"utf-8\">\n");
	put_policy(out, &style);
	q2_buf_text(out, "<meta name=\"viewport\" content=\"width=device-width, "
			 "initial-scale=1\">\n"
			 "<meta name=\"color-scheme\" content=\"light dark\">\n"
			 "<title>");
	if (filename) {
		q2_xml_name(out, filename);
		q2_buf_text(out, ": ");
	}
	q2_buf_format(out, "%s</title>\n<style>", what);
	q2_buf_add(out, style.at, style.n);
	q2_buf_text(out, "</style>\n</head>\n<body>\n<header>\n<h1><bdi>");
	if (filename)
		q2_xml_name(out, filename);
	q2_buf_format(out, "</bdi>%s%s</h1>\n", filename ? " \xe2\x80\x93 " : "",
		      what);
	put_facts(out, facts);
	q2_buf_text(out, "</header>\n<main>\n<svg class=\"defs\" width=\"0\" "
			 "height=\"0\" aria-hidden=\"true\">");
	q2_page_put_hatches(out);
	q2_buf_text(out, "</svg>\n");
	q2_buf_free(&style);
}

void q2_page_end(struct q2_buf *out)
{
	q2_buf_format(out, "</main>\n<footer>qcow2-map " Q2_VERSION "</footer>\n"
		      "<div id=\"tip\" role=\"tooltip\" hidden></div>\n"
		      "<script>");
	q2_buf_text(out, q2_page_script);
	q2_buf_text(out, "</script>\n</body>\n</html>\n");
}

void q2_page_begin_map(struct q2_buf *out, const char *label)
{
	q2_buf_text(out,
		    "<section class=\"map\">\n<div class=\"tools\" hidden>"
		    "<button type=\"button\" data-do=\"in\">Zoom in</button> "
		    "<button type=\"button\" data-do=\"out\">Zoom out</button> "
		    "<button type=\"button\" data-do=\"all\">Show all</button> "
		    "<span class=\"zoom\">1:1</span></div>\n"
		    "<div class=\"view\" tabindex=\"0\" role=\"application\" "
		    "aria-label=\"");
	q2_xml_text(out, label);
	q2_buf_text(out, "\">\n");
}

void q2_page_end_map(struct q2_buf *out)
{
	q2_buf_text(out,
		    "</div>\n<p class=\"about\" role=\"status\">Point at a part "
		    "to see what it is, or press Tab and the arrow keys; + and "
		    "- zoom, 0 shows all.</p>\n</section>\n");
}

/* ------------------------------------------------------------------ tables */
void q2_page_put_size(struct q2_buf *out, uint64_t bytes)
{
	q2_buf_format(out, "<td class=\"n\" data-v=\"%llu\" title=\"%llu "
		      "bytes\">", (unsigned long long)bytes,
		      (unsigned long long)bytes);
	q2_render_size(out, bytes);
	q2_buf_text(out, "</td>");
}

void q2_page_put_head(struct q2_buf *out, const char *text, bool number)
{
	q2_buf_format(out, "<th scope=\"col\"%s>%s</th>",
		      number ? " class=\"n\"" : "", text);
}

void q2_page_put_legend(struct q2_buf *out, const uint64_t sum[Q2_MARKS])
{
	uint64_t all = 0;

	for (unsigned i = 0; i < Q2_MARKS; i++)
		all += sum[i];
	q2_buf_text(out, "<table class=\"legend\">\n<thead><tr><th></th>");
	q2_page_put_head(out, "what", false);
	q2_page_put_head(out, "size", true);
	q2_page_put_head(out, "share", true);
	q2_buf_text(out, "</tr></thead>\n<tbody>\n");
	for (unsigned k = 0; k < Q2_MARKS; k++) {
		unsigned i = q2_mark_order(k);

		if (sum[i] == 0)
			continue;
		q2_buf_format(out, "<tr data-k=\"k%u\"><td><svg class=\"sw\" "
			      "width=\"18\" height=\"18\" aria-hidden=\"true\">"
			      "<rect class=\"k%u\" width=\"18\" height=\"18\" "
			      "rx=\"3\"/></svg></td><td>%s</td>",
			      i, i, q2_mark_style(i)->meaning);
		q2_page_put_size(out, sum[i]);
		q2_buf_text(out, "<td class=\"n\">");
		q2_render_share(out, sum[i], all);
		q2_buf_text(out, "</td></tr>\n");
	}
	q2_buf_text(out, "</tbody>\n</table>\n");
}

void q2_page_put_key(struct q2_buf *out, unsigned mark, const char *meaning)
{
	q2_buf_format(out, "<span class=\"key\"><svg class=\"sw\" width=\"14\" "
		      "height=\"14\" aria-hidden=\"true\"><rect class=\"k%u\" "
		      "width=\"14\" height=\"14\" rx=\"2\"/></svg> %s</span>\n",
		      mark, meaning);
}
