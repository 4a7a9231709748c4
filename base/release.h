/* SPDX-License-Identifier: GPL-3.0-or-later */
/* The release of all programs of this tree; they are built and shipped together. */
#pragma once

#define RELEASE "0.1.0"

/* 2026-01-01T00:00:00Z: a clock that shows less has not been set. */
#define RELEASE_EPOCH 1767225600LL
