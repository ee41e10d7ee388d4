# Room on persist: what is left of it, and what may go when it runs short. Sourced by persist, status and doctor.
# shellcheck shell=sh
# shellcheck disable=SC2034  # the results are for the scripts that source this file

# Sets SIZE and FREE (MiB) of the mounted persist; both 0 when that cannot be told.
persist_room() {
	# Device, size, used, free, percent, place.
	# shellcheck disable=SC2046
	set -- $(df -mP "$PERSIST" 2>/dev/null | tail -n 1)
	SIZE=${2:-0} FREE=${4:-0}
}

persist_is_full() { [ "$FREE" -lt 16 ]; }
persist_runs_short() { [ $((FREE * 10)) -lt "$SIZE" ]; }

# Images without a name and caches of builds. With words for docker only some of them.
prune_engine() { # WORD…
	docker image prune --force "$@" >/dev/null && { docker builder prune --force "$@" >/dev/null 2>&1 || :; }
}

# What can be made anew goes by itself when little is left, before writing fails: once, until there is room again.
# Nothing of the last day: a build may be using it.
persist_make_room() {
	persist_room
	if ! persist_runs_short; then
		MADE_ROOM=
		return 0
	fi
	[ -z "$MADE_ROOM" ] && command -v docker >/dev/null || return 0
	MADE_ROOM=yes
	# In a process of its own: an engine that hangs must not keep persist from being watched.
	{
		before=$FREE
		prune_engine --filter until=24h
		persist_room
		say "persist is nearly full: images without a name and caches of builds were removed, $((FREE - before)) MiB"
	} </dev/null >/dev/null 2>&1 &
}
