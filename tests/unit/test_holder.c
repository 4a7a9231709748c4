/* SPDX-License-Identifier: GPL-3.0-or-later */
/* Who holds a socket: real descriptors that stay, are passed on, and processes that are moved. */
#include "agent/holder.h"

#include "agent/evidence.h"
#include "agent/vouch.h"
#include "base/mem.h"
#include "tests/unit/cgroup_fixture.h"
#include "tests/unit/evidence_fixture.h"
#include "tests/unit/test.h"

#include <fcntl.h>
#include <netinet/in.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

/* --- sockets --------------------------------------------------------------------------------- */

struct outcome {
	unsigned count;
	enum peer_status status;
	bool has_digest;
	struct digest digest;
};

static void on_outcome(void *user, enum peer_status status, const struct digest *d)
{
	struct outcome *o = user;

	o->count++;
	o->status = status;
	o->has_digest = d != NULL;
	if (d != NULL)
		o->digest = *d;
}

static struct socket_info socket_of(struct evidence_bench *t, uint16_t port)
{
	struct socket_tuple tuple = {
		.l4proto = IPPROTO_TCP, .local_port = port, .remote_port = FAR_PORT};
	struct socket_info info;

	CHECK_INT(addr_parse(HERE_TEXT, &tuple.local), 0);
	CHECK_INT(addr_parse(SILENT_TEXT, &tuple.remote), 0);
	CHECK_INT(owner_find(t->owner, &tuple, &info), 0);
	return info;
}

static struct outcome ask(struct evidence_bench *t, const struct socket_info *s)
{
	struct outcome o = {0};

	evidence_of_socket(t->e, s, BUDGET_MS, on_outcome, &o);
	for (unsigned i = 0; o.count == 0; i++) {
		CHECK(i < TURNS_MAX);
		evidence_turn(t);
	}
	evidence_turn(t);
	CHECK_UINT(o.count, 1);
	return o;
}

static const struct client to_silent = {
	.family = AF_INET, .type = SOCK_STREAM, .to = SILENT_TEXT, .to_port = FAR_PORT};

TEST(the_holder_of_a_socket_is_found_with_what_it_runs)
{
	BENCH(t);
	struct socket_info s = socket_of(&t, client_start("a.service", USER_A, &to_silent, NULL));
	char self[SHA256_HEX_LEN];
	struct outcome o = ask(&t, &s);

	/* The client is a fork of this very program. */
	evidence_file_hex("/proc/thread-self/exe", self);
	CHECK_INT(o.status, PEER_OK);
	CHECK(o.has_digest);
	CHECK_STR(evidence_hex(o.digest.sha256), self);
}

/* --- descriptors that travel ----------------------------------------------------------------- */

struct passing {
	int socket; /* of a pair */
	const struct client *client;
	bool keep;
};

static int send_descriptor(void *user)
{
	const struct passing *p = user;
	char byte = 'x', control[CMSG_SPACE(sizeof(int))] = {0};
	struct iovec vector = {&byte, 1};
	struct msghdr m = {.msg_iov = &vector,
			   .msg_iovlen = 1,
			   .msg_control = control,
			   .msg_controllen = sizeof(control)};
	struct cmsghdr *header;
	int port, fd = client_socket(p->client, &port);

	if (fd < 0)
		return -1;
	header = CMSG_FIRSTHDR(&m);
	if (header == NULL)
		return -1;
	header->cmsg_level = SOL_SOCKET;
	header->cmsg_type = SCM_RIGHTS;
	header->cmsg_len = CMSG_LEN(sizeof(int));
	memcpy(CMSG_DATA(header), &fd, sizeof(fd));
	if (sendmsg(p->socket, &m, 0) != 1)
		return -1;
	if (!p->keep)
		(void)close(fd);
	return port;
}

static int take_descriptor(void *user)
{
	const struct passing *p = user;
	char byte, control[CMSG_SPACE(sizeof(int))];
	struct iovec vector = {&byte, 1};
	struct msghdr m = {.msg_iov = &vector,
			   .msg_iovlen = 1,
			   .msg_control = control,
			   .msg_controllen = sizeof(control)};

	return recvmsg(p->socket, &m, 0) == 1 && CMSG_FIRSTHDR(&m) != NULL ? 1 : -1;
}

/* A socket of a process in a.service that one in `to` has. */
static uint16_t pass(const char *to, bool keep, pid_t *ret_taker)
{
	struct passing p = {.client = &to_silent, .keep = keep};
	int pair[2], port = -1, taken = -1;

	CHECK_INT(socketpair(AF_UNIX, SOCK_STREAM, 0, pair), 0);
	p.socket = pair[0];
	(void)fixture_process("a.service", USER_A, send_descriptor, &p, &port);
	CHECK(port > 0);
	p.socket = pair[1];
	*ret_taker = fixture_process(to, FIXTURE_NO_UID, take_descriptor, &p, &taken);
	CHECK_INT(taken, 1);
	(void)close(pair[0]);
	(void)close(pair[1]);
	return (uint16_t)port;
}

TEST(a_descriptor_that_was_passed_on_is_noticed)
{
	BENCH(t);
	pid_t taker;
	struct socket_info s = socket_of(&t, pass("c.service", false, &taker));
	char expected[64];
	struct outcome o;

	/* The socket is still a.service's by its cgroup: that is why it must be looked at. */
	CHECK_UINT(s.cgroup_id, fixture_id("a.service"));
	o = ask(&t, &s);
	CHECK_INT(o.status, PEER_HOLDER_MISMATCH);
	CHECK(!o.has_digest);
	(void)snprintf(expected, sizeof(expected), "process %d, of another cgroup", (int)taker);
	CHECK_CONTAINS(evidence_last_refusal(t.e), expected);
}

/* It costs the descriptors of the whole host. */
TEST(who_else_has_a_descriptor_is_looked_for_now_and_then)
{
	BENCH(t);
	pid_t taker;
	struct socket_info s = socket_of(&t, pass("c.service", false, &taker));

	CHECK_INT(ask(&t, &s).status, PEER_HOLDER_MISMATCH);
	CHECK_CONTAINS(evidence_last_refusal(t.e), "of another cgroup");
	for (unsigned i = 0; strstr(evidence_last_refusal(t.e), "no process") == NULL; i++) {
		CHECK(i < TURNS_MAX);
		CHECK_INT(ask(&t, &s).status, PEER_HOLDER_MISMATCH);
	}
}

TEST(a_descriptor_that_stays_in_the_cgroup_has_not_been_passed_on)
{
	BENCH(t);
	pid_t taker;
	struct socket_info s;

	fixture_make("a.service/worker");
	s = socket_of(&t, pass("a.service/worker", false, &taker));
	CHECK_INT(ask(&t, &s).status, PEER_OK);
}

TEST(a_process_that_was_moved_is_noticed)
{
	BENCH(t);
	char path[512], number[16];
	pid_t pid;
	struct socket_info s = socket_of(&t, client_start("a.service", USER_A, &to_silent, &pid));
	CLEANUP(closep) int fd = -1;
	int n;

	CHECK_INT(ask(&t, &s).status, PEER_OK);
	(void)snprintf(path, sizeof(path), "%s/c.service/cgroup.procs", fixture_root());
	n = snprintf(number, sizeof(number), "%d", (int)pid);
	fd = open(path, O_WRONLY | O_CLOEXEC);
	CHECK(fd >= 0);
	CHECK_INT(write(fd, number, (size_t)n), n);
	CHECK_INT(ask(&t, &s).status, PEER_HOLDER_MISMATCH);
	CHECK_CONTAINS(evidence_last_refusal(t.e), "of another cgroup");
}

TEST(a_socket_that_nobody_holds_is_nobodys)
{
	BENCH(t);
	pid_t pid;
	struct socket_info s = socket_of(&t, client_start("a.service", USER_A, &to_silent, &pid));

	fixture_end(pid);
	CHECK_INT(ask(&t, &s).status, PEER_HOLDER_MISMATCH);
	CHECK_CONTAINS(evidence_last_refusal(t.e), "no process");
	fixture_drop("a.service");
	CHECK_INT(ask(&t, &s).status, PEER_HOLDER_MISMATCH);
	CHECK_CONTAINS(evidence_last_refusal(t.e), "gone");
}

static int hold_and_run(void *user)
{
	int port, fd = client_socket(&to_silent, &port);
	pid_t child;

	if (fd < 0 || fcntl(fd, F_SETFD, 0) < 0)
		return -1;
	child = fork();
	if (child == 0) {
		(void)execl(user, user, "1000", (char *)NULL);
		_exit(1);
	}
	return child < 0 ? -1 : port;
}

TEST(a_socket_that_two_programs_hold_is_no_ones_measured)
{
	BENCH(t);
	char path[256];
	int port = -1;
	struct socket_info s;
	struct outcome o = {0};

	(void)snprintf(path, sizeof(path), "%s", evidence_program("approved"));
	(void)fixture_process("a.service", FIXTURE_NO_UID, hold_and_run, path, &port);
	CHECK(port > 0);
	s = socket_of(&t, (uint16_t)port);
	/* Until its child has become the other program. */
	for (unsigned i = 0; i < TURNS_MAX && o.status != PEER_HOLDER_MISMATCH; i++)
		o = ask(&t, &s);
	CHECK_INT(o.status, PEER_HOLDER_MISMATCH);
	CHECK_CONTAINS(evidence_last_refusal(t.e), "different executables");
}

TEST(a_question_that_is_taken_back_is_not_answered)
{
	BENCH(t);
	struct socket_info s = socket_of(&t, client_start("a.service", USER_A, &to_silent, NULL));
	struct outcome kept = {0}, dropped = {0};

	evidence_of_socket(t.e, &s, BUDGET_MS, on_outcome, &dropped);
	evidence_of_socket(t.e, &s, BUDGET_MS, on_outcome, &kept);
	evidence_cancel(t.e, &dropped);
	for (unsigned i = 0; kept.count == 0 && i < TURNS_MAX; i++)
		evidence_turn(&t);
	CHECK_UINT(kept.count, 1);
	CHECK_UINT(dropped.count, 0);
	/* Those that wait when everything ends hear nothing, either. */
	evidence_of_socket(t.e, &s, BUDGET_MS, on_outcome, &dropped);
	evidence_free(t.e);
	t.e = t.b.agent.evidence = NULL;
	CHECK_UINT(dropped.count, 0);
}

static struct outcome again;

static void ask_again(void *user, enum peer_status status, const struct digest *d)
{
	struct evidence_bench *t = user;
	struct socket_info s = {.inode = 1, .cgroup_id = fixture_id("a.service")};

	(void)status;
	(void)d;
	evidence_of_socket(t->e, &s, BUDGET_MS, on_outcome, &again);
	evidence_cancel(t->e, t);
}

TEST(who_is_answered_may_ask_again_at_once)
{
	BENCH(t);
	struct socket_info s = {.inode = 1, .cgroup_id = fixture_id("a.service")};

	again = (struct outcome){0};
	evidence_of_socket(t.e, &s, BUDGET_MS, ask_again, &t);
	evidence_of_socket(t.e, &s, BUDGET_MS, ask_again, &t);
	for (unsigned i = 0; again.count == 0 && i < TURNS_MAX; i++)
		evidence_turn(&t);
	CHECK(again.count > 0);
}

TEST(a_spent_budget_is_busy_and_the_next_question_is_answered)
{
	BENCH(t);
	char path[256];
	struct outcome o = {0};
	struct socket_info s;
	pid_t pid;

	/* A file that takes longer to read than the budget. */
	(void)snprintf(path, sizeof(path), "%s", evidence_program("approved"));
	CHECK_INT(truncate(path, 200L << 20), 0);
	pid = evidence_run("a.service", path);
	{
		struct digest d;

		CHECK(!evidence_of_process(t.e, pid, &d));
	}
	s = socket_of(&t, client_start("a.service", USER_A, &to_silent, NULL));
	evidence_of_socket(t.e, &s, 1, on_outcome, &o);
	for (unsigned i = 0; o.count == 0 && i < TURNS_MAX; i++)
		evidence_turn(&t);
	CHECK_INT(o.status, PEER_BUSY);
	CHECK_INT(ask(&t, &s).status, PEER_OK);
}

/* --- answers --------------------------------------------------------------------------------- */

struct asked {
	unsigned count;
	struct peer_answer answer;
};

static void on_answer(void *user, const struct peer_answer *answer)
{
	struct asked *a = user;

	a->count++;
	a->answer = *answer;
}

static struct asked vouched(struct evidence_bench *t, struct vouch *v, uint16_t port)
{
	struct peer_query q = {.l4proto = IPPROTO_TCP,
			       .sport = port,
			       .dport = FAR_PORT,
			       .flags = PEER_WANT_EVIDENCE,
			       .budget_ms = BUDGET_MS};
	struct asked a = {0};

	CHECK_INT(addr_parse(HERE_TEXT, &q.src), 0);
	CHECK_INT(addr_parse(SILENT_TEXT, &q.dst), 0);
	vouch_answer(v, "b-1", &q, on_answer, &a);
	for (unsigned i = 0; a.count == 0 && i < TURNS_MAX; i++)
		evidence_turn(t);
	CHECK_UINT(a.count, 1);
	return a;
}

TEST(evidence_goes_with_the_answer_to_whom_it_concerns)
{
	BENCH(t);
	struct vouch *v = NULL;
	struct err err = {{0}};
	char self[SHA256_HEX_LEN];
	uint16_t port = client_start("a.service", USER_A, &to_silent, NULL);
	struct asked a;
	pid_t taker;

	CHECK_OK(vouch_open(&t.b.agent, &v, &err), &err);
	a = vouched(&t, v, port);
	CHECK_UINT(a.answer.status, PEER_OK);
	CHECK((a.answer.match & PEER_MATCH_HOLDER) != 0);
	CHECK_UINT(a.answer.uid, USER_A);
	CHECK_UINT(a.answer.cgroup_id, fixture_id("a.service"));
	CHECK(a.answer.cookie != 0 && a.answer.has_sha256);
	evidence_file_hex("/proc/thread-self/exe", self);
	CHECK_STR(evidence_hex(a.answer.sha256), self);
	CHECK_UINT(a.answer.evidence, PEER_EVIDENCE_CONTRAINDICATED);

	evidence_policy(&t, "", self);
	a = vouched(&t, v, port);
	CHECK_UINT(a.answer.evidence, PEER_EVIDENCE_AFFIRMING);

	a = vouched(&t, v, pass("c.service", false, &taker));
	CHECK_UINT(a.answer.status, PEER_HOLDER_MISMATCH);
	CHECK((a.answer.match & PEER_MATCH_HOLDER) == 0);
	CHECK(!a.answer.has_sha256);
	CHECK_CONTAINS(vouch_last_refusal(v), "of another cgroup");
	vouch_free(v);
}

TEST(an_answer_that_is_not_wanted_any_more_is_not_given)
{
	BENCH(t);
	struct vouch *v = NULL;
	struct err err = {{0}};
	struct peer_query q = {.l4proto = IPPROTO_TCP,
			       .dport = FAR_PORT,
			       .flags = PEER_WANT_EVIDENCE,
			       .budget_ms = BUDGET_MS};
	struct asked kept = {0}, dropped = {0};

	CHECK_OK(vouch_open(&t.b.agent, &v, &err), &err);
	q.sport = client_start("a.service", USER_A, &to_silent, NULL);
	CHECK_INT(addr_parse(HERE_TEXT, &q.src), 0);
	CHECK_INT(addr_parse(SILENT_TEXT, &q.dst), 0);
	vouch_answer(v, "b-1", &q, on_answer, &dropped);
	vouch_answer(v, "b-1", &q, on_answer, &kept);
	vouch_cancel(v, &dropped);
	for (unsigned i = 0; kept.count == 0 && i < TURNS_MAX; i++)
		evidence_turn(&t);
	CHECK_UINT(kept.count, 1);
	CHECK_UINT(dropped.count, 0);
	vouch_answer(v, "b-1", &q, on_answer, &dropped);
	vouch_free(v);
	for (unsigned i = 0; i < 5; i++)
		evidence_turn(&t);
	CHECK_UINT(dropped.count, 0);
}

/* A node that was taken over asks about one connection without end: others are measured too. */
TEST(one_node_does_not_have_all_the_measuring)
{
	BENCH(t);
	struct vouch *v = NULL;
	struct err err = {{0}};
	struct peer_query q = {.l4proto = IPPROTO_TCP,
			       .dport = FAR_PORT,
			       .flags = PEER_WANT_EVIDENCE,
			       .budget_ms = BUDGET_MS};
	struct asked many[8] = {0}, other;
	unsigned busy = 0;

	CHECK_OK(vouch_open(&t.b.agent, &v, &err), &err);
	q.sport = client_start("a.service", USER_A, &to_silent, NULL);
	CHECK_INT(addr_parse(HERE_TEXT, &q.src), 0);
	CHECK_INT(addr_parse(SILENT_TEXT, &q.dst), 0);
	for (size_t i = 0; i < ARRAY_LEN(many); i++) {
		vouch_answer(v, "b-1", &q, on_answer, &many[i]);
		busy += many[i].count && many[i].answer.status == PEER_BUSY;
	}
	CHECK_UINT(busy, 4);
	other = vouched(&t, v, client_start("a.service", USER_A, &to_silent, NULL));
	CHECK_UINT(other.answer.status, PEER_OK);
	CHECK_UINT(many[0].answer.status, PEER_OK);
	/* And again, once that is done. */
	CHECK_UINT(vouched(&t, v, q.sport).answer.status, PEER_OK);
	vouch_free(v);
}
