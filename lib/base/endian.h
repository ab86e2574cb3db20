/*
 * endian.h - integers read and written byte by byte: big-endian ones, as the format
 * has them, and little-endian ones, as guests do.
 *
 * SPDX-License-Identifier: MIT
 */
#ifndef Q2_BASE_ENDIAN_H
#define Q2_BASE_ENDIAN_H

#include <stdint.h>

static inline uint16_t q2_be16(const uint8_t *p)
{
	return (uint16_t)((unsigned)p[0] << 8 | p[1]);
}

static inline uint32_t q2_be32(const uint8_t *p)
{
	return (uint32_t)p[0] << 24 | (uint32_t)p[1] << 16 |
	       (uint32_t)p[2] << 8 | p[3];
}

static inline uint64_t q2_be64(const uint8_t *p)
{
	return (uint64_t)p[0] << 56 | (uint64_t)p[1] << 48 |
	       (uint64_t)p[2] << 40 | (uint64_t)p[3] << 32 |
	       (uint64_t)p[4] << 24 | (uint64_t)p[5] << 16 |
	       (uint64_t)p[6] << 8 | (uint64_t)p[7];
}

static inline uint32_t q2_le16(const uint8_t *p)
{
	return (uint32_t)p[0] | (uint32_t)p[1] << 8;
}

static inline uint32_t q2_le32(const uint8_t *p)
{
	return q2_le16(p) | q2_le16(p + 2) << 16;
}

static inline uint64_t q2_le64(const uint8_t *p)
{
	return q2_le32(p) | (uint64_t)q2_le32(p + 4) << 32;
}

static inline void q2_put_be16(uint8_t *p, uint16_t v)
{
	p[0] = (uint8_t)(v >> 8);
	p[1] = (uint8_t)v;
}

static inline void q2_put_be32(uint8_t *p, uint32_t v)
{
	q2_put_be16(p, (uint16_t)(v >> 16));
	q2_put_be16(p + 2, (uint16_t)v);
}

static inline void q2_put_be64(uint8_t *p, uint64_t v)
{
	q2_put_be32(p, (uint32_t)(v >> 32));
	q2_put_be32(p + 4, (uint32_t)v);
}

#endif
