/* SPDX-License-Identifier: GPL-3.0-or-later */
/* The control socket from the command's side, against a small server in a child process. */
#include "cli/client.h"

#include "base/json.h"
#include "base/mem.h"
#include "cli/cli.h"
#include "tests/unit/test.h"

#include <errno.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

#define REQUEST_MAX 65536

/* Reads one line, leaves it in the file "request", answers, closes. */
static void serve_one(int listener, const char *reply)
{
	char request[REQUEST_MAX];
	size_t len = 0;
	int fd = accept(listener, NULL, NULL);
	FILE *f;

	while (fd >= 0 && len < sizeof(request) && (len == 0 || request[len - 1] != '\n')) {
		ssize_t n = read(fd, request + len, sizeof(request) - len);

		if (n <= 0)
			break;
		len += (size_t)n;
	}
	f = fopen("request", "w");
	if (f != NULL) {
		(void)fwrite(request, 1, len, f);
		(void)fclose(f);
	}
	for (size_t left = strlen(reply); left > 0;) {
		ssize_t n = send(fd, reply, left, MSG_NOSIGNAL);

		if (n <= 0)
			break;
		reply += n;
		left -= (size_t)n;
	}
	(void)close(fd);
}

struct server {
	char dir[256];
	pid_t pid;
};

/* Listens before it forks, so that the client can connect at once. */
static void server_start(struct server *s, const char *dir, const char *reply)
{
	struct sockaddr_un sa = {.sun_family = AF_UNIX};
	int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);

	(void)snprintf(s->dir, sizeof(s->dir), "%s", dir);
	CHECK(chdir(dir) == 0);
	(void)snprintf(sa.sun_path, sizeof(sa.sun_path), "control.sock");
	(void)unlink(sa.sun_path);
	CHECK(fd >= 0 && bind(fd, (struct sockaddr *)&sa, sizeof(sa)) == 0 && listen(fd, 1) == 0);
	s->pid = fork();
	if (s->pid == 0) {
		(void)alarm(20);
		serve_one(fd, reply);
		_exit(0);
	}
	(void)close(fd);
}

static void server_done(struct server *s)
{
	if (s->pid > 0)
		(void)waitpid(s->pid, NULL, 0);
	s->pid = 0;
}

/* Runs the command; *ret_out and *ret_err are the caller's. */
static int command(const struct server *s, char **ret_out, char **ret_err, const char *const *words,
		   size_t count)
{
	const char *argv[16] = {"bailiwick", "-C", s->dir};
	size_t out_len, err_len;
	FILE *out = open_memstream(ret_out, &out_len), *err = open_memstream(ret_err, &err_len);
	int r;

	for (size_t i = 0; i < count; i++)
		argv[3 + i] = words[i];
	r = cli_main((int)(3 + count), (char **)(uintptr_t)argv, out, err);
	(void)fclose(out);
	(void)fclose(err);
	return r;
}
#define COMMAND(s, out, err, ...)                                                                  \
	command((s), (out), (err), ((const char *const[]){__VA_ARGS__}),                           \
		ARRAY_LEN(((const char *const[]){__VA_ARGS__})))

static char *request_text(const struct server *s)
{
	char path[300], text[REQUEST_MAX];
	size_t len;
	FILE *f;

	(void)snprintf(path, sizeof(path), "%s/request", s->dir);
	f = fopen(path, "r");
	CHECK(f != NULL);
	len = fread(text, 1, sizeof(text) - 1, f);
	(void)fclose(f);
	text[len] = '\0';
	return mem_strdup(text);
}

TEST(a_verb_asks_and_renders_with_the_exit_code_of_the_agent)
{
	CLEANUP(server_done) struct server s = {0};
	CLEANUP(freep) char *out = NULL;
	CLEANUP(freep) char *err = NULL;
	CLEANUP(freep) char *request = NULL;

	server_start(&s, test_dir(),
		     "{\"version\":1,\"ok\":true,\"exit\":4,\"result\":{\"version\":1,"
		     "\"generation\":{\"confirmed\":7}}}\n");
	CHECK_INT(COMMAND(&s, &out, &err, "confirm"), CLI_DRIFT);
	CHECK_STR(out, "revision 7 is confirmed and stays.\n");
	CHECK_STR(err, "");
	request = request_text(&s);
	CHECK_STR(request, "{\"version\":1,\"verb\":\"confirm\",\"args\":{}}\n");
}

TEST(json_output_is_the_result_as_it_came)
{
	CLEANUP(server_done) struct server s = {0};
	CLEANUP(freep) char *out = NULL;
	CLEANUP(freep) char *err = NULL;

	server_start(&s, test_dir(),
		     "{\"version\":1,\"ok\":true,\"exit\":0,\"result\":{\"version\":1,\"z\":1,"
		     "\"flows\":[],\"unknown\":{\"a\":1.5}}}\n");
	CHECK_INT(COMMAND(&s, &out, &err, "flows", "-o", "json"), CLI_OK);
	CHECK_STR(out, "{\"version\":1,\"z\":1,\"flows\":[],\"unknown\":{\"a\":1.5}}\n");
}

TEST(a_refusal_goes_to_stderr_with_its_exit_code)
{
	CLEANUP(server_done) struct server s = {0};
	CLEANUP(freep) char *out = NULL;
	CLEANUP(freep) char *err = NULL;
	CLEANUP(freep) char *request = NULL;

	server_start(&s, test_dir(),
		     "{\"version\":1,\"ok\":false,\"exit\":3,\"error\":\"no rule is called x\"}\n");
	CHECK_INT(COMMAND(&s, &out, &err, "revoke", "rule", "x", "--for", "8h", "--reason", "over"),
		  CLI_DENIED);
	CHECK_STR(out, "");
	CHECK_STR(err, "bailiwick revoke: no rule is called x\n");
	request = request_text(&s);
	CHECK_CONTAINS(request, "\"args\":{\"kind\":\"rule\",\"name\":\"x\",\"reason\":\"over\","
				"\"for_s\":28800}");
}

TEST(findings_of_the_agent_are_printed_like_those_of_check)
{
	CLEANUP(server_done) struct server s = {0};
	CLEANUP(freep) char *out = NULL;
	CLEANUP(freep) char *err = NULL;

	server_start(&s, test_dir(),
		     "{\"version\":1,\"ok\":false,\"exit\":3,\"error\":\"refused\",\"findings\":"
		     "[{\"file\":\"a.yaml\",\"line\":3,\"column\":4,\"message\":\"bad\","
		     "\"advice\":\"good\"}]}\n");
	CHECK_INT(COMMAND(&s, &out, &err, "rollback"), CLI_DENIED);
	CHECK_CONTAINS(err, "a.yaml:3:4: bad; good\n");
	CHECK_CONTAINS(err, "bailiwick rollback: refused\n");
}

static void check_broken(const char *reply, const char *part)
{
	CLEANUP(server_done) struct server s = {0};
	CLEANUP(freep) char *out = NULL;
	CLEANUP(freep) char *err = NULL;

	server_start(&s, test_dir(), reply);
	CHECK_INT(COMMAND(&s, &out, &err, "status"), CLI_FAILED);
	CHECK_STR(out, "");
	CHECK_CONTAINS(err, part);
}

TEST(a_broken_reply_is_an_error_and_prints_nothing)
{
	check_broken("", "closed the connection in the middle");
	check_broken("{\"version\":1", "closed the connection in the middle");
	check_broken("{\"version\":1,\"ok\":true}\n", "neither a result nor an error");
	check_broken("{\"version\":1,\"ok\":true,\"ok\":true}\n", "reply of the agent:1:");
	check_broken("no json\n", "reply of the agent:1:");
	check_broken("[]\n", "neither a result nor an error");
	check_broken("{\"version\":1,\"ok\":true,\"exit\":0,\"result\":[1]}\n",
		     "neither a result nor an error");
}

TEST(without_an_agent_the_error_says_where_it_looked_and_what_to_do)
{
	struct server s = {0};
	CLEANUP(freep) char *out = NULL;
	CLEANUP(freep) char *err = NULL;

	(void)snprintf(s.dir, sizeof(s.dir), "%s", test_dir());
	CHECK_INT(COMMAND(&s, &out, &err, "status"), CLI_FAILED);
	CHECK_CONTAINS(err, "the agent is not running here");
	CHECK_CONTAINS(err, s.dir);
	CHECK_CONTAINS(err, "/control.sock");
	CHECK_CONTAINS(err, "systemctl start bailiwickd");
}

/* sun_path has room for 107 bytes only. */
TEST(a_long_run_directory_works_too)
{
	CLEANUP(server_done) struct server s = {0};
	CLEANUP(freep) char *out = NULL;
	CLEANUP(freep) char *err = NULL;
	char dir[256];

	(void)snprintf(dir, sizeof(dir), "%s/%0120d", test_dir(), 0);
	CHECK(mkdir(dir, 0700) == 0);
	server_start(&s, dir, "{\"version\":1,\"ok\":true,\"exit\":0,\"result\":{}}\n");
	CHECK_INT(COMMAND(&s, &out, &err, "flows"), CLI_OK);
	CHECK_STR(out, "0 flows.\n");
}

TEST(watch_prints_records_and_ends_when_the_agent_closes)
{
	CLEANUP(server_done) struct server s = {0};
	CLEANUP(freep) char *out = NULL;
	CLEANUP(freep) char *err = NULL;

	server_start(&s, test_dir(),
		     "{\"time\":\"2026-11-21T14:02:11Z\",\"decision\":\"denied\",\"reason\":"
		     "\"no_rule\",\"service\":\"tcp/1\"}\n"
		     "{\"time\":\"2026-11-21T14:02:12Z\",\"decision\":\"allowed\"}\n{\"cut\":");
	CHECK_INT(COMMAND(&s, &out, &err, "watch"), CLI_OK);
	CHECK_CONTAINS(out, "14:02:11 denied ");
	CHECK_CONTAINS(out, "\n14:02:12 allowed ");
	CHECK_STR(err, "");
}

TEST(watch_as_json_passes_lines_on_unchanged)
{
	CLEANUP(server_done) struct server s = {0};
	CLEANUP(freep) char *out = NULL;
	CLEANUP(freep) char *err = NULL;

	server_start(&s, test_dir(), "{ \"a\": 1 }\n{\"b\":2}\n");
	CHECK_INT(COMMAND(&s, &out, &err, "watch", "-o", "json"), CLI_OK);
	CHECK_STR(out, "{ \"a\": 1 }\n{\"b\":2}\n");
}

TEST(watch_refused_is_an_error)
{
	CLEANUP(server_done) struct server s = {0};
	CLEANUP(freep) char *out = NULL;
	CLEANUP(freep) char *err = NULL;

	server_start(&s, test_dir(),
		     "{\"version\":1,\"ok\":false,\"exit\":1,\"error\":\"not permitted\"}\n");
	CHECK_INT(COMMAND(&s, &out, &err, "watch"), CLI_FAILED);
	CHECK_STR(err, "bailiwick watch: not permitted\n");
}

static int end_by_signal(void *user, const char *line, size_t len)
{
	(void)user;
	(void)line;
	(void)len;
	return raise(SIGINT);
}

TEST(a_stream_ends_cleanly_on_sigint)
{
	int fds[2];
	struct err err = {0};

	CHECK(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, fds) == 0);
	CHECK(write(fds[1], "{}\n", 3) == 3);
	CHECK_INT(client_stream(fds[0], end_by_signal, NULL, &err), 0);
	(void)close(fds[0]);
	(void)close(fds[1]);
}

TEST(a_stream_line_above_the_limit_is_refused)
{
	CLEANUP(freep) char *line = mem_calloc(1, CLIENT_LINE_MAX + 2);
	int fds[2];
	struct err err = {0};
	pid_t pid;

	CHECK(line != NULL);
	memset(line, 'x', CLIENT_LINE_MAX + 1);
	CHECK(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, fds) == 0);
	pid = fork();
	if (pid == 0) {
		(void)alarm(20);
		(void)close(fds[0]);
		for (size_t done = 0; done < CLIENT_LINE_MAX + 1;) {
			ssize_t n =
				send(fds[1], line + done, CLIENT_LINE_MAX + 1 - done, MSG_NOSIGNAL);

			if (n <= 0)
				break;
			done += (size_t)n;
		}
		_exit(0);
	}
	(void)close(fds[1]);
	CHECK_INT(client_stream(fds[0], end_by_signal, NULL, &err), -E2BIG);
	CHECK_CONTAINS(err.text, "1048576");
	(void)close(fds[0]);
	(void)waitpid(pid, NULL, 0);
}

OOM_TEST(a_reply_is_decoded_or_out_of_memory)
{
	static const char text[] = "{\"version\":1,\"ok\":false,\"exit\":1,\"error\":\"x\","
				   "\"findings\":[{\"a\":1}]}";
	CLEANUP(reply_done) struct reply reply = {0};

	int r = reply_decode(text, sizeof(text) - 1, &reply, NULL);

	/* See json_parse_strict(): refused either way. */
	return mem_has_failed() && r == -EBADMSG ? -ENOMEM : r;
}
