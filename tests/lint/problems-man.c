/*
 * problems-man.c - prints q2problems(7), made from the problem catalogue.
 *
 * SPDX-License-Identifier: MIT
 *
 * The page that is committed must be what this program prints; `make check`
 * compares the two.
 */
#include <stdio.h>
#include <string.h>

struct entry {
	unsigned number;
	const char *id;
	const char *severity;
	const char *fix;
	const char *message;
	const char *explanation;
};

static const struct entry entries[] = {
#define Q2_PROBLEM(number, id, severity, fix, fields, message, explanation)    \
	{number, #id, #severity, #fix, message, explanation},
#include "check/problem.def"
#undef Q2_PROBLEM
};

#define ENTRIES (sizeof(entries) / sizeof(entries[0]))

static const struct {
	unsigned first;
	const char *title;
} chapters[] = {
	{100, "HEADER"},	    {200, "HEADER EXTENSIONS"},
	{300, "L1 TABLES"},	    {400, "L2 TABLES"},
	{500, "SNAPSHOTS"},	    {600, "BITMAPS"},
	{700, "CHAIN AND DATA FILE"}, {800, "REFCOUNTS AND OVERLAPS"},
	{900, "THE CHECK ITSELF"},
};

#define CHAPTERS (sizeof(chapters) / sizeof(chapters[0]))

static const char head[] =
	".\\\" q2problems.7 - made from lib/check/problem.def; do not edit.\n"
	".\\\" SPDX-License-Identifier: MIT\n"
	".Dd November 23, 2026\n"
	".Dt Q2PROBLEMS 7\n"
	".Os qcow2-progs\n"
	".Sh NAME\n"
	".Nm q2problems\n"
	".Nd what qcow2-fsck can find in a QCOW2 image\n"
	".Sh DESCRIPTION\n"
	"Each problem has a name and a number, which never change, a severity,\n"
	"a fix class, the message of its findings, and an explanation.\n"
	"Words in braces stand for what was found; those with\n"
	".Ql :x\n"
	"are printed in hexadecimal, and so are offsets.\n"
	".Pp\n"
	"Severities:\n"
	".Bl -tag -width corrupt -compact\n"
	".It Sy corrupt\n"
	"The image breaks the format, or data is at risk.\n"
	".It Sy leak\n"
	"Host space that nothing refers to.\n"
	".It Sy advice\n"
	"Legal, but worth knowing.\n"
	"It does not alter the verdict.\n"
	".El\n"
	".Pp\n"
	"Fix classes:\n"
	".Bl -tag -width rebuild -compact\n"
	".It Sy none\n"
	"Nothing can be done from the image alone.\n"
	".It Sy safe\n"
	"A repair leaves what the guest reads unchanged.\n"
	".It Sy lossy\n"
	"A repair has to give up a reference.\n"
	".It Sy rebuild\n"
	"A structure is made anew from others.\n"
	".El\n";

/* Text as mdoc wants it: each sentence on a line of its own, and nothing that
 * roff would take for a request or an escape. */
static void put_text(const char *text)
{
	int at_start = 1;

	for (; *text != '\0'; text++) {
		if (at_start && (*text == '.' || *text == '\''))
			fputs("\\&", stdout);
		at_start = 0;
		if (*text == '\\') {
			fputs("\\e", stdout);
		} else if (*text == '.' && text[1] == ' ') {
			fputs(".\n", stdout);
			text++;
			at_start = 1;
		} else {
			putchar(*text);
		}
	}
	putchar('\n');
}

/* The catalogue's words are upper case. */
static void put_lower(const char *word)
{
	for (; *word != '\0'; word++)
		putchar(*word >= 'A' && *word <= 'Z' ? *word - 'A' + 'a'
						     : *word);
}

static void put_entry(const struct entry *e)
{
	printf(".It Sy %s Pq %u , ", e->id, e->number);
	put_lower(e->severity);
	fputs(" , fix: ", stdout);
	put_lower(e->fix);
	puts("");
	put_text(e->message);
	puts(".Pp");
	put_text(e->explanation);
}

static void put_chapter(size_t chapter)
{
	unsigned first = chapters[chapter].first;

	printf(".Sh %s\n", chapters[chapter].title);
	puts(".Bl -tag -width Ds");
	for (size_t i = 0; i < ENTRIES; i++)
		if (entries[i].number >= first &&
		    entries[i].number < first + 100)
			put_entry(&entries[i]);
	puts(".El");
}

int main(void)
{
	fputs(head, stdout);
	for (size_t i = 0; i < CHAPTERS; i++)
		put_chapter(i);
	fputs(".Sh SEE ALSO\n.Xr qcow2-fsck 8\n", stdout);
	return fflush(stdout) != 0 || ferror(stdout);
}
