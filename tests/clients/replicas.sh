#!/usr/bin/env bash
# replicas.sh CONFIG: two gateways with this configuration, but for where they listen, on its store; the second one is killed
# over and over while uploads go through both.
#   ROUNDS       of each kind (6)
#   SEED         of the random choices
#   S3_ENDPOINT S3_ACCESS S3_SECRET S3_REGION   the first gateway, which runs already
#   STORE_ENDPOINT STORE_ACCESS STORE_SECRET STORE_REGION   the store, to see what is left in it
#   STORE_LACKS  as S3_LACKS of run.sh
. "$(dirname "$0")/gateway.sh"
finish() {
  status=$?
  [ "$status" = 0 ] || { echo "# the second gateway's last lines:" && tail -n 20 "$T/second.log" | cut -c1-400; }
  rm -rf "$T"
  exit "$status"
}
trap finish EXIT
: "${1:?the configuration}" "${S3_ENDPOINT:?}" "${STORE_ENDPOINT:?}"
port=$(free_port)
sed "s|^server:.*|server: {listen: \"127.0.0.1:$port\"}|" "$1" >"$T/second.yaml"
touch "$T/second.log"
export BIN PYTHONDONTWRITEBYTECODE=1 S3_ENDPOINT_2=http://127.0.0.1:$port REPLICA_LOG=$T/second.log S3_LACKS=${STORE_LACKS:-}
"$VENV/bin/python3" "$HERE/replicas.py" "${ROUNDS:-6}" "$T/second.yaml"
