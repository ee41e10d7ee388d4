# What the container engines have in common: they wait for persist, tell when they are ready and why they are not.
# Sourced by the engine's service.
# shellcheck shell=sh

# shellcheck source=layers/base/rootfs/usr/lib/skiff/limits.sh
. "$LIB/limits.sh"

engine_wait_persist() { # NAME
	[ -e "$RUN/persist" ] && return
	report engine wait "$1 waits for persist"
	turns=0
	until [ -e "$RUN/persist" ]; do
		turns=$((turns + 1))
		[ $turns != 40 ] || report engine fail "$1 is not started: there is no persist for its data" "see the line persist"
		pause 0.5
	done
}

# The engine's own part of the image is checked here and not before SSH; a damaged one is never started.
engine_verify() { # NAME
	[ ! -e "$RUN/engine.verified" ] || return 0
	report engine wait "$1 is checked"
	if [ ! -s "$RUN/parts/later.sha256" ] || (cd "$RUN/parts" && sha256sum -c -s later.sha256); then
		: >"$RUN/engine.verified"
		return
	fi
	report engine fail "$1 is not started: its part of the image is damaged" "write the image to the device again"
	sv down "$1"
	exit 1
}

# KB of memory below which a machine is small.
SMALL_MEMORY=700000

# Larger machines. A program in squashfs is unpacked while it starts, and waits for each of its blocks. Here other CPUs
# unpack all that the engine is made of in advance. Not the engine's children: it would not take note of their end.
engine_read_ahead() { # PROGRAM…
	memory MemTotal
	[ "$REPLY" -ge $SMALL_MEMORY ] || return 0
	(
		for program; do
			cat "$program" >/dev/null 2>&1 &
		done
	)
}

# Small machines. The collector runs more often, so that the engine's own memory stays small. And the engine's
# programs are unpacked once: pages of them that must give way go to zram and come back one by one. From squashfs a
# whole block would have to be unpacked for each, again and again. All CPUs take part in it.
engine_small_memory() { # PROGRAM…
	memory MemTotal
	[ "$REPLY" -lt $SMALL_MEMORY ] || return 0
	export GOGC=50
	programs=$RUN/engine.programs
	[ ! -d "$programs" ] || return 0
	mkdir -p "$programs"
	mount -t tmpfs -o mode=0755,nodev,size=100% programs "$programs" || return 0
	for program; do
		copy=$programs/${program##*/}
		{ cp -p "$program" "$copy.part" && mv "$copy.part" "$copy"; } &
	done
	wait
	for program; do
		copy=$programs/${program##*/}
		if [ -e "$copy" ] && mount --bind "$copy" "$program"; then
			trace "engine: $program unpacked"
		fi
	done
	rm -f "$programs"/*.part
}

# Podman makes its socket root's alone; those of the group docker may use it as they may use docker's.
engine_share() { # SOCKET
	[ "${1%/*}" != /run ] && grep -q '^docker:' "$ETC/group" || return 0
	chgrp docker "${1%/*}" "$1" && chmod 710 "${1%/*}" && chmod 660 "$1"
}

# Waits until the engine answers, then reports it. The request itself waits for an engine that is still starting.
engine_watch() { # NAME SOCKET
	report engine wait "$1 is starting"
	version=
	until [ -n "$version" ]; do
		pause 0.5
		# The service's shell became the engine: when that is gone, its successor is watched by another of these.
		[ -e "$RUN/persist" ] && kill -0 $$ 2>/dev/null || return 1
		[ -S "$2" ] || continue
		version=$(timeout 300 docker version --format '{{.Server.Version}}' 2>/dev/null </dev/null)
	done
	engine_share "$2"
	rm -f "$RUN/engine.ends"
	if line_of "$RUN/engine.note"; then
		report engine warn "$1 $version; $REPLY" "put skiff/docker.json right, then: sv restart docker"
	elif line_of "$RUN/engine.aside"; then
		report engine warn "$1 $version; damaged databases are set aside" "delete $REPLY when nothing is missing"
	else
		report engine ok "$1 $version"
	fi
	trace "engine: ready"
	return 0
}

# After an end that nobody asked for the next start waits, longer each time. This is done here and not in `finish`,
# where the service could be neither stopped nor started until it is over.
engine_back_off() {
	line_of "$RUN/engine.ends" || return 0
	[ "$REPLY" -le 10 ] || REPLY=10
	pause $((REPLY * 3))
}

# Counts ends in a row, and from the third on says what the engine said last. Until it answers it is never well: an
# update would be confirmed that broke it.
engine_ended() { # NAME PROGRAM STATUS
	# The engine mounts its folder on itself and leaves it so, which would keep anyone from moving it.
	umount "$PERSIST/skiff/$1" 2>/dev/null
	if [ ! -e "$RUN/persist" ]; then
		report engine fail "$1 stopped: persist is gone" "see the line persist"
		return
	fi
	line_of "$ETC/service/$1/supervise/stat"
	case $REPLY in
	*"want down"*)
		rm -f "$RUN/engine.ends"
		# Damaged and so never started: what was said of it stands.
		[ -e "$RUN/engine.verified" ] || return 0
		report engine warn "$1 was stopped by hand" "sv up $1"
		return
		;;
	esac
	# As it ends when it is told to: `sv restart`. By itself it does not.
	if [ "$3" = 0 ]; then
		report engine wait "$1 is started again"
		return
	fi
	line_of "$RUN/engine.ends" || REPLY=0
	ends=$((REPLY + 1))
	echo "$ends" >"$RUN/engine.ends"
	if [ "$ends" -ge 3 ]; then
		if [ "$1" = docker ] && engine_set_databases_aside; then
			report engine wait "$2 ended $ends times in a row; its damaged databases are set aside"
			return
		fi
		last=$(engine_said "$1" | grep -i -E 'fatal|failed|error|panic|unable' | tail -n 1)
		report engine fail "$2 ended $ends times in a row (status $3)${last:+: $last}" "skiff-doctor"
	else
		report engine wait "$2 ended with status $3 and is started again"
	fi
}

# The engine's last words.
engine_said() { # NAME
	sed -n "s/^.* $1: //p" "$ROOT/run/log/messages" 2>/dev/null | tail -n 200
}

# A disk that lies about its cache loses docker's databases before all else. Docker makes these anew from what lies
# beside them: images, containers and volumes are there again. Gone are networks that users made, labels of volumes
# and caches of builds. So it is done once in a boot, only when docker itself names such a damage, and nothing is deleted.
engine_set_databases_aside() {
	[ ! -e "$RUN/engine.aside" ] || return 1
	cd "$PERSIST/skiff/docker" 2>/dev/null || return 1
	set -- network/files/local-kv.db
	# What bbolt says of a file that is not, or no longer, its own.
	if engine_said docker | grep -q -E 'invalid database|checksum error|file size too small|unexpected fault address'; then
		set -- "$@" volumes/metadata.db buildkit/*.db containerd/daemon/io.containerd.metadata.v1.bolt/meta.db
	# A start that could not make docker's own network, for want of a driver in the kernel, leaves half of it behind.
	elif ! engine_said docker | grep -q 'docker0): networks have same bridge name'; then
		return 1
	fi
	aside=$PERSIST/skiff/docker.databases.$(date -u +%Y%m%d-%H%M%S)
	for file; do
		[ -f "$file" ] || continue
		mkdir -p "$aside/${file%/*}" && mv "$file" "$aside/$file" || return 1
	done
	# With its data in another place, by skiff/docker.json, there was none here.
	[ -d "$aside" ] || return 1
	sync
	echo "$aside" >"$RUN/engine.aside"
}
