#!/usr/bin/env bash
# The stack of docker-compose.yml for real: publish, search, scale the workers, kill one of them, and find every document
# all the while. It wants root and takes minutes, so it is no part of ./test.
#
#   tests/compose.sh [--programs DIR] [--docker-data DIR]
#
#   --programs DIR      takes the programs from there; otherwise they are built, into target/release
#   --docker-data DIR   keeps the images there, if no Docker engine runs and one has to be started; the next run is faster
#
# What it needs beside Rust: docker.io docker-compose mmdebstrap curl python3 zstd; it installs what is missing of these
# Debian packages. Where no image registry can be reached, deploy/stand-ins.sh makes the base images. What it has started
# it stops.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
export CARGO_TERM_COLOR=never COMPOSE_PROJECT_NAME=warren-compose-test WARREN_IMAGE=warren-compose-test
export SEARCH_URL=http://127.0.0.1:8080 DOCUMENTS=0
logs=target/test-logs/compose.log programs='' docker_data=''

while (($#)); do
    case $1 in
        --programs) programs=$(realpath "$2") && shift 2 ;;
        --docker-data) mkdir -p "$2" && docker_data=$(realpath "$2") && shift 2 ;;
        *) sed -n '2,/^set/s/^# \{0,1\}//p' "$0" >&2 && exit 2 ;;
    esac
done
((EUID == 0)) || { echo "tests/compose.sh wants root: Docker, mmdebstrap" >&2 && exit 2; }

folder=$(mktemp -d) dockerd='' searcher='' started=''

clean_up() {
    status=$?
    trap - EXIT
    [[ -z $searcher ]] || kill "$searcher" 2>/dev/null || true
    if [[ -n $started ]]; then
        mkdir -p "$(dirname "$logs")"
        docker-compose logs --no-color >"$logs" 2>&1 || true
        ((status == 0)) || { echo "of $logs:" && grep -E 'WARN|ERROR|worker: |panicked' "$logs" | tail -n 20; } || true
        docker-compose down --volumes --timeout 5 >"$folder/down.log" 2>&1 || cat "$folder/down.log"
        xargs --no-run-if-empty docker volume rm --force <"$folder/volumes" >/dev/null 2>&1 || true
        docker image rm --force "$WARREN_IMAGE" >/dev/null 2>&1 || true
    fi
    if [[ -n $dockerd ]]; then
        kill "$dockerd" || true
        wait "$dockerd" 2>/dev/null || true
    fi
    rm -rf "$folder"
    exit "$status"
}
trap clean_up EXIT

# step NAME COMMAND…: quiet if it succeeds. The command writes what is worth knowing to descriptor 3.
step() {
    local name=$1 start=$EPOCHREALTIME notes
    shift
    printf '%-46s' "$name"
    # Not in a condition: there, a failing command in the middle of a function would not end it.
    set +e
    (set -e; "$@") >"$folder/step.log" 2>&1 3>"$folder/notes"
    local status=$?
    set -e
    notes=$(tr '\n' ' ' <"$folder/notes")
    if ((status == 0)); then
        printf 'ok  %6.1f s  %s\n' "$(since "$start")" "$notes"
    else
        printf 'FAILED after %.1f s  %s\n' "$(since "$start")" "$notes"
        tail -n 60 "$folder/step.log"
        exit 1
    fi
}

since() { # since TIME: the seconds that have gone
    python3 -c "print($EPOCHREALTIME - $1)"
}

# until_true SECONDS COMMAND…
until_true() {
    local end=$((SECONDS + $1))
    shift
    until "$@"; do
        ((SECONDS < end)) || { echo "not in time: $*" && return 1; }
        sleep 0.2
    done
}

packages() {
    local missing=()
    command -v dockerd >/dev/null || missing+=(docker.io)
    command -v docker-compose >/dev/null || missing+=(docker-compose)
    command -v mmdebstrap >/dev/null || missing+=(mmdebstrap)
    command -v curl >/dev/null || missing+=(curl)
    command -v zstd >/dev/null || missing+=(zstd)
    ((${#missing[@]})) || return 0
    export DEBIAN_FRONTEND=noninteractive
    apt-get -q update
    apt-get -q install --yes --no-install-recommends "${missing[@]}"
    echo "installed ${missing[*]}" >&3
}

start_engine() {
    local data=${docker_data:-$folder/docker}
    dockerd --data-root "$data" --exec-root "$folder/exec" --pidfile "$folder/docker.pid" \
        --host "unix://$folder/docker.sock" >"$folder/dockerd.log" 2>&1 3>&- &
    dockerd=$!
    export DOCKER_HOST=unix://$folder/docker.sock
}

engine() {
    until_true 60 docker info || { tail -n 20 "$folder/dockerd.log" && return 1; }
    docker version --format '{{.Server.Version}}' >&3
}

ports() {
    for port in 5672 8080 8081; do
        if (exec 4<>"/dev/tcp/127.0.0.1/$port") 2>/dev/null; then
            echo "something listens on port $port already" && return 1
        fi
    done
}

has_image() { docker image inspect "$1" >/dev/null 2>&1 || timeout 60 docker pull --quiet "$1"; }

# Sets what the stack takes in place of the images that cannot be had.
base_images() {
    export RABBITMQ_IMAGE=rabbitmq:4 WARREN_RUNTIME=debian:bookworm-slim
    has_image rabbitmq:4 || RABBITMQ_IMAGE=warren-rabbitmq
    has_image debian:bookworm-slim || WARREN_RUNTIME=warren-runtime
    echo "export RABBITMQ_IMAGE=$RABBITMQ_IMAGE WARREN_RUNTIME=$WARREN_RUNTIME" >"$folder/images"
    for image in rabbitmq runtime; do
        if [[ $RABBITMQ_IMAGE$WARREN_RUNTIME == *warren-$image* ]] && ! docker image inspect "warren-$image" >/dev/null; then
            deploy/stand-ins.sh "$image"
        fi
    done
    echo "$RABBITMQ_IMAGE $WARREN_RUNTIME" >&3
}

build() {
    cargo build --release --locked --workspace --bins
}

# As the Dockerfile makes it, but with programs that are built already.
image() {
    local context=$folder/context
    mkdir "$context"
    cp "$programs"/{warren,producer,worker,query-service} "$context"
    # The stage behind the builder's.
    sed -n '/^FROM \${RUNTIME}/,$p' Dockerfile | sed 's|^COPY --from=builder /out/|COPY .|; 1i ARG RUNTIME' >"$folder/Dockerfile"
    docker build --quiet --build-arg "RUNTIME=$WARREN_RUNTIME" --tag "$WARREN_IMAGE" --file - "$context" <"$folder/Dockerfile"
}

up() { # up WORKERS
    docker-compose up --detach --no-build --no-color --scale "worker=$1"
    # The caches of workers that are stopped later would stay.
    docker-compose ps --quiet worker |
        xargs docker inspect --format '{{range .Mounts}}{{println .Name}}{{end}}' | sort -u >>"$folder/volumes"
}

healthy() {
    local service
    for service in rabbitmq producer query-service; do
        [[ $(docker inspect --format '{{.State.Health.Status}}' "$(docker-compose ps --quiet "$service")") == healthy ]] ||
            return 1
    done
}

publish() {
    curl --silent --show-error --fail-with-body --request PUT --header 'content-type: application/json' \
        --data-binary "$(python3 -c '
import json
definition = json.load(open("sample/packages.index.json"))
print(json.dumps(definition | {"partitions": 8}))')" "$SEARCH_URL/indexes/packages"
    zstd --decompress --stdout --quiet sample/packages.ndjson.zst |
        docker-compose exec -T producer warren publish --index packages --server http://127.0.0.1:8081 -
    echo "$DOCUMENTS documents" >&3
}

# What searches, and what a search has to answer.
cat >"$folder/search.py" <<'PYTHON'
"""once: one search. on FOUND MISSED: searches until it is stopped, a line in a file for each. settled COMMAND…: runs the
command, then searches until thirty searches in a row were answered well and within a second."""
import json, os, subprocess, sys, time, urllib.error, urllib.request

URL = os.environ["SEARCH_URL"] + "/indexes/packages/search?q=*&limit=1&timeout_ms=10000"
DOCUMENTS = int(os.environ["DOCUMENTS"])


def search():
    """None if every partition answers and every document is found, else what is wrong."""
    try:
        with urllib.request.urlopen(URL, timeout=20) as response:
            answer = json.load(response)
    except urllib.error.HTTPError as error:
        return f"{error.code}: {error.read().decode()}"
    except Exception as error:  # a broken connection, in any of its ways
        return repr(error)
    partitions, found = answer["partitions"], answer["total"]["value"]
    good = partitions["answered"] == partitions["total"] == 8 and found == DOCUMENTS
    return None if good else json.dumps({"found": found, "partitions": partitions})


def on(found, missed):
    with open(found, "w", 1) as found, open(missed, "w", 1) as missed:
        while True:
            wrong = search()
            print(time.strftime("%T"), wrong or "", file=missed if wrong else found)


def settled(command):
    begun = last = time.monotonic()
    worst, disturbed, row = 0, 0, 0
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
    while row < 30:
        asked = time.monotonic()
        wrong, now = search(), time.monotonic()
        worst = max(worst, now - asked)
        if wrong or now - asked > 1:
            row, disturbed, last = 0, disturbed + 1, now
            print(wrong or f"took {now - asked:.1f} s")
        else:
            row += 1
        if now - begun > 60:
            sys.exit("not settled within 60 s")
    os.write(3, f"{disturbed} searches incomplete or slow, the last until {last - begun:.1f} s after; longest {worst:.1f} s".encode())


match sys.argv[1:]:
    case ["once"]:
        sys.exit(search())
    case ["on", found, missed]:
        on(found, missed)
    case ["settled", *command]:
        settled(command)
PYTHON

complete() { python3 "$folder/search.py" once; }

# balanced WORKERS: whether so many workers hold all slots, none of them two more than another, and every partition is served.
balanced() {
    curl --silent --show-error --fail --max-time 10 "$SEARCH_URL/status" | python3 -c '
import collections, json, sys
status, workers = json.load(sys.stdin), int(sys.argv[1])
held, unserved, slots = collections.Counter(), [], 0
for index in status["indexes"]:
    for partition in index["partitions"]:
        slots += 1
        replicas = [replica for replica in partition["replicas"] if replica.get("held", True)]
        held.update(replica["worker"] for replica in replicas)
        if len(replicas) != 1 or replicas[0]["state"] != "serving":
            unserved.append(partition["partition"])
print("slots by worker", sorted(held.values()), "not served by one:", unserved)
most, least = max(held.values(), default=0), min(held.values(), default=0)
sys.exit(bool(unserved or len(held) != workers or sum(held.values()) != slots or most - least > 1))' "$1"
}

begin_searching() {
    python3 "$folder/search.py" on "$folder/found" "$folder/missed" &
    searcher=$!
}

none_failed() {
    echo "$(wc -l <"$folder/found") searches, $(wc -l <"$folder/missed") failed" >&3
    head -n 20 "$folder/missed"
    [[ ! -s $folder/missed && -s $folder/found ]]
}

stop_searching() {
    kill "$searcher" || { echo 'the searches had ended by themselves' && exit 1; }
    wait "$searcher" || true
    searcher=''
}

workers_are_balanced() { # workers_are_balanced WORKERS
    until_true 120 balanced "$1"
    balanced "$1" >&3
}

kill_a_worker() {
    python3 "$folder/search.py" settled docker kill --signal KILL "$(docker-compose ps --quiet worker | head -n 1)"
}

step 'Debian packages' packages
DOCUMENTS=$(zstd --decompress --stdout --quiet sample/packages.ndjson.zst | wc -l)
docker info >/dev/null 2>&1 || start_engine
step 'Docker engine' engine
step 'the ports are free' ports
step 'base images' base_images
# shellcheck source=/dev/null
source "$folder/images"
if [[ -z $programs ]]; then
    step 'build the programs' build
    programs=$PWD/target/release
fi
step 'image of the programs' image
started=yes
step 'start, with two workers' up 2
step 'healthy' until_true 180 healthy
step 'publish the sample' publish
step 'all documents are found' until_true 60 complete
step 'the workers share the partitions' workers_are_balanced 2
begin_searching
step 'start two workers more' up 4
step 'the workers share the partitions' workers_are_balanced 4
step 'stop two workers' up 2
step 'the workers share the partitions' workers_are_balanced 2
stop_searching
step 'no search failed meanwhile' none_failed
step 'kill a worker' kill_a_worker
step 'start another' up 2
step 'the workers share the partitions' workers_are_balanced 2
step 'all documents are found' until_true 60 complete
step 'stop' docker-compose stop
