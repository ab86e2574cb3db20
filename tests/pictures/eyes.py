# eyes.py - how far colours are apart, also for colour-blind eyes.
#
# SPDX-License-Identifier: MIT
#
# Dichromats are simulated in linear RGB by the matrices of Vienot, Brettel and
# Mollon (1999); the distance is CIE76 in L*a*b*, where about 2 is just seen.

DICHROMAT = {
    "protan": ((0.11238, 0.88762, 0), (0.11238, 0.88762, 0),
               (0.00401, -0.00401, 1)),
    "deutan": ((0.29275, 0.70725, 0), (0.29275, 0.70725, 0),
               (-0.02234, 0.02234, 1)),
}


def linear(colour):
    return [v / 12.92 if v <= 0.04045 else ((v + 0.055) / 1.055) ** 2.4
            for v in (c / 255 for c in colour)]


def lab(rgb):
    r, g, b = rgb
    x = (0.4124 * r + 0.3576 * g + 0.1805 * b) / 0.9505
    y = 0.2126 * r + 0.7152 * g + 0.0722 * b
    z = (0.0193 * r + 0.1192 * g + 0.9505 * b) / 1.089
    x, y, z = (v ** (1 / 3) if v > 0.008856 else 7.787 * v + 16 / 116
               for v in (x, y, z))
    return 116 * y - 16, 500 * (x - y), 200 * (y - z)


def seen(colour, kind):
    rgb = linear(colour)
    if kind in DICHROMAT:
        rgb = [min(1, max(0, sum(m * v for m, v in zip(row, rgb))))
               for row in DICHROMAT[kind]]
    return lab(rgb)


def distance(a, b, kind="normal"):
    return sum((x - y) ** 2 for x, y in
               zip(seen(a, kind), seen(b, kind))) ** 0.5
