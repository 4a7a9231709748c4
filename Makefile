# SPDX-License-Identifier: GPL-3.0-or-later
#
# The whole build in one file: no configure, no recursion into folders. `make help` lists targets.
#
#   VARIANT=gcc|clang|san|fuzz   objects and programs go to build/VARIANT
#   O=DIR                        another build folder than build/
#   V=1                          show commands
#   WERROR=1                     warnings are errors
#   T=NAME                       only tests whose name contains NAME (check-* targets)
#   F=FILES                      only these files or folders (format)
#   DESTDIR, prefix, ...         where `make install` puts things

VARIANT ?= gcc
O ?= build
B := $(O)/$(VARIANT)

prefix ?= /usr/local
bindir ?= $(prefix)/bin
sbindir ?= $(prefix)/sbin
mandir ?= $(prefix)/share/man
docdir ?= $(prefix)/share/doc/bailiwick
sysconfdir ?= $(if $(filter /usr /usr/local,$(prefix)),/etc,$(prefix)/etc)
unitdir ?= $(prefix)/lib/systemd/system
sysusersdir ?= $(prefix)/lib/sysusers.d
tmpfilesdir ?= $(prefix)/lib/tmpfiles.d
sysctldir ?= $(prefix)/lib/sysctl.d
completiondir ?= $(prefix)/share/bash-completion/completions
INSTALL ?= install

ifeq ($(V),1)
Q :=
say = @:
else
Q := @
say = @printf '  %-8s %s\n'
endif

.DELETE_ON_ERROR:
.SUFFIXES:
# Without this make deletes objects it regards as intermediate after linking.
.SECONDARY:
.DEFAULT_GOAL := all

# ---------------------------------------------------------------------------------- packages

DEPS_BUILD := gcc libc6-dev make pkg-config libnftnl-dev libmnl-dev libnetfilter-queue-dev \
	libnetfilter-conntrack-dev libnetfilter-log-dev libsystemd-dev libjansson-dev libyaml-dev \
	libcyaml-dev libssl-dev libseccomp-dev libcap-ng-dev libcurl4-openssl-dev libmicrohttpd-dev \
	libgnutls28-dev libsqlite3-dev libarchive-dev libp11-kit-dev zlib1g-dev
DEPS_CHECK := libcunit1-dev clang libclang-rt-14-dev clang-format valgrind nftables iproute2 \
	iputils-ping conntrack socat nginx-light curl procps util-linux mandoc python3 jq git \
	openssl softhsm2 sqlite3 qemu-system-x86 mmdebstrap e2fsprogs binutils

PKGS := libnftnl libmnl libnetfilter_queue libnetfilter_conntrack libnetfilter_log libsystemd \
	jansson yaml-0.1 libcyaml libcrypto libssl libseccomp libcap-ng libcurl libmicrohttpd gnutls \
	sqlite3 libarchive p11-kit-1 zlib
PKGS_CHECK := cunit

# ------------------------------------------------------------------------------------- flags

compiler_gcc := gcc
compiler_clang := clang
compiler_san := clang
compiler_fuzz := clang
ifeq ($(origin CC),default)
CC := $(compiler_$(VARIANT))
endif
ifeq ($(CC),)
$(error VARIANT=$(VARIANT) is unknown; gcc, clang, san or fuzz would be right)
endif
AR ?= ar

WARNINGS := -Wall -Wextra -Wshadow -Wvla -Wundef -Wformat=2 -Wwrite-strings -Wcast-qual \
	-Wpointer-arith -Wstrict-prototypes -Wmissing-prototypes -Wold-style-definition \
	-Wimplicit-fallthrough -Wnull-dereference -Wconversion -Wno-sign-conversion
ifeq ($(WERROR),1)
WARNINGS += -Werror
endif

# Flags that some compiler or architecture does not know: each is tried once, see flags.mk.
DOUBTFUL := -fstack-clash-protection -fcf-protection=full -mbranch-protection=standard \
	-ftrivial-auto-var-init=zero -fno-strict-aliasing
HARDENING := -O2 -g -fstack-protector-strong -fno-common -D_FORTIFY_SOURCE=3
SANITIZE := -fsanitize=address,undefined -fno-sanitize-recover=all

variant_cflags_gcc := $(HARDENING)
variant_cflags_clang := $(HARDENING)
variant_cflags_san := -O1 -g -fno-omit-frame-pointer -fno-common $(SANITIZE)
variant_cflags_fuzz := -O1 -g -fno-omit-frame-pointer -fno-common $(SANITIZE) \
	-fsanitize=fuzzer-no-link
variant_ldflags_san := $(SANITIZE)
variant_ldflags_fuzz := $(SANITIZE)

CPPFLAGS += -D_GNU_SOURCE -I.
CFLAGS_ALL = -std=gnu17 $(WARNINGS) -fPIE $(variant_cflags_$(VARIANT)) $(FLAGS_PROBED) \
	$(PKG_CFLAGS) $(CFLAGS)
LDFLAGS_ALL = -pie -Wl,-z,relro,-z,now,-z,noexecstack,-z,separate-code -Wl,--as-needed \
	$(variant_ldflags_$(VARIANT)) $(LDFLAGS)

# Goals that must work before the packages are there read no flags.mk.
GOALS_BARE := check check-% deps demo help clean format golden fuzz-% install-data uninstall
ifneq ($(filter-out $(GOALS_BARE),$(or $(MAKECMDGOALS),all)),)
include $(B)/flags.mk
endif

$(B)/flags.mk: Makefile
	@mkdir -p $(@D)
	@pkg-config --exists --print-errors $(PKGS) $(PKGS_CHECK) || \
		{ echo "libraries are missing; 'make deps' installs them" >&2; exit 1; }
	@probed=; for flag in $(if $(filter gcc clang,$(VARIANT)),$(DOUBTFUL)); do \
		if echo 'int probe;' | \
			$(CC) -Werror $$flag -x c -c -o $@.probe - 2>/dev/null; then \
			probed="$$probed $$flag"; \
		fi; \
	done; rm -f $@.probe; \
	{ \
		echo "FLAGS_PROBED :=$$probed"; \
		echo "PKG_CFLAGS := $$(pkg-config --cflags $(PKGS) $(PKGS_CHECK))"; \
		echo "LIBS := $$(pkg-config --libs $(PKGS))"; \
		echo "LIBS_CHECK := $$(pkg-config --libs $(PKGS_CHECK))"; \
	} >$@.new && mv $@.new $@

# ----------------------------------------------------------------------------------- sources

objects = $(patsubst %.c,$(B)/%.o,$(1))
sources = $(sort $(wildcard $(1)))

SRCS_base := $(call sources,base/*.c)
SRCS_rules := $(call sources,rules/*.c)
SRCS_controller-client := $(call sources,controller-client/*.c)
SRCS_agent := $(filter-out agent/main.c,$(call sources,agent/*.c))
SRCS_cli := $(filter-out cli/main.c,$(call sources,cli/*.c))
SRCS_courier := $(filter-out courier/main.c,$(call sources,courier/*.c))
SRCS_controller := $(filter-out controller/main.c,$(call sources,controller/*.c))
SRCS_unit := $(call sources,tests/unit/*.c)
SRCS_tools := $(call sources,tests/tools/*.c)
SRCS_fuzz := $(call sources,tests/fuzz/fuzz_*.c)
SRCS_property := $(call sources,tests/property/*.c)
SRCS_bench := $(call sources,bench/*.c)

# Files of agent/ that the command may link: pure ones only, named here one by one.
CLI_AGENT_SRCS :=

LIBRARIES := base rules controller-client agent cli courier controller
library = $(patsubst %,$(B)/lib%.a,$(1))

DAEMON := $(if $(wildcard agent/main.c),$(B)/bailiwickd)
COMMAND := $(if $(wildcard cli/main.c),$(B)/bailiwick)
COURIER := $(if $(wildcard courier/main.c),$(B)/bailiwick-courier)
CONTROLLER := $(if $(wildcard controller/main.c),$(B)/bailiwick-controller)
UNIT_TESTS := $(B)/unit-tests
TOOLS := $(SRCS_tools:%.c=$(B)/%)
FUZZ := $(SRCS_fuzz:%.c=$(B)/%)
PROPERTY := $(if $(SRCS_property),$(B)/tests/property/property)
BENCH := $(SRCS_bench:%.c=$(B)/%)

OBJECTS := $(call objects,$(foreach l,$(LIBRARIES),$(SRCS_$(l))) $(SRCS_unit) $(SRCS_tools) \
	$(SRCS_fuzz) $(SRCS_property) $(SRCS_bench) tests/fuzz/replay.c agent/main.c cli/main.c \
	courier/main.c controller/main.c)

# ------------------------------------------------------------------------------------- build

.PHONY: all tests tools property replay
PROGRAMS := $(DAEMON) $(COMMAND) $(COURIER) $(CONTROLLER)
all: $(PROGRAMS)
tools: $(TOOLS)
property: $(PROPERTY)
replay: $(FUZZ)
tests: $(UNIT_TESTS) tools property replay

$(B)/%.o: %.c $(B)/flags.mk
	@mkdir -p $(@D)
	$(say) CC $<
	$(Q)$(CC) $(CPPFLAGS) $(CFLAGS_ALL) -MMD -MP -c -o $@ $<

define library_rule
$(B)/lib$(1).a: $(call objects,$(SRCS_$(1)))
	$$(say) AR $$@
	$$(Q)rm -f $$@ && $$(AR) rcs $$@ $$^
endef
$(foreach l,$(LIBRARIES),$(eval $(call library_rule,$(l))))

link = $(Q)$(CC) $(CFLAGS_ALL) $(LDFLAGS_ALL) -o $@ $(filter %.o %.a,$^) $(LIBS)

$(B)/bailiwickd: $(B)/agent/main.o $(call library,agent controller-client rules base)
	$(say) LINK $@
	$(link)

$(B)/bailiwick: $(B)/cli/main.o $(call library,cli) $(call objects,$(CLI_AGENT_SRCS)) \
		$(call library,controller-client rules base)
	$(say) LINK $@
	$(link)

$(B)/bailiwick-courier: $(B)/courier/main.o $(call library,courier controller-client rules base)
	$(say) LINK $@
	$(link)

$(B)/bailiwick-controller: $(B)/controller/main.o \
		$(call library,controller cli controller-client rules base)
	$(say) LINK $@
	$(link)

# Who comes first may use what the others define, never the other way round. The controller's verbs
# are made of what the command's are.
$(UNIT_TESTS): $(call objects,$(SRCS_unit)) \
		$(call library,controller cli courier agent controller-client rules base)
	$(say) LINK $@
	$(link) $(LIBS_CHECK)

# Test tools stand outside the product: they need nothing of the agent. But one is its nftables back
# end by hand, and two speak with it in its own frames.
TOOLS_NFT := $(B)/tests/tools/table_load
TOOLS_PEER := $(B)/tests/tools/ask_peer $(B)/tests/tools/hostile_peer
$(filter-out $(TOOLS_NFT) $(TOOLS_PEER),$(TOOLS)): $(B)/%: $(B)/%.o $(call library,controller-client rules base)
	$(say) LINK $@
	$(link)

$(TOOLS_NFT): $(B)/%: $(B)/%.o $(call objects,$(sort $(wildcard agent/nft*.c))) \
		$(call library,controller-client rules base)
	$(say) LINK $@
	$(link)

$(TOOLS_PEER): $(B)/%: $(B)/%.o $(call objects,agent/peer_frame.c) \
		$(call library,controller-client rules base)
	$(say) LINK $@
	$(link)

# One program of all files; tests/property/*.sh run it.
$(PROPERTY): $(call objects,$(SRCS_property)) $(call library,agent controller-client rules base)
	$(say) LINK $@
	$(link)

$(BENCH): $(B)/%: $(B)/%.o $(call library,controller cli agent controller-client rules base)
	$(say) LINK $@
	$(link)

# With libFuzzer main comes from the compiler; otherwise replay.c feeds the corpus.
$(FUZZ): $(B)/%: $(B)/%.o $(if $(filter fuzz,$(VARIANT)),,$(B)/tests/fuzz/replay.o) \
		$(call library,controller cli agent controller-client rules base)
	$(say) LINK $@
	$(link) $(if $(filter fuzz,$(VARIANT)),-fsanitize=fuzzer)

-include $(OBJECTS:.o=.d)

# ------------------------------------------------------------------------------------ checks

# tests/run builds what a suite needs, runs it, prints one line per test and the counts last.
RUN = $(Q)MAKE='$(MAKE)' O='$(O)' VARIANT='$(VARIANT)' T='$(T)' WERROR='$(WERROR)' bash tests/run

SUITES := runner build unit oom golden netns property vm san valgrind format headers layers size words man

.PHONY: deps check demo $(SUITES:%=check-%) check-fuzz golden bench lint format help clean install

check: deps
	$(RUN) all

$(SUITES:%=check-%) check-fuzz:
	$(RUN) $(@:check-%=%)

deps:
	$(Q)missing=; for package in $(DEPS_BUILD) $(DEPS_CHECK); do \
		dpkg-query -W -f '$${Status}' $$package 2>/dev/null | grep -q 'ok installed' || \
			missing="$$missing $$package"; \
	done; \
	if [ -n "$$missing" ]; then \
		echo "installing:$$missing"; \
		export DEBIAN_FRONTEND=noninteractive; \
		apt-get update -qq && \
		apt-get install -y -qq --no-install-recommends $$missing >/dev/null; \
	fi

demo: deps
	$(Q)$(MAKE) --no-print-directory all tools
	$(Q)B='$(abspath $(B))' bash examples/demo.sh

golden:
	$(Q)GOLDEN_UPDATE=1 MAKE='$(MAKE)' O='$(O)' VARIANT='$(VARIANT)' T='$(T)' bash tests/run golden

bench: $(PROGRAMS) $(BENCH) $(TOOLS)
	$(Q)B='$(abspath $(B))' bash bench/run.sh

# make fuzz-policy [SECONDS=60]: libFuzzer on tests/fuzz/fuzz_policy.c, findings into the corpus.
SECONDS ?= 60
fuzz-%:
	$(Q)$(MAKE) --no-print-directory VARIANT=fuzz $(O)/fuzz/tests/fuzz/fuzz_$*
	$(Q)mkdir -p $(O)/fuzz/corpus/$* tests/fuzz/corpus/$*
	$(Q)$(O)/fuzz/tests/fuzz/fuzz_$* -max_total_time=$(SECONDS) -timeout=10 -rss_limit_mb=1024 \
		-artifact_prefix=$(O)/fuzz/ $(O)/fuzz/corpus/$* tests/fuzz/corpus/$*

LINT_SRCS := $(foreach l,$(LIBRARIES),$(SRCS_$(l)))
lint:
	$(Q)bash tests/house/lint $(LINT_SRCS)

# F: only these files or folders.
F ?= .
format:
	$(Q)find $(F) \( -path ./.git -o -path ./build \) -prune -o -name '*.[ch]' -print | \
		xargs -r clang-format -i

# ----------------------------------------------------------------------------------- install

install: all install-data
	$(INSTALL) -d $(DESTDIR)$(sbindir) $(DESTDIR)$(bindir)
	$(if $(DAEMON),$(INSTALL) -m 0755 $(DAEMON) $(DESTDIR)$(sbindir)/bailiwickd)
	$(if $(COMMAND),$(INSTALL) -m 0755 $(COMMAND) $(DESTDIR)$(bindir)/bailiwick)
	$(if $(COURIER),$(INSTALL) -m 0755 $(COURIER) $(DESTDIR)$(sbindir)/bailiwick-courier)
	$(if $(CONTROLLER),$(INSTALL) -m 0755 $(CONTROLLER) $(DESTDIR)$(sbindir)/bailiwick-controller)

# What is installed beside the programs, each as SOURCE=TARGET.
EXAMPLES := $(if $(wildcard examples/.),$(shell find examples -type f | LC_ALL=C sort))
UNITS := $(call sources,systemd/*.service systemd/*.socket systemd/*.timer systemd/*.slice)
into = $(foreach f,$(2),$(f)=$(1)/$(notdir $(f)))
DATA := $(foreach s,1 5 7 8,$(call into,$(mandir)/man$(s),$(call sources,man/*.$(s)))) \
	systemd/bailiwick.sysusers=$(sysusersdir)/bailiwick.conf \
	systemd/bailiwick.tmpfiles=$(tmpfilesdir)/bailiwick.conf \
	systemd/bailiwick.sysctl=$(sysctldir)/10-bailiwick.conf \
	$(call into,$(unitdir),$(UNITS)) \
	$(call into,$(completiondir),$(call sources,cli/completion/*)) \
	$(foreach f,$(EXAMPLES),$(f)=$(docdir)/$(f)) \
	$(call into,$(docdir),$(wildcard README.md ARCHITECTURE.md LICENSE))
target = $(DESTDIR)$(lastword $(subst =, ,$(1)))

define install_one
$(INSTALL) -D -m 0644 $(firstword $(subst =, ,$(1))) $(call target,$(1))

endef
define remove_one
rm -f $(call target,$(1))

endef

# On a system that runs, what a package's scripts do. Nothing is started, nothing is enforced.
RUNNING = [ -z '$(DESTDIR)' ] && [ -d /run/systemd/system ] && [ "$$(id -u)" = 0 ]

.PHONY: install-data uninstall
install-data:
	$(foreach d,$(DATA),$(call install_one,$(d)))
	@$(foreach f,$(notdir $(UNITS)),sed -i 's|@sbindir@|$(sbindir)|g' $(DESTDIR)$(unitdir)/$(f);) :
	$(INSTALL) -d -m 0755 $(DESTDIR)$(sysconfdir)/bailiwick
	@if $(RUNNING); then set -x; \
		systemd-sysusers $(sysusersdir)/bailiwick.conf && \
		systemd-tmpfiles --create $(tmpfilesdir)/bailiwick.conf && \
		/usr/lib/systemd/systemd-sysctl --prefix=/net/ipv4/ip_local_reserved_ports && \
		systemctl daemon-reload; \
	fi

# Keys, policy, users and the table in the kernel stay: nothing is opened by removing a program.
uninstall:
	@if $(RUNNING); then set -x; systemctl disable --now $(notdir $(UNITS)); fi
	rm -f $(DESTDIR)$(sbindir)/bailiwickd $(DESTDIR)$(bindir)/bailiwick \
		$(DESTDIR)$(sbindir)/bailiwick-courier $(DESTDIR)$(sbindir)/bailiwick-controller
	$(foreach d,$(DATA),$(call remove_one,$(d)))
	@if $(RUNNING); then systemctl daemon-reload; fi
	@echo 'left, with keys in them: /etc/bailiwick /var/lib/bailiwick* /var/cache/bailiwick-courier'
	@echo '      /var/log/bailiwick /run/bailiwick; the policy in force: nft delete table inet bailiwick'

clean:
	rm -rf $(O)

help:
	@echo 'all              the programs, in $(B)'
	@echo 'deps             install the packages that build and tests need (apt-get)'
	@echo 'demo             three hosts in network namespaces, real programs, a policy enforced'
	@echo 'check            everything below; installs what it needs first'
	@echo 'check-unit       unit tests: no root, no network, seconds'
	@echo 'check-oom        each allocation fails in turn'
	@echo 'check-golden     policies compile to the recorded rulesets; make golden renews them'
	@echo 'check-netns      real traffic between network namespaces (root)'
	@echo 'check-property   random policies: the kernel must agree with the oracle (root)'
	@echo 'check-vm         a stock Debian 12 and its kernel, emulated: the same scripts, systemd (root)'
	@echo 'check-fuzz       corpora replayed; make fuzz-NAME fuzzes with libFuzzer'
	@echo 'check-san        unit, allocation failure and corpora with ASan and UBSan'
	@echo 'check-valgrind   unit tests under valgrind'
	@echo 'check-build      gcc and clang without warnings'
	@echo 'check-runner     the test machinery itself'
	@echo 'check-format check-headers check-layers check-size check-words check-man   the house rules'
	@echo 'lint             gcc -fanalyzer, clang-tidy, cppcheck'
	@echo 'format           clang-format over all sources, or F=FILES'
	@echo 'bench            the table of figures, with baselines'
	@echo 'install uninstall clean help'
