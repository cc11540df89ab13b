# A PostgreSQL cluster of Debian's in a temporary folder, on 127.0.0.1, as an unprivileged user. To be sourced after lib.sh.
# shellcheck shell=bash
PG_BIN=$(find /usr/lib/postgresql -maxdepth 2 -name bin 2>/dev/null | sort -V | tail -n 1 || true)
P=$W/postgres
PORT=
# as_pg COMMAND...: postgres will not run as root
as_pg() {
  if [ "$(id -u)" = 0 ]; then
    (cd / && runuser -u postgres -- env "PATH=/usr/bin:/bin:$PG_BIN" "HOME=$P" "$@")
  else
    (cd / && env "PATH=/usr/bin:/bin:$PG_BIN" "HOME=$P" "$@")
  fi
}
psql() { as_pg psql --no-psqlrc --quiet --tuples-only --no-align --set ON_ERROR_STOP=1 --host "$P" --port "$PORT" postgres "$@"; }
free_port() { python3 -c 'import socket; s = socket.socket(); s.bind(("127.0.0.1", 0)); print(s.getsockname()[1])'; }

pg_prepare() {
  mkdir "$P"
  chmod 711 "$W"
  [ "$(id -u)" != 0 ] || chown postgres "$P"
  chmod 700 "$P"
  PORT=$(free_port)
}
# pg_start FOLDER
pg_start() { as_pg pg_ctl --pgdata "$1" --log "$1.log" --timeout 120 --wait start || { tail -n 20 "$1.log" && return 1; }; }
pg_stop() { as_pg pg_ctl --pgdata "$1" --mode "${2:-fast}" --wait stop; }
# pg_create FOLDER ARCHIVE_COMMAND
pg_create() {
  as_pg initdb --pgdata "$1" --username postgres --auth trust --no-sync --data-checksums
  as_pg tee -a "$1/postgresql.conf" <<C
listen_addresses = '127.0.0.1'
port = $PORT
unix_socket_directories = '$P'
fsync = off
max_wal_size = 256MB
archive_mode = on
archive_command = '$2'
archive_timeout = 30
C
  pg_start "$1"
}
pgbench() { as_pg pgbench --host "$P" --port "$PORT" --quiet "$@" postgres; }
pg_fill() {
  as_pg pgbench --host "$P" --port "$PORT" --quiet --initialize --scale "$([ "${BIG:-0}" = 1 ] && echo 40 || echo 5)" postgres
  # What cannot be compressed, in a file of its own.
  psql -c "create table noise as select i, sha512(i::text::bytea) || sha512((-i)::text::bytea) as bytes from generate_series(1, 150000) i"
}
pg_load() { as_pg pgbench --host "$P" --port "$PORT" --time 4 --client 2 postgres; }
# pg_sums: row counts and checksums of every table
pg_sums() {
  local table
  for table in pgbench_accounts pgbench_branches pgbench_tellers pgbench_history noise; do
    psql -c "select '$table', count(*), md5(string_agg(row, '' order by row)) from (select t::text as row from $table t) rows"
  done
}
# pg_ended FOLDER: replay is over, and the cluster can be written to
pg_ended() {
  for _ in $(seq 600); do
    [ "$(psql -c 'select pg_is_in_recovery()' 2>"$W/recovery")" != f ] || return 0
    sleep 0.1
  done
  tail -n 20 "$1.log"
  return 1
}
# Whatever clusters are there are stopped in the end.
pg_cleanup() {
  local pid
  for pid in "$P"/*/postmaster.pid; do
    [ ! -f "$pid" ] || pg_stop "$(dirname "$pid")" immediate >"$W/stop.log" 2>&1 || true
  done
}
