#!/bin/sh
# A schema and a role for each service; no other service's role can read it. Passwords: X_PASSWORD. Run once, by the superuser.
set -eu
psql -v ON_ERROR_STOP=1 --username "$POSTGRES_USER" --dbname "$POSTGRES_DB" <<SQL
REVOKE ALL ON DATABASE "$POSTGRES_DB" FROM PUBLIC;
REVOKE ALL ON SCHEMA public FROM PUBLIC;
SQL
for service in referral distribution payout score leaderboard; do
  password=$(printenv "$(echo "$service" | tr a-z A-Z)_PASSWORD")
  psql -v ON_ERROR_STOP=1 -v password="$password" --username "$POSTGRES_USER" --dbname "$POSTGRES_DB" <<SQL
CREATE ROLE $service LOGIN PASSWORD :'password';
ALTER ROLE $service SET search_path = $service;
GRANT CONNECT, TEMPORARY ON DATABASE "$POSTGRES_DB" TO $service;
CREATE SCHEMA $service AUTHORIZATION $service;
SQL
done
