# SPDX-License-Identifier: GPL-3.0-or-later
# UC-31 UC-47 UC-49 UC-11 UC-34: one host, one user, several tasks; the task decides.
. "$(dirname "$0")/lib.sh"

host_add ci-1 31
host_add prod-1 41
place prod/ci/deploy ci-1
place prod/ci/build ci-1
place prod/ai/retrieval ci-1
place prod/ai/execution ci-1
place prod/target prod-1
place prod/tickets prod-1
views
{
	printf 'trust_domain: acme.example\nidentities:\n'
	identity deploy prod/ci/deploy deploy.service
	identity build prod/ci/build build.service
	printf '  - {name: retrieval, path: prod/ai/retrieval, '
	printf 'workload: [{unit: retrieval.service, user: "1001"}]}\n'
	identity execution prod/ai/execution execution.service
	identity target prod/target target.service tcp/22
	identity tickets prod/tickets tickets.service tcp/443
	printf 'rules:\n'
	rule deploys deploy target tcp/22
	rule reads retrieval tickets tcp/443
	rule acts execution target tcp/22
} | policy
agent_config ci-1 enforce
agents_start ci-1 prod-1
apply_all
TARGET=${ADDR4[prod-1]}
serve target prod-1 target.service 22
serve tickets prod-1 tickets.service 443
as() { run -u 1001 ci-1 "$1" traffic tcp-client "$TARGET" "$2" --timeout $PATIENCE; }
expect "the deploy job reaches production (UC-31)" $DONE as deploy.service 22
expect "the build job of the same user does not (UC-31, UC-47)" $REFUSED as build.service 22
expect "the agent may read (UC-49)" $DONE as retrieval.service 443
expect "its retrieval identity may not act (UC-49, UC-11)" $REFUSED as retrieval.service 22
expect "its execution identity may act" $DONE as execution.service 22
expect "and may not read" $REFUSED as execution.service 443
expect "the unit without the user is nobody's (UC-34)" $REFUSED run ci-1 retrieval.service \
	traffic tcp-client "$TARGET" 22 --timeout $PATIENCE
finish_tests
