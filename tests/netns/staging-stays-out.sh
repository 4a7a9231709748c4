# SPDX-License-Identifier: GPL-3.0-or-later
# UC-48 UC-20 UC-41 UC-44: a leaked token of staging does not open production: refused at the
# database's host, whatever the caller's host does; and policy cannot join the two by mistake.
. "$(dirname "$0")/lib.sh"

host_add stg-1 31 # without an agent: a host that protects nothing
host_add app-1 32
host_add db-1 41
place staging/orders/api stg-1
place prod/orders/api app-1
place prod/orders/db db-1
place staging/orders/api app-1
views
people() {
	printf 'trust_domain: acme.example\nidentities:\n'
	identity stg-api staging/orders/api stg-api.service '' 'labels: [environment=staging]'
	identity orders-api prod/orders/api orders.service '' 'labels: [environment=prod]'
	identity orders-db prod/orders/db db.service tcp/5432 'labels: [environment=prod]'
	printf 'separations:\n  - {label: environment}\nrules:\n'
	rule orders-use-db orders-api orders-db tcp/5432
}
people | policy
agents_start app-1 db-1
apply_all
DB=${ADDR4[db-1]}
serve db db-1 db.service 5432
connects "production reaches its database" app-1 orders.service "$DB" 5432
no_answer "staging, with the same token, does not (UC-48)" stg-1 stg-api.service "$DB" 5432
refused "not even from production's own host" app-1 stg-api.service "$DB" 5432
same "the database has seen one caller" "$(said db | grep -c '^accepted')" 1
{ people; rule mistake stg-api orders-db tcp/5432; } | policy
status_of bailiwick check "$WORK/policy"
same "a rule that joins the two is refused (UC-20, UC-41)" $? 3
like "and named" "$SAID" 'environment'
exception='{rule: mistake, reason: test, owner: tests, expires: 2099-01-01T00:00:00Z}'
{
	people | sed "s/{label: environment}/{label: environment, except: [$exception]}/"
	rule mistake stg-api orders-db tcp/5432
} | policy
status_of bailiwick check "$WORK/policy"
same "an exception with owner and end is needed" $? 0
finish_tests
