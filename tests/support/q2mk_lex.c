/* q2mk_lex.c: reading recipe lines, and the words, numbers and byte strings in them. */
/* SPDX-License-Identifier: MIT */
#include "q2mk.h"

#include <ctype.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static void skip(struct lex *l)
{
    while (*l->p == ' ' || *l->p == '\t')
        l->p++;
}

static bool name_char(char c)
{
    return isalnum((unsigned char)c) || c == '_';
}

bool lex_end(struct lex *l)
{
    skip(l);
    return *l->p == '\0';
}

bool lex_accept_key(struct lex *l, const char *key)
{
    skip(l);
    if (strncmp(l->p, key, strlen(key)) != 0)
        return false;
    l->p += strlen(key);
    return true;
}

bool lex_accept(struct lex *l, const char *word)
{
    skip(l);
    if (strncmp(l->p, word, strlen(word)) != 0 || name_char(l->p[strlen(word)]))
        return false;
    l->p += strlen(word);
    return true;
}

bool lex_accept_op(struct lex *l, const char *op)
{
    return lex_accept_key(l, op);
}

char *lex_word(struct lex *l)
{
    const char *from;
    bool quoted;
    size_t n;

    skip(l);
    quoted = *l->p == '"';
    from = l->p + quoted;
    n = strcspn(from, quoted ? "\"" : " \t");
    if (quoted && from[n] != '"')
        fail("a text without its closing quote");
    if (!quoted && n == 0)
        fail("a word is missing");
    l->p = from + n + quoted;
    return grab_text(from, n);
}

static unsigned hex_digit(char c)
{
    static const char digits[] = "0123456789abcdef";
    const char *d = c ? strchr(digits, tolower((unsigned char)c)) : NULL;

    if (!d)
        fail("hex: wants pairs of hexadecimal digits");
    return (unsigned)(d - digits);
}

void lex_bytes(struct lex *l, struct buf *b)
{
    if (!lex_accept_key(l, "hex:")) {
        char *text;

        if (*l->p != '"')
            fail("hex:0011.. or \"text\" is missing");
        text = lex_word(l);
        buf_mem(b, text, strlen(text));
        return;
    }
    while (*l->p && *l->p != ' ' && *l->p != '\t') {
        buf_int(b, 1, hex_digit(l->p[0]) << 4 | hex_digit(l->p[1]));
        l->p += 2;
    }
}

char *lex_name(struct lex *l)
{
    const char *from = l->p;

    if (!isalpha((unsigned char)*from) && *from != '_')
        return NULL;
    while (name_char(*l->p))
        l->p++;
    return grab_text(from, (size_t)(l->p - from));
}

/* Decimal or 0x hexadecimal, with a suffix K M G T P E for powers of 1024. */
bool lex_number(struct lex *l, uint64_t *v)
{
    static const char suffixes[] = "KMGTPE";
    const char *s;
    char *end;

    skip(l);
    if (!isdigit((unsigned char)*l->p))
        return false;
    errno = 0;
    *v = strtoull(l->p, &end, l->p[0] == '0' && (l->p[1] | 32) == 'x' ? 16 : 10);
    if (errno)
        fail("number too large");
    s = *end ? strchr(suffixes, toupper((unsigned char)*end)) : NULL;
    if (s) {
        unsigned shift = 10 * (unsigned)(s - suffixes + 1);

        if (*v >> (64 - shift))
            fail("number too large");
        *v <<= shift;
        end++;
    }
    if (name_char(*end))
        fail("'%s' is no number", l->p);
    l->p = end;
    return true;
}

char *slurp(const char *file, size_t *len)
{
    FILE *f = strcmp(file, "-") == 0 ? stdin : fopen(file, "rb");
    struct buf b = {NULL, 0, 0};
    char chunk[4096];
    size_t n;

    if (!f)
        fail("%s: %s", file, strerror(errno));
    while ((n = fread(chunk, 1, sizeof(chunk), f)) > 0)
        buf_mem(&b, chunk, n);
    if (ferror(f))
        fail("%s: %s", file, strerror(errno));
    if (f != stdin)
        fclose(f);
    buf_mem(&b, "", 1);
    *len = b.len - 1;
    return (char *)b.mem;
}

/* Cuts off a comment and blanks at the end; a # inside a "text" is none. */
static void trim(char *line)
{
    bool quoted = false;
    char *p;

    for (p = line; *p && (quoted || *p != '#'); p++)
        if (*p == '"')
            quoted = !quoted;
    while (p > line && isspace((unsigned char)p[-1]))
        p--;
    *p = '\0';
}

void recipe_read(struct recipe *r, const char *file)
{
    size_t len, have = 0;
    char *text = slurp(file, &len), *p = text, *end;

    *r = (struct recipe){file, NULL, 0, 0};
    while (p < text + len) {
        end = strchr(p, '\n');
        if (end)
            *end = '\0';
        else
            end = text + len;
        if (r->n == have) {
            r->lines = grab_more(r->lines, have * sizeof(*r->lines),
                                 (2 * have + 32) * sizeof(*r->lines));
            have = 2 * have + 32;
        }
        trim(p);
        r->lines[r->n++] = p;
        p = end + 1;
    }
}
