/* SPDX-License-Identifier: GPL-3.0-or-later */
/* Asking a person for a token's PIN, on the terminal, without showing it. */
#pragma once

#include "controller-client/signer.h"

/* The ask_pin of struct signer_config. -ENOTTY: there is nobody to ask. */
int pin_ask(void *user, const char *token, char pin[SIGNER_PIN_MAX], struct err *err);
