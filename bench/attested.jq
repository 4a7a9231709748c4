# SPDX-License-Identifier: GPL-3.0-or-later
#
# Rows of bench/attested.sh from its samples; $why says of subjects why they were not measured.
# Input: [{turn, subject, what, rate, failed, connect: {p50, ...}, answer: {...}}]

def at($share): sort | .[($share * (length - 1) + 0.5) | floor];
def median: at(0.5);
def us: if . < 0 then "-\(-. | us)"
	elif . >= 10000 then "\(. / 100 | round / 10) ms"
	elif . >= 100 then "\(round) us" else "\(. * 10 | round / 10) us" end;
def hundredths: . * 100 | round / 100;

def choose($n; $k): if $k == 0 then 1 else choose($n; $k - 1) * ($n - $k + 1) / $k end;

# Between which two of the values the median is with 95 % confidence (order statistics, no
# assumption about their distribution), or null when there are too few.
def interval:
	length as $n | sort as $v
	| last([0, range(1; $n / 2 + 1)][]
		| select(. == 0 or (reduce range(0; .) as $i (0; . + choose($n; $i)))
			* 2 / pow(2; $n) <= 0.05)) as $k
	| if $k == 0 then null else [$v[$k - 1], $v[$n - $k]] end;
def confidence(f):
	interval | if . == null then "" else ", 95 % \(.[0] | f) to \(.[1] | f)" end;

# {turn: value}
def by_turn($subject; $what; f):
	[.[] | select(.subject == $subject and .what == $what and (f) != null)
		| {key: .turn, value: (f)}] | from_entries;
def all($subject; $what; f): [by_turn($subject; $what; f)[]];
def together($of; $against; $what; f; g):
	by_turn($against; $what; f) as $b
	| [by_turn($of; $what; f) | to_entries[] | select($b[.key] != null)
		| [.value, $b[.key]] | g];
def ratios($of; $against; $what): together($of; $against; $what; .rate; .[0] / .[1]);
def excess($of; $against; $what; $p):
	together($of; $against; $what; .connect[$p]; .[0] - .[1]);

def lost($subjects):
	[.[] | select(.subject as $s | $subjects | index($s)) | .failed // 0] | add // 0
	| if . > 0 then "; \(.) connections failed" else "" end;

def reason($subjects): [$subjects[] as $s | $why[$s] // empty | "\($s): \(.)"]
	| if length > 0 then join("; ") else "not measured" end;

def row($id; $what; $unit; $goal; met; $values; $subjects; $note):
	{id: $id, what: $what, unit: $unit, goal: $goal}
	+ if ($values | length) == 0
	then {min: null, median: null, max: null, met: null, note: reason($subjects)}
	else {min: ($values | min), median: ($values | median), max: ($values | max),
		met: (if $goal == "" then null else ($values | median | met) end),
		note: $note} end;

def rate_note($of; $against; $what; $values):
	"\(all($of; $what; .rate) | median | round)/s against "
	+ "\(all($against; $what; .rate) | median | round)/s"
	+ ($values | confidence(hundredths)) + lost([$of, $against]);
def rate_row($id; $text; $of; $against; $what; $goal; met):
	ratios($of; $against; $what) as $v
	| row($id; $text; ""; $goal; met; $v; [$of, $against];
		if $v == [] then "" else rate_note($of; $against; $what; $v) end);

# --- latencies

def spread($subject; $what; f):
	"p90 \(all($subject; $what; f | .p90) | median | us), "
	+ "p99 \(all($subject; $what; f | .p99) | median | us), "
	+ "p99.9 \(all($subject; $what; f | .p999) | median | us)";
# `full` counts to the first byte back: connect() of a proxy's client ends at the proxy.
def latency_row($id; $text; $subject; $what; f):
	all($subject; $what; f | .p50) as $v
	| row($id; $text; "us"; ""; true; $v; [$subject];
		if $v == [] then "" else spread($subject; $what; f) + lost([$subject]) end);
def excess_row($id; $text; $what; $p; $goal; $limit):
	excess("attested"; "queue"; $what; $p) as $v
	| row($id; $text; "us"; $goal; . <= $limit; $v; ["attested", "queue"];
		if $v == [] then "" else
		"\(all("attested"; $what; .connect[$p]) | median | us) against "
		+ "\(all("queue"; $what; .connect[$p]) | median | us)" + ($v | confidence(us))
		+ lost(["attested", "queue"]) end);

# --- the table

def sidecars: ["haproxy-full", "haproxy-resumed", "stunnel"];
def best_sidecar:
	. as $all | [sidecars[] as $s | {s: $s, r: ($all | all($s; "rate-8"; .rate))}
		| select(.r != []) | {s, r: (.r | median)}]
	| if . == [] then "haproxy-resumed" else max_by(.r).s end;
def each_sidecar:
	. as $all | [sidecars[] as $s | ($all | ratios("attested"; $s; "rate-8")) as $v
		| select($v != []) | "\($s) \($v | median * 10 | round / 10)"] | join(", ");

def rate_rows:
	best_sidecar as $best
	| rate_row("connect-same"; "new connections, 8 clients, no firewall against itself";
		"again"; "none"; "rate-8"; ""; true),
	rate_row("connect-queue"; "the bare queue loop against no firewall, 8 clients";
		"queue"; "none"; "rate-8"; ""; true),
	rate_row("connect-attested"; "new connections, attested, 8 clients, against a bare queue loop";
		"attested"; "queue"; "rate-8"; ">= 0.80"; . >= 0.80),
	rate_row("connect-attested-1"; "the same with 1 client"; "attested"; "queue"; "rate-1"; "";
		true),
	rate_row("connect-attested-spread"; "the same with 8 clients, processes of both hosts on any CPU";
		"attested"; "queue"; "spread-8"; ""; true),
	rate_row("connect-callee"; "the same, the called end attested, too, 8 clients"; "callee";
		"queue"; "rate-8"; ""; true),
	rate_row("connect-attested-mapped"; "attested against mapped, 8 clients"; "attested";
		"mapped"; "rate-8"; ""; true),
	(rate_row("connect-sidecar";
		"attested against a mutual-TLS sidecar pair (\($best), the fastest), 8 clients";
		"attested"; $best; "rate-8"; ">= 10"; . >= 10)
		+ if ratios("attested"; $best; "rate-8") == [] then {} else
			{note: (rate_note("attested"; $best; "rate-8";
				ratios("attested"; $best; "rate-8")) + "; \(each_sidecar)")} end),
	rate_row("connect-opensnitch"; "attested against opensnitch, 8 clients"; "attested";
		"opensnitch"; "rate-8"; ">= 5"; . >= 5);

def cpu($subject; $program): all($subject; "rate-8"; .cpu[$program]);
def cpu_row($id; $text; $subject):
	together($subject; $subject; "rate-8"; .cpu | add; .[0]) as $v
	| row($id; $text; "us"; ""; true; $v; [$subject];
		if $v == [] then "" else
		"called host \(cpu($subject; "agent-api-1") | median | us), calling host \(
			cpu($subject; "agent-pay-1") | median | us)"
		+ (cpu("queue"; "accept-all")
			| if . == [] then "" else "; the bare loop \(median | us)" end) end);
def cpu_rows:
	cpu_row("cpu-attested"; "agents' time on a CPU for each attested connection, 8 clients";
		"attested"),
	cpu_row("cpu-callee"; "the same, the called end attested, too"; "callee");

def latency_rows:
	excess_row("latency-attested-p50"; "added connect latency, attested, warm, 500/s, p50";
		"paced-500"; "p50"; "<= 60 us"; 60),
	excess_row("latency-attested-p99"; "the same, p99"; "paced-500"; "p99"; "<= 200 us"; 200),
	excess_row("latency-attested-p50-2000"; "the same at 2,000/s, p50"; "paced-2000"; "p50";
		"<= 60 us"; 60),
	excess_row("latency-attested-p99-2000"; "the same at 2,000/s, p99"; "paced-2000"; "p99";
		"<= 200 us"; 200),
	(("none", "conntrack", "queue", "mapped", "attested", "callee") as $s
		| latency_row("latency-\($s)"; "connect latency at 500/s, \($s), p50"; $s; "paced-500";
			.connect)),
	(("none", "attested", "opensnitch", "haproxy-full", "haproxy-resumed", "stunnel") as $s
		| latency_row("first-byte-\($s)"; "first byte at 100/s, \($s), p50"; $s; "paced-100";
			.answer));

def crowd_rows:
	(("none", "queue", "attested", "opensnitch") as $s | (10, 1000) as $n
		| latency_row("latency-new-process-\($s)-\($n)";
			"connect latency of a new process each, \($s), \($n) other processes, p50"; $s;
			"paced-50-fork-\($n)"; .connect)),
	(("attested", "opensnitch") as $s
		| latency_row("latency-warm-\($s)-1000";
			"the same of a known process, \($s), 1000 other processes, p50"; $s;
			"paced-50-warm-1000"; .connect));

def cold_row($id; $text; $subject; $what):
	all($subject; $what; .answer) as $v
	| row($id; $text; "us"; ""; true; $v; [$subject];
		if $v == [] then "" else
		"\(all($subject; $what; .tries) | max) tries at most" end);
def cold_rows:
	cold_row("cold-stream"; "first byte of the first attested connection after the far agent's start";
		"attested"; "cold-stream"),
	(("none", "mapped", "attested") as $s
		| cold_row("cold-group-\($s)";
			"first byte of a process group that has just come to be, \($s)"; $s;
			"cold-group"));

rate_rows, cpu_rows, latency_rows, crowd_rows, cold_rows
