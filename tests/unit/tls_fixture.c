/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "tests/unit/tls_fixture.h"

#include "base/mem.h"
#include "controller-client/svid.h"
#include "tests/unit/test.h"

#include <arpa/inet.h>
#include <netinet/in.h>
#include <openssl/ssl.h>
#include <openssl/x509.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#define BACKDATE_S  300
#define LIFE_S      3600
#define REQUEST_MAX 4096

static X509 *certificate(struct cert_spec spec, EVP_PKEY *key, X509 *issuer, EVP_PKEY *issuer_key)
{
	spec.from = wall_now().s - FIXTURE_NOW.s - BACKDATE_S;
	spec.to = wall_now().s - FIXTURE_NOW.s + LIFE_S;
	return fixture_cert(&spec, key, issuer, issuer_key);
}

static void pin_of(EVP_PKEY *key, char ret[SHA256_HEX_LEN])
{
	unsigned char *der = NULL;
	uint8_t digest[SHA256_LEN];
	int len = i2d_PUBKEY(key, &der);

	CHECK(len > 0 && sha256(der, (size_t)len, digest) == 0);
	hex_format(digest, sizeof(digest), ret);
	OPENSSL_free(der);
}

static int listen_on(char url[64])
{
	struct sockaddr_in sa = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
	socklen_t len = sizeof(sa);
	int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);

	CHECK_INT(bind(fd, (const struct sockaddr *)&sa, sizeof(sa)), 0);
	CHECK_INT(listen(fd, 8), 0);
	CHECK_INT(getsockname(fd, (struct sockaddr *)&sa, &len), 0);
	(void)snprintf(url, 64, "https://127.0.0.1:%u", (unsigned)ntohs(sa.sin_port));
	return fd;
}

static void answer(SSL_CTX *ctx, int fd)
{
	static const char text[] = "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n"
				   "Connection: close\r\n\r\nok";
	SSL *ssl = SSL_new(ctx);
	char request[REQUEST_MAX];

	(void)SSL_set_fd(ssl, fd);
	if (SSL_accept(ssl) == 1 && SSL_read(ssl, request, sizeof(request)) > 0) {
		(void)SSL_write(ssl, text, sizeof(text) - 1);
		(void)SSL_shutdown(ssl);
	}
	SSL_free(ssl);
	(void)close(fd);
}

static _Noreturn void serve(SSL_CTX *ctx, int listener)
{
	(void)prctl(PR_SET_PDEATHSIG, SIGKILL);
	(void)signal(SIGPIPE, SIG_IGN);
	for (;;) {
		int fd = accept(listener, NULL, NULL);

		if (fd >= 0)
			answer(ctx, fd);
	}
}

void tls_fixture_start(struct tls_fixture *f, const struct cert_spec *spec)
{
	static const struct cert_spec ca_spec = CA_SPEC;
	EVP_PKEY *ca_key = fixture_key(), *key = fixture_key();
	X509 *ca = certificate(ca_spec, ca_key, NULL, NULL);
	X509 *leaf = certificate(*spec, key, ca, ca_key);
	struct stack_st_X509 *roots = fixture_stack(ca, NULL);
	SSL_CTX *ctx = SSL_CTX_new(TLS_server_method());
	struct err err = {{0}};
	int listener = listen_on(f->url);

	CHECK(ctx != NULL);
	CHECK_INT(SSL_CTX_use_certificate(ctx, leaf), 1);
	CHECK_INT(SSL_CTX_use_PrivateKey(ctx, key), 1);
	CHECK_INT(SSL_CTX_add1_chain_cert(ctx, ca), 1);
	pin_of(ca_key, f->pin);
	CHECK_OK(svid_chain_pem(roots, &f->ca_pem, &err), &err);
	f->pid = fork();
	CHECK(f->pid >= 0);
	if (f->pid == 0)
		serve(ctx, listener);
	(void)close(listener);
	SSL_CTX_free(ctx);
	svid_chain_free(roots);
	X509_free(leaf);
	X509_free(ca);
	EVP_PKEY_free(key);
	EVP_PKEY_free(ca_key);
}

void tls_fixture_stop(struct tls_fixture *f)
{
	(void)kill(f->pid, SIGKILL);
	CHECK_INT(waitpid(f->pid, NULL, 0), f->pid);
	free(f->ca_pem);
}
