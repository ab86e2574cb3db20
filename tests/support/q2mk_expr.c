/* q2mk_expr.c: expressions: C's integer operators over numbers, symbols and image fields. */
/* SPDX-License-Identifier: MIT */
#include "q2mk.h"

#include <stdio.h>
#include <string.h>

static uint64_t binary(struct lex *l, const struct image *im, unsigned level);

void path_parse(struct lex *l, const struct image *im, struct path *p)
{
    *p = (struct path){lex_name(l), NULL, {0, 0, 0}, 0};
    if (!p->name)
        fail("expected a name at '%s'", l->p);
    while (*l->p == '[') {
        l->p++;
        if (p->n == 3)
            fail("%s: too many indices", p->name);
        p->idx[p->n++] = expr(l, im);
        if (!lex_accept_op(l, "]"))
            fail("%s: ']' is missing", p->name);
    }
    if (*l->p == '.') {
        l->p++;
        p->field = lex_name(l);
        if (!p->field)
            fail("%s: a field's name is missing", p->name);
    }
}

static uint64_t named(struct lex *l, const struct image *im)
{
    struct place pl;
    struct path p;

    path_parse(l, im, &p);
    if (strcmp(p.name, "cs") == 0 && p.n == 0 && !p.field)
        return UINT64_C(1) << im->set.cluster_bits;
    if (!im->finished)
        fail("%s is not known before the build is complete", p.name);
    if (strcmp(p.name, "end") == 0 && p.n == 0 && !p.field)
        return im->disk.len;
    place_find(im, &p, &pl);
    return place_get(im, &pl);
}

static uint64_t symbol(struct lex *l, const struct image *im)
{
    struct path p;

    path_parse(l, im, &p);
    if (!im->finished)
        fail("@%s is not known before the build is complete", p.name);
    if (p.field)
        fail("@%s has no fields", p.name);
    return symbol_value(im, &p);
}

static uint64_t unary(struct lex *l, const struct image *im)
{
    uint64_t v;

    if (lex_accept_op(l, "-"))
        return 0 - unary(l, im);
    if (lex_accept_op(l, "~"))
        return ~unary(l, im);
    if (lex_accept_op(l, "@"))
        return symbol(l, im);
    if (lex_accept_op(l, "(")) {
        v = expr(l, im);
        if (!lex_accept_op(l, ")"))
            fail("')' is missing");
        return v;
    }
    if (lex_number(l, &v))
        return v;
    return named(l, im);
}

static const struct {
    const char *text;
    unsigned level;
} operators[] = {{"|", 0},  {"^", 1}, {"&", 2}, {"<<", 3}, {">>", 3},
                 {"+", 4},  {"-", 4}, {"*", 5}, {"/", 5},  {"%", 5}};

static uint64_t apply(char op, uint64_t a, uint64_t b)
{
    if ((op == '/' || op == '%') && b == 0)
        fail("division by zero");
    switch (op) {
    case '|':
        return a | b;
    case '^':
        return a ^ b;
    case '&':
        return a & b;
    case '<':
        return b > 63 ? 0 : a << b;
    case '>':
        return b > 63 ? 0 : a >> b;
    case '+':
        return a + b;
    case '-':
        return a - b;
    case '*':
        return a * b;
    case '/':
        return a / b;
    default:
        return a % b;
    }
}

static uint64_t binary(struct lex *l, const struct image *im, unsigned level)
{
    uint64_t v;
    size_t i;

    if (level > 5)
        return unary(l, im);
    v = binary(l, im, level + 1);
    for (i = 0; i < sizeof(operators) / sizeof(operators[0]); i++) {
        if (operators[i].level == level && lex_accept_op(l, operators[i].text)) {
            v = apply(operators[i].text[0], v, binary(l, im, level + 1));
            i = (size_t)-1; /* look at all operators of this level again */
        }
    }
    return v;
}

uint64_t expr(struct lex *l, const struct image *im)
{
    return binary(l, im, 0);
}

/*
 * One {EXPR}, or {x:EXPR} for hexadecimal; p is behind the brace. A brace before a blank, a quote
 * or } is literal.
 */
static const char *replace_one(const struct image *im, const char *p)
{
    bool hex = p[0] == 'x' && p[1] == ':';
    struct lex l = {hex ? p + 2 : p};
    uint64_t v;

    if (*p == '{')
        p++;
    if ((!hex && p != l.p) || strchr(" \t\r\n\"}", *p)) {
        putchar('{');
        return p;
    }
    v = expr(&l, im);
    if (!lex_accept_op(&l, "}"))
        fail("'}' is missing at '%.20s'", l.p);
    printf(hex ? "0x%llx" : "%llu", (unsigned long long)v);
    return l.p;
}

void text_replace(const struct image *im, const char *file)
{
    size_t len;
    const char *text = slurp(file, &len), *p = text;
    unsigned line = 1;

    while (p < text + len) {
        where_set(file, line);
        if (*p == '\n')
            line++;
        if (*p == '{')
            p = replace_one(im, p + 1);
        else
            putchar(*p++);
    }
}
