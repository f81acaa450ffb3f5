#!/usr/bin/env bash
# A private RabbitMQ node for tests. Starts one in a new folder, prints "ready PORT", then obeys the commands on its
# standard input, each answered by a line "ok" or "failed". At the end of the input, that is when the test process has
# ended, however it did, the node is destroyed with its folder.
#
# Never touches the system's node: own folder, cookie, ports, and an own epmd.
set -uo pipefail

sbin() { # The scripts behind Debian's wrapper, which insists on root and on the system's node.
    local dir
    for dir in ${RABBITMQ_SBIN:-} /usr/lib/rabbitmq/lib/rabbitmq_server-*/sbin /opt/rabbitmq/sbin /usr/local/sbin; do
        [[ -x $dir/rabbitmq-server && -e $dir/rabbitmq-env ]] && echo "$dir" && return
    done
    echo "RabbitMQ is not installed: ./test installs it, or: apt-get install rabbitmq-server" >&2
    return 1
}
sbin=$(sbin) || exit 1

free_port() { # Below the ephemeral range, so that no client socket takes it in between.
    local port
    while port=$((10000 + (RANDOM * 32768 + RANDOM) % 22000)); do
        (exec 3<>"/dev/tcp/127.0.0.1/$port") 2>/dev/null || break
    done
    echo "$port"
}

dir=$(mktemp -d "${TMPDIR:-/tmp}/warren-rabbitmq.XXXXXX")
port=$(free_port) distribution=$(free_port)
mkdir "$dir"/{mnesia,log,conf.d,gen}
(umask 077 && head -c 24 /dev/urandom | od -An -tx1 | tr -d ' \n' >"$dir/.erlang.cookie")
echo '[].' >"$dir/enabled_plugins"
echo '[].' >"$dir/advanced.config"
: >"$dir/rabbitmq-env.conf"
cat >"$dir/rabbitmq.conf" <<END
listeners.tcp.1 = 127.0.0.1:$port
vm_memory_high_watermark.absolute = 1GB
disk_free_limit.absolute = 100MB
raft.wal_max_size_bytes = 16000000
log.console = true
log.console.level = warning
log.file = false
END
export HOME=$dir ERL_EPMD_ADDRESS=127.0.0.1 ERL_EPMD_PORT
ERL_EPMD_PORT=$(free_port)
export RABBITMQ_NODENAME=warren$$@localhost RABBITMQ_USE_LONGNAME=false
export RABBITMQ_NODE_IP_ADDRESS=127.0.0.1 RABBITMQ_NODE_PORT=$port RABBITMQ_DIST_PORT=$distribution
export RABBITMQ_CTL_DIST_PORT_MIN=$((distribution + 1)) RABBITMQ_CTL_DIST_PORT_MAX=$((distribution + 50))
export RABBITMQ_MNESIA_BASE=$dir/mnesia RABBITMQ_LOG_BASE=$dir/log RABBITMQ_LOGS=-
export RABBITMQ_CONF_ENV_FILE=$dir/rabbitmq-env.conf RABBITMQ_CONFIG_FILE=$dir/rabbitmq.conf
export RABBITMQ_CONFIG_FILES=$dir/conf.d RABBITMQ_ADVANCED_CONFIG_FILE=$dir/advanced.config
export RABBITMQ_GENERATED_CONFIG_DIR=$dir/gen RABBITMQ_ENABLED_PLUGINS_FILE=$dir/enabled_plugins RABBITMQ_PID_FILE=$dir/pid
unset NOTIFY_SOCKET RABBITMQ_NODE_ONLY
broker=

start() {
    # RUNNING_UNDER_SYSTEMD makes the script exec the broker, so that $! is the broker itself; a session of its own
    # keeps Ctrl-C for the tests away from it.
    (cd "$dir" && RUNNING_UNDER_SYSTEMD=true exec setsid "$sbin/rabbitmq-server") >>"$dir/console.log" 2>&1 </dev/null &
    broker=$!
    local tries
    for ((tries = 0; tries < 900; tries++)); do
        answers && return
        kill -0 "$broker" 2>/dev/null || break
        sleep 0.1
    done
    echo "the broker did not start:" >&2
    tail -n 40 "$dir/console.log" >&2
    return 1
}

answers() { # The first byte of the broker's connection.start.
    timeout 2 bash -c 'exec 3<>"/dev/tcp/127.0.0.1/$1" && printf "AMQP\0\0\11\1" >&3 && head -c 1 <&3 | od -An -tx1' _ "$port" 2>/dev/null |
        grep -q 01
}

kill9() {
    kill -9 "$broker" && wait "$broker" 2>/dev/null
    broker=
}

stop() {
    kill -TERM "$broker" && wait "$broker" 2>/dev/null
    broker=
}

ctl() {
    "$sbin/rabbitmqctl" --quiet "$@" >>"$dir/ctl.log" 2>&1 </dev/null || { tail -n 20 "$dir/ctl.log" >&2 && false; }
}

# Virtual hosts t$1 to t$2 for the user guest, in one call: each call starts a virtual machine.
add_vhosts() {
    ctl eval "[begin V = iolist_to_binary([\"t\", integer_to_list(I)]), rabbit_vhost:add(V, <<\"tests\">>),
        rabbit_auth_backend_internal:set_permissions(<<\"guest\">>, V, <<\".*\">>, <<\".*\">>, <<\".*\">>, <<\"tests\">>)
        end || I <- lists:seq($1, $2)]."
}

destroy() {
    trap - EXIT
    [[ -n $broker ]] && kill -9 "$broker" 2>/dev/null && wait "$broker" 2>/dev/null
    epmd -port "$ERL_EPMD_PORT" -kill >/dev/null 2>&1
    rm -rf "$dir"
}
trap destroy EXIT
trap '' INT HUP TERM

start || exit 1
echo "ready $port"
while read -r -a command; do
    case ${command[0]} in
        start) start ;;
        kill9) kill9 ;;
        stop) stop ;;
        pause) kill -STOP "$broker" ;;
        resume) kill -CONT "$broker" ;;
        # A broker that is killed soon after its first stream or quorum queue was declared would not know them any more.
        sync) ctl eval '[dets:sync(Table) || Table <- dets:all()].' ;;
        vhosts) add_vhosts "${command[1]}" "${command[2]}" ;;
        policy) ctl set_policy --vhost "${command[1]}" --apply-to queues tests "${command[2]}" "${command[3]}" ;;
        memory) ctl set_vm_memory_high_watermark "${command[@]:1}" ;;
        disconnect) ctl close_all_connections --vhost "${command[1]}" "by a test" ;;
        *) false ;;
    esac && echo ok || echo failed
done
