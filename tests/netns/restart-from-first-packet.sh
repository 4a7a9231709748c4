# SPDX-License-Identifier: GPL-3.0-or-later
# UC-10: a restarted service is a new cgroup with a new id; it is judged rightly from its first
# packet, at both ends, and in a storm of restarts too; nobody inherits a name by path alone.
. "$(dirname "$0")/lib.sh"

usual <<END
$(rule settlement-calls-api settlement api tcp/8443)
END
serve api api-1 api.service 8443
first() { run pay-1 settlement.service traffic tcp-client "$API" 8443 --timeout 900; }
rounds=8 right=0 wrong=0
for _ in $(seq $rounds); do
	unit_remove pay-1 settlement.service
	first >/dev/null && right=$((right + 1))
	unit_remove pay-1 backup.service
	run pay-1 backup.service traffic tcp-client "$API" 8443 --timeout 900 >/dev/null
	[ $? = $REFUSED ] || wrong=$((wrong + 1))
done
same "a restarted caller connects with its first SYN" "$right" "$rounds"
same "a restarted stranger never does" "$wrong" 0
right=0
for i in 1 2 3; do
	stop api
	unit_remove api-1 api.service
	serve api api-1 api.service 8443
	first >/dev/null && right=$((right + 1))
done
same "a restarted listener is reached with the first SYN" "$right" 3

# A delegated child that calls itself settlement.service is none: units are read from the root.
expect "a cgroup below another unit cannot take the name" $REFUSED run pay-1 \
	system.slice/backup.service/settlement.service traffic tcp-client "$API" 8443

storm=0
for i in $(seq 40); do
	start "storm-$i" pay-1 "storm-$i.service" traffic tcp-client "$API" 9 --timeout 1500
done
run pay-1 settlement.service traffic tcp-client "$API" 8443 --timeout 4000 >/dev/null || storm=1
for i in $(seq 40); do
	finish "storm-$i"
	unit_remove pay-1 "storm-$i.service"
done
same "a storm of new cgroups does not keep a service from starting" "$storm" 0
check "and the agent is well" agent_ready pay-1
finish_tests
