/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "cli/pin.h"

#include "base/log.h"
#include "base/mem.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <termios.h>
#include <unistd.h>

#define TERMINAL "/dev/tty"

/* A line without its end; -EIO for none, -E2BIG when it does not fit. */
static int read_line(int fd, char *line, size_t size)
{
	for (size_t len = 0; len < size; len++) {
		ssize_t n;

		do {
			n = read(fd, &line[len], 1);
		} while (n < 0 && errno == EINTR);
		if (n < 0)
			return -errno;
		if (n == 0 || line[len] == '\n' || line[len] == '\r') {
			line[len] = '\0';
			return len > 0 ? 0 : -EIO;
		}
	}
	return -E2BIG;
}

int pin_ask(void *user, const char *token, char pin[SIGNER_PIN_MAX], struct err *err)
{
	CLEANUP(closep) int fd = open(TERMINAL, O_RDWR | O_CLOEXEC | O_NOCTTY);
	struct termios before, quiet;
	char quoted[LOG_QUOTE_MAX];
	int r;

	(void)user;
	if (fd < 0 || tcgetattr(fd, &before) < 0)
		return err_set(err, ENOTTY,
			       "token %s needs a PIN and there is no terminal to ask on; "
			       "$" SIGNER_PIN_VARIABLE " or pin-source=file:/path in the URI would "
			       "be right",
			       token);
	quiet = before;
	quiet.c_lflag &= ~(tcflag_t)ECHO;
	if (tcsetattr(fd, TCSAFLUSH, &quiet) < 0)
		return err_set(err, errno, TERMINAL ": %s", strerror(errno));
	(void)dprintf(fd, "PIN of token %s: ", log_quote(quoted, token));
	r = read_line(fd, pin, SIGNER_PIN_MAX);
	(void)tcsetattr(fd, TCSAFLUSH, &before);
	(void)dprintf(fd, "\n");
	return r < 0 ? err_set(err, -r, "no PIN was given for token %s", token) : 0;
}
