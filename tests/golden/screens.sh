# SPDX-License-Identifier: GPL-3.0-or-later
# Screens: the unit test compares them, and with GOLDEN_UPDATE writes them anew.
"$B/unit-tests" screens >&2
