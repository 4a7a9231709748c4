# SPDX-License-Identifier: GPL-3.0-or-later
# Policy and view to the table's text: the unit test compares, GOLDEN_UPDATE writes anew.
"$B/unit-tests" golden_rulesets >&2
