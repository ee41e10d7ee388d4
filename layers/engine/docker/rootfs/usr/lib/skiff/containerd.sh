# The containerd that dockerd works with. One that dockerd starts itself gets 15 seconds, which a slow board under load
# exceeds; this one gets the time it takes. It lives no longer than its dockerd. Sourced by the docker service.
# shellcheck shell=sh

CONTAINERD=$ROOT/run/docker/containerd
CONTAINERD_PID=$RUN/containerd.pid

# Starts it with its data in a folder, and waits until it listens. When it ends, the service's shell or the dockerd
# that this became is ended too, and the service starts both anew.
containerd_start() { # FOLDER
	report engine wait "docker: containerd is starting"
	mkdir -p "$CONTAINERD"
	rm -f "$CONTAINERD/containerd.sock"
	{
		containerd --root "$1" --state "$CONTAINERD/daemon" --address "$CONTAINERD/containerd.sock" --log-level warn &
		echo $! >"$CONTAINERD_PID"
		wait $! 2>/dev/null
		[ ! -e "$CONTAINERD_PID" ] || kill $$
	} &
	until [ -S "$CONTAINERD/containerd.sock" ]; do
		pause 0.2
	done
}

# Ends it, when dockerd has ended. Its containers live on.
containerd_stop() {
	line_of "$CONTAINERD_PID" || return 0
	rm -f "$CONTAINERD_PID"
	signal=TERM turns=0
	while kill -s $signal "$REPLY" 2>/dev/null; do
		pause 0.2
		turns=$((turns + 1))
		[ $turns -lt 50 ] || signal=KILL
	done
}
