# SPDX-License-Identifier: GPL-3.0-or-later
# UC-10: nginx, curl, socat and ping, IPv4 and IPv6, as themselves.
. "$(dirname "$0")/lib.sh"

usual <<END
$(rule settlement-calls-api settlement api 'tcp/8443, udp/9000, tcp/9000')
$(rule settlement-pings settlement api 'icmp/echo, icmpv6/echo')
END
mkdir -p "$WORK/www"
head -c 3000000 /dev/urandom >"$WORK/www/large"
echo 'transfer accepted' >"$WORK/www/index.html"
chmod 755 "$WORK" "$WORK/www"
cat >"$WORK/nginx.conf" <<END
daemon off; master_process on; worker_processes 2; pid $WORK/nginx.pid; error_log $WORK/nginx.log;
events { worker_connections 256; }
http {
	access_log off; client_body_temp_path $WORK/a; proxy_temp_path $WORK/b;
	fastcgi_temp_path $WORK/c; uwsgi_temp_path $WORK/d; scgi_temp_path $WORK/e;
	server { listen 8443; listen [::]:8443; root $WORK/www; }
}
END
start nginx api-1 api.service nginx -c "$WORK/nginx.conf"
start socat api-1 api.service socat TCP6-LISTEN:9000,fork,reuseaddr EXEC:cat
start socat-udp api-1 api.service socat -T 5 UDP6-RECVFROM:9000,fork EXEC:cat
listens() { at api-1 ss -Hltn "sport = $1" | grep -q .; }
receives() { at api-1 ss -Huln "sport = $1" | grep -q .; }
wait_for 10 listens 8443 && wait_for 10 listens 9000 && wait_for 10 receives 9000 ||
	fail "set-up" "the servers do not listen"
fetch() { run pay-1 "$1" curl -sS --max-time 60 -o "$3" "$2"; }
for url in "http://$API:8443" "http://[$API_6]:8443"; do
	expect "curl in settlement.service, $url" 0 fetch settlement.service "$url/" "$WORK/got"
	same "gets the page" "$(cat "$WORK/got")" 'transfer accepted'
	expect "and a large file" 0 fetch settlement.service "$url/large" "$WORK/large"
	check "whole" cmp "$WORK/large" "$WORK/www/large"
	expect "curl in backup.service is refused (curl's 7)" 7 \
		fetch backup.service "$url/" /dev/null
done
expect "ten at once" 0 run pay-1 settlement.service \
	curl -sS --max-time 60 --parallel "http://$API:8443/large?[1-10]" -o "$WORK/par#1"
same "socat speaks" \
	"$(echo hello | run pay-1 settlement.service socat -t 5 -T 5 - "TCP4:$API:9000")" hello
same "socat in backup does not" \
	"$(echo hello | run pay-1 backup.service socat -T 1 - "TCP4:$API:9000" 2>/dev/null)" ""
same "socat by datagrams" \
	"$(echo hello | run pay-1 settlement.service socat -t 5 -T 5 - "UDP4:$API:9000")" hello
expect "ping" 0 run pay-1 settlement.service ping -c 3 -i 0.2 -W 5 "$API"
expect "ping -6" 0 run pay-1 settlement.service ping -6 -c 3 -i 0.2 -W 5 "$API_6"
expect "ping with fragments" 0 run pay-1 settlement.service ping -c 1 -s 20000 -W 5 "$API"
status_of run pay-1 backup.service ping -c 1 -W 1 "$API"
same "ping in backup.service gets nothing" $(($? != 0)) 1
finish_tests
