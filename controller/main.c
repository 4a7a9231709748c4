/* SPDX-License-Identifier: GPL-3.0-or-later */
/* bailiwick-controller: see command.h. */
#include "controller/command.h"

int main(int argc, char **argv)
{
	return command_main(argc, argv, stdout, stderr);
}
