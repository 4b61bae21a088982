#!/bin/sh
# Development secrets for deploy/compose.yaml, new ones each time: deploy/compose/secrets.sh > .env
set -eu
for name in POSTGRES_PASSWORD REFERRAL_PASSWORD DISTRIBUTION_PASSWORD PAYOUT_PASSWORD SCORE_PASSWORD LEADERBOARD_PASSWORD \
  FINGERPRINT_KEY RISK_HASH_KEY PSEUDONYM_KEY ADDRESS_KEY NOWPAYMENTS_API_KEY NOWPAYMENTS_IPN_SECRET JWT_HS256_SECRET GRAFANA_PASSWORD; do
  printf '%s=%s\n' "$name" "$(od -An -N32 -tx1 /dev/urandom | tr -d ' \n')"
done
