# SPDX-License-Identifier: GPL-3.0-or-later
# UC-12: containers in the host's network namespace are identities: by their place in the cgroup
# tree, as the runtimes lay it out; a container that makes a child cgroup of another one's name is
# still itself.
. "$(dirname "$0")/lib-attest.sh"

id() { printf '%064d' "$1" | tr 0-9 a-j | tr g-j 0-3; }
A=$(id 1) B2=$(id 2)
POD=0f6c1a3e-4b1d-4d0c-9a55-0123456789ab
policy_head() {
	printf 'trust_domain: acme.example\nidentities:\n'
	printf '  - {name: %s, path: %s, workload: [%s]}\n' settlement prod/payments/settlement \
		"{container: $A}" backup prod/payments/backup "{pod: $POD}"
	identity cache prod/payments/cache cache.service
	identity api prod/payments/api api.service 'tcp/8443, tcp/9000'
	printf 'rules:\n'
}
attest_host pay-1 observe
attest_usual <<END
$(attested container-calls-api settlement api tcp/8443)
$(attested pod-calls-api backup api tcp/9000)
END
serve api api-1 api.service 8443
serve api-2 api-1 api.service 9000
pod_slice=kubepods-burstable-pod${POD//-/_}.slice
# Whose it is, cgroup below the host's root
for place in "system.slice/docker-$A.scope" "docker/$A" "machine.slice/libpod-$A.scope/container" \
	"system.slice/cri-containerd-$A.scope" "system.slice/crio-$A.scope" \
	"kubepods.slice/kubepods-besteffort.slice/cri-containerd-$A.scope"; do
	connects "container at ${place//$A/ID}" pay-1 "$place" "$API" 8443
done
recorded "the called host's record names the container" api-1 \
	".decision == \"allowed\" and .evidence.container_id == \"$A\""
for place in "kubepods.slice/kubepods-burstable.slice/$pod_slice/cri-containerd-$B2.scope" \
	"kubepods/burstable/pod$POD/$B2"; do
	connects "pod at ${place//$B2/ID}" pay-1 "$place" "$API" 9000
done
recorded "and the pod" api-1 ".decision == \"allowed\" and .evidence.pod_uid == \"$POD\""
for place in "system.slice/docker-$B2.scope" "system.slice/docker-$B2.scope/docker-$A.scope" \
	"system.slice/evil.service/docker-$A.scope" "system.slice/evil.service/docker/$A" \
	"user.slice/user-1000.slice/user@1000.service/docker-$A.scope" \
	"system.slice/libpod-conmon-$A.scope" "system.slice/docker-${A%?}.scope"; do
	expect "not at ${place//$A/ID}" $REFUSED run pay-1 "$place" \
		traffic tcp-client "$API" 8443 --timeout $PATIENCE
done
finish_tests
